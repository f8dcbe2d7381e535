"""AmazonElectronics_x1 experiment: which of two products does the user review next?

Each request has two candidates: the product that was reviewed, and one drawn at random by DIN. The test part is the
last review of each user; the last one of the training part validates. The user's id is no feature, as in BARS: it only
groups the rows. `position` counts reviews, so that it serves as time where only the order matters: histories without
time gaps.
"""

from hemix.config import parse_config
from hemix.experiment import Experiment
from hemix.recipes.held_out import BY_TABLE, split_tables
from hemix.recipes.sizes import ModelName, one_history, small_model

REVIEWS = {"events": "reviews", "cut": "last_k", "k": 20, "time_gap": False}
LAST_OF_TRAINING = (
    "(user_id, position) IN (SELECT (user_id, max(position)) FROM rows WHERE part = 'train' GROUP BY user_id)"
)


def amazon_electronics(model: ModelName = "interformer", *, validate_on_test: bool = False) -> Experiment:
    """The published test part; the last 100 reviews, of which the last 20 are the real-time history."""
    splits = split_tables(
        "rows", LAST_OF_TRAINING, validate_on_test=validate_on_test, order="user_id, position, label DESC"
    )
    values = {
        "name": f"amazon-electronics-{model}",
        "data": {
            "tables": {
                "rows": {"path": "examples.parquet"},
                "reviews": {"path": "reviews.parquet"},
                "items": {"path": "items.parquet"},
                **splits,
            },
            "examples": {"table": BY_TABLE, "user": "user_id", "item": "item_id", "time": "position"},
            "labels": [{"name": "review", "column": "label"}],
            "catalog": {"table": "items", "key": "item_id"},
            "features": {
                "candidate": [
                    {"kind": "categorical", "column": "item_id"},
                    {"kind": "categorical", "column": "cate_id"},
                ]
            },
            "events": {"reviews": {"table": "reviews", "user": "user_id", "item": "item_id", "time": "position"}},
            "histories": {
                "global": {**REVIEWS, "part": "older", "max_length": 80},
                "real_time": {**REVIEWS, "part": "recent", "max_length": 20},
            },
            "split": {"by": "given"},
        },
        "model": small_model(model) | one_history(model),
        "train": {"batch_size": 2048, "epochs": 1, "table_lr": 0.05},
    }
    return parse_config(Experiment, values, "recipe amazon_electronics")
