"""Criteo experiment: is this ad clicked? Flat rows: no user, no item, no time, no histories.

Papers split the rows at random, 8:1:1 (W. Song et al., AutoInt, CIKM 2019, and most since then), and fold categories
of fewer than 10 rows into one. So does this, counting training rows only; which rows are drawn is its own, so that
figures are comparable with those of papers, not equal. Many papers turn the numbers into categories by
floor(log(x)^2); here they are standardised logs.
"""

from hemix.config import parse_config
from hemix.data.public.criteo import CATEGORIES, NUMBERS
from hemix.experiment import Experiment
from hemix.recipes.sizes import ModelName, small_model


def criteo(model: ModelName = "dcnv2") -> Experiment:
    """A random split, 13 numbers as logs and 26 categories that occur ten times or more."""
    values = {
        "name": f"criteo-{model}",
        "data": {
            "tables": {"examples": {"path": "examples.parquet"}},
            "examples": {"table": "examples"},
            "labels": [{"name": "click", "column": "label"}],
            "features": {
                "request": [
                    *({"kind": "numeric", "column": name, "transform": "log"} for name in NUMBERS),
                    *({"kind": "categorical", "column": name, "min_count": 10} for name in CATEGORIES),
                ]
            },
            "split": {"by": "random", "fractions": [0.8, 0.1, 0.1]},
        },
        "model": small_model(model, histories=False),
        # A second epoch over so many rare categories remembers them (G. Zhang et al., CIKM 2022).
        "train": {"batch_size": 4096, "epochs": 1},
    }
    return parse_config(Experiment, values, "recipe criteo")
