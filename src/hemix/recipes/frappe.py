"""Frappe experiments: will this user use this app in this context? Flat rows: no time, no histories.

The rows with label 0 are drawn, not observed: the context of a use with an app that the user never used. Users and
apps recur, so that the task is close to remembering pairs; an AUC of .98 is usual.
"""

from typing import Any

from hemix.config import parse_config
from hemix.experiment import Experiment
from hemix.recipes.sizes import ModelName, small_model

CONTEXT = ("daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
NUM_APPS = 4_082
TRAIN = {"batch_size": 2048, "epochs": 8, "table_lr": 0.1}
EXAMPLES = f"""
SELECT 1 AS label, user, item, {", ".join(CONTEXT)} FROM log
UNION ALL
SELECT 0 AS label, drawn.* FROM (
    SELECT user, CAST(md5_number_lower(concat_ws(' ', user, item, {", ".join(CONTEXT)}, draw)) % {NUM_APPS} AS INTEGER)
        AS item, {", ".join(CONTEXT)}
    FROM log, (VALUES (1), (2)) AS draws(draw)) AS drawn
ANTI JOIN log AS used ON drawn.user = used.user AND drawn.item = used.item
ORDER BY ALL
"""
"""Two apps for each use, by a hash over all apps; those that the user knows (one in 200) are dropped."""


def frappe(model: ModelName = "dlrm") -> Experiment:
    """The published split of three files, its ten fields as published."""
    parts = ("train", "valid", "test")
    values = {
        "name": f"frappe-{model}",
        "data": {
            "tables": {part: {"path": f"{part}.parquet"} for part in parts},
            "examples": {"table": {part: part for part in parts}, "user": "user", "item": "item"},
            "labels": [{"name": "used", "column": "label"}],
            "features": {"request": _context(), "candidate": [{"kind": "categorical", "column": "item"}]},
            "split": {"by": "given"},
        },
        "model": small_model(model, histories=False),
        "train": TRAIN,
    }
    return parse_config(Experiment, values, "recipe frappe")


def frappe_log(model: ModelName = "dlrm") -> Experiment:
    """The original log with drawn negatives and the app's own features; a random split, as there is no time."""
    values = {
        "name": f"frappe-log-{model}",
        "data": {
            "tables": {
                "log": {"path": "log.parquet"},
                "apps": {"path": "apps.parquet"},
                "uses": {"sql": EXAMPLES},
            },
            "examples": {"table": "uses", "user": "user", "item": "item"},
            "labels": [{"name": "used", "column": "label"}],
            "catalog": {"table": "apps", "key": "item"},
            "features": {
                "request": _context(),
                "candidate": [
                    {"kind": "categorical", "column": "item"},
                    {"kind": "categorical", "column": "category"},
                    {"kind": "categorical", "column": "developer", "min_count": 2},
                    {"kind": "categorical", "column": "language"},
                    {"kind": "numeric", "column": "rating"},
                ],
            },
            "split": {"by": "random", "fractions": [0.7, 0.2, 0.1]},
        },
        "model": small_model(model, histories=False),
        "train": TRAIN,
    }
    return parse_config(Experiment, values, "recipe frappe_log")


def _context() -> list[dict[str, Any]]:
    return [{"kind": "categorical", "column": name} for name in ("user", *CONTEXT)]
