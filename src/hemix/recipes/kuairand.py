"""KuaiRand-Pure experiment: does the user click the video, and watch it for long?

All splits are of the standard logs (is_rand = 0), where the app chose the video; clicks on random exposures count in
the histories, as the user made them. Both labels are known for every row: `long_view` is not masked by the click,
since in the single-column view a click is itself a length of watching.

Features of users and videos are published once, without a date. What speaks of the days after (`visible_status`) and
what is known only after the row (play time, stay times, likes) is left out.
"""

from typing import Any

from hemix.config import parse_config
from hemix.data.public.kuairand import COUNTS, ENCRYPTED
from hemix.experiment import Experiment
from hemix.recipes.sizes import ModelName, small_model

PROFILE = (
    "user_active_degree",
    "is_lowactive_period",
    "is_live_streamer",
    "is_video_author",
    *(f"{name}_range" for name in COUNTS),
    *ENCRYPTED,
)
CLICKS = {"events": "clicks", "cut": "same_day"}


def kuairand(model: ModelName = "hemix") -> Experiment:
    """Split by the clock; clicks of the same day in China are the real-time history, those before it the global one."""
    values = {
        "name": f"kuairand-{model}",
        "data": {
            "tables": {name: {"path": f"{name}.parquet"} for name in ("log", "users", "videos")},
            "examples": {
                "table": "log",
                "user": "user_id",
                "item": "video_id",
                "time": "time",
                "request": "tab",
                "where": "is_rand = 0",
            },
            "labels": [{"name": "click", "column": "is_click"}, {"name": "long_view"}],
            "profiles": {"table": "users", "key": "user_id"},
            "catalog": {"table": "videos", "key": "video_id"},
            "features": _features(),
            "events": {
                "clicks": {
                    "table": "log",
                    "user": "user_id",
                    "item": "video_id",
                    "time": "time",
                    "where": "is_click = 1",
                }
            },
            "histories": {
                "global": {**CLICKS, "part": "older", "max_length": 100},
                "real_time": {**CLICKS, "part": "recent", "max_length": 20},
            },
            "timezone": "Asia/Shanghai",
            "split": {"by": "time", "fractions": [0.8, 0.1, 0.1]},
        },
        "model": small_model(model),
        "train": {"batch_size": 2048, "epochs": 1, "table_lr": 0.05},
    }
    return parse_config(Experiment, values, "recipe kuairand")


def _features() -> dict[str, Any]:
    return {
        "request": [
            {"kind": "categorical", "column": "user_id", "min_count": 2},
            {"kind": "categorical", "column": "tab"},
            {"kind": "timestamp", "parts": ["hour", "weekday"]},
            *({"kind": "categorical", "column": name} for name in PROFILE),
        ],
        "candidate": [
            {"kind": "categorical", "column": "video_id", "min_count": 2},
            {"kind": "categorical", "column": "author_id", "min_count": 2},
            {"kind": "multi_categorical", "column": "tag", "delimiter": ",", "max_length": 4},
            *({"kind": "categorical", "column": name} for name in ("video_type", "upload_type", "music_type")),
            {"kind": "numeric", "column": "video_duration", "transform": "log"},
        ],
    }
