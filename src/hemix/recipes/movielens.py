"""MovieLens experiments: does the user rate this movie 4 or 5?

The rating of the row to be scored is its label and so never a feature; ratings before it are, as events of a history.
Most users rate everything in one sitting, so histories are cut by count (`last_k`): the last 20 ratings are real-time,
up to 100 before them global. Ratings of one second are one request and never in each other's history.
"""

from typing import Any

from hemix.config import parse_config
from hemix.experiment import Experiment
from hemix.recipes.sizes import ModelName, small_model

TIME = {"column": "timestamp", "unit": "s"}
ALL_RATINGS = {"ratings": {"path": "ratings.parquet"}}
COMPLETE_USERS = {
    "all_ratings": {"path": "ratings.parquet"},
    "ratings": {"sql": "SELECT * FROM all_ratings WHERE user_complete"},
}


def movielens_100k(model: ModelName = "hemix") -> Experiment:
    """MovieLens-100K; each user's rows are split by time, because most of its users rate on a single day."""
    values = {
        "name": f"movielens-100k-{model}",
        "data": _data(
            ratings=ALL_RATINGS,
            age={"kind": "numeric", "column": "age", "transform": "quantile", "buckets": 10},
            split={"by": "user_time", "fractions": [0.8, 0.1, 0.1]},
        ),
        "model": small_model(model),
        "train": {"batch_size": 512, "epochs": 3, "table_lr": 0.05},
    }
    return parse_config(Experiment, values, "recipe movielens_100k")


def movielens_1m(model: ModelName = "hemix", *, complete_users_only: bool = False) -> Experiment:
    """MovieLens-1M, split by the clock: most users of the validation split have no training row.

    `complete_users_only` keeps the ratings whose column `user_complete` is true: for a copy of the data in which the
    ratings of other users are partly missing.
    """
    values = {
        "name": f"movielens-1m-{model}",
        "data": _data(
            ratings=COMPLETE_USERS if complete_users_only else ALL_RATINGS,
            age={"kind": "categorical", "column": "age"},
            split={"by": "time", "fractions": [0.8, 0.1, 0.1]},
        ),
        "model": small_model(model),
        "train": {"batch_size": 1024, "epochs": 2, "table_lr": 0.05},
    }
    return parse_config(Experiment, values, "recipe movielens_1m")


def _data(*, ratings: dict[str, Any], age: dict[str, Any], split: dict[str, Any]) -> dict[str, Any]:
    return {
        "timezone": "UTC",
        "tables": {
            **ratings,
            "users": {"path": "users.parquet"},
            "movies": {"path": "movies.parquet"},
        },
        "examples": {"table": "ratings", "user": "user_id", "item": "movie_id", "time": TIME},
        "labels": [{"name": "like", "sql": "rating >= 4"}],
        "profiles": {"table": "users", "key": "user_id"},
        "catalog": {"table": "movies", "key": "movie_id"},
        "features": {
            "request": [
                {"kind": "categorical", "column": "user_id"},
                {"kind": "categorical", "column": "gender"},
                age,
                {"kind": "categorical", "column": "occupation"},
            ],
            "candidate": [
                {"kind": "categorical", "column": "movie_id"},
                {"kind": "multi_categorical", "column": "genres", "max_length": 6},
                {"kind": "numeric", "column": "year", "transform": "quantile", "buckets": 10},
            ],
        },
        "events": {
            "ratings": {
                "table": "ratings",
                "user": "user_id",
                "item": "movie_id",
                "time": TIME,
                "features": [{"kind": "categorical", "column": "rating"}],
            }
        },
        "histories": {
            "global": {"events": "ratings", "cut": "last_k", "part": "older", "k": 20, "max_length": 100},
            "real_time": {"events": "ratings", "cut": "last_k", "part": "recent", "k": 20, "max_length": 20},
        },
        "split": split,
    }
