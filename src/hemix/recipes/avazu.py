"""Avazu experiment: is this ad clicked? Flat rows with the hour, no user that could be told, no histories.

Papers split the rows at random, 8:1:1, and fold categories of fewer than 5 rows into one (W. Song et al., AutoInt,
CIKM 2019). So does this, counting training rows only and drawing rows of its own. A random split asks an easier
question than tomorrow's clicks: `split: {by: time}` with `examples.time: hour` and `examples.request: id` asks it.
"""

from typing import Any

from hemix.config import parse_config
from hemix.data.public.avazu import CODES, NAMES
from hemix.experiment import Experiment
from hemix.recipes.sizes import ModelName, small_model

DEVICE = ("device_type", "device_conn_type")
BANNER = ("C1", "banner_pos", *(name for name in CODES if name not in DEVICE))


def avazu(model: ModelName = "dcnv2") -> Experiment:
    """A random split, the hour and the weekday, and 21 categories that occur five times or more."""
    values = {
        "name": f"avazu-{model}",
        "data": {
            "tables": {"examples": {"path": "examples.parquet"}},
            "examples": {"table": "examples"},
            "labels": [{"name": "click"}],
            "features": {
                "request": [
                    {"kind": "timestamp", "column": "hour", "parts": ["hour", "weekday"]},
                    *_categories(NAMES + DEVICE),
                ],
                "candidate": _categories(BANNER),
            },
            "timezone": "UTC",
            "split": {"by": "random", "fractions": [0.8, 0.1, 0.1]},
        },
        "model": small_model(model, histories=False),
        "train": {"batch_size": 4096, "epochs": 1},
    }
    return parse_config(Experiment, values, "recipe avazu")


def _categories(names: tuple[str, ...]) -> list[dict[str, Any]]:
    return [{"kind": "categorical", "column": name, "min_count": 5} for name in names]
