"""KuaiVideo_x1 experiment: is this video clicked, from its thumbnail?

Features, histories and rows are those of BARS: ids of user and video (values of fewer than 10 rows folded into one),
the picture as a vector that is not learnt, and two histories, the videos that were clicked and those that were passed
by. BARS keeps the first 100 of each, not the last. The last tenth of the training part validates.

`step` says which events a row has before it and is no time: histories without time gaps.
"""

from hemix.config import parse_config
from hemix.data.public.kuaivideo import VISUAL_SIZE
from hemix.experiment import Experiment
from hemix.recipes.held_out import BY_TABLE, split_tables
from hemix.recipes.sizes import ModelName, small_model

LATEST_OF_TRAINING = "timestamp >= (SELECT quantile_disc(timestamp, 0.9) FROM log WHERE part = 'train')"
SEQUENCE = {"max_length": 100, "time_gap": False, "item_features": ["item_id", "visual"]}
STREAMS = {"global_history": "clicks", "real_time_history": "passed"}
"""HeMix reads two histories; here they are no older and recent part of one."""


def kuaivideo(model: ModelName = "interformer", *, validate_on_test: bool = False) -> Experiment:
    """The published test part; the published histories of clicked and of passed-by videos."""
    splits = split_tables(
        "log", LATEST_OF_TRAINING, validate_on_test=validate_on_test, order="timestamp, user_id, item_id, is_click"
    )
    values = {
        "name": f"kuaivideo-{model}",
        "data": {
            "tables": {
                **{name: {"path": f"{name}.parquet"} for name in ("log", "clicks", "passed", "videos")},
                **splits,
            },
            "examples": {
                "table": BY_TABLE,
                "user": "user_id",
                "item": "item_id",
                "time": "step",
                "request": "timestamp",
            },
            "labels": [{"name": "click", "column": "is_click"}],
            "catalog": {"table": "videos", "key": "item_id"},
            "features": {
                "request": [{"kind": "categorical", "column": "user_id", "min_count": 10}],
                "candidate": [
                    {"kind": "categorical", "column": "item_id", "min_count": 10},
                    {"kind": "vector", "column": "visual", "size": VISUAL_SIZE},
                ],
            },
            "events": {
                name: {"table": name, "user": "user_id", "item": "item_id", "time": "step"}
                for name in ("clicks", "passed")
            },
            "histories": {name: {"events": name, **SEQUENCE} for name in ("clicks", "passed")},
            "split": {"by": "given"},
        },
        "model": small_model(model) | (STREAMS if model == "hemix" else {}),
        "train": {"batch_size": 4096, "epochs": 1, "table_lr": 0.05},
    }
    return parse_config(Experiment, values, "recipe kuaivideo")
