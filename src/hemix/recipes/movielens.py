"""MovieLens experiments: does the user rate this movie 4 or 5?

The rating of the row to be scored is its label and so never a feature; ratings before it are, as events of a history.
Most users rate everything in one sitting, so histories are cut by count (`last_k`): the last 20 ratings are real-time,
up to 100 before them global. Ratings of one second are one request and never in each other's history.
"""

from typing import Any, Literal

ModelName = Literal["dlrm", "din", "hemix"]


def movielens_100k(model: ModelName = "hemix") -> dict[str, Any]:
    """MovieLens-100K; each user's rows are split by time, because most of its users rate on a single day."""
    return {
        "name": f"movielens-100k-{model}",
        "data": _data(split={"by": "user_time", "fractions": [0.8, 0.1, 0.1]}),
        "model": {"name": model},
    }


def _data(*, split: dict[str, Any]) -> dict[str, Any]:
    return {
        "tables": {
            "ratings": {"path": "ratings.parquet"},
            "users": {"path": "users.parquet"},
            "movies": {"path": "movies.parquet"},
        },
        "examples": {
            "table": "ratings",
            "user": "user_id",
            "item": "movie_id",
            "time": {"column": "timestamp", "unit": "s"},
        },
        "labels": [{"name": "like", "sql": "rating >= 4"}],
        "profiles": {"table": "users", "key": "user_id"},
        "catalog": {"table": "movies", "key": "movie_id"},
        "features": {
            "request": [
                {"kind": "categorical", "column": "user_id", "source": "profiles"},
                {"kind": "categorical", "column": "gender"},
                {"kind": "numeric", "column": "age", "transform": "quantile", "buckets": 10},
                {"kind": "categorical", "column": "occupation"},
            ],
            "candidate": [
                {"kind": "categorical", "column": "movie_id", "source": "catalog"},
                {"kind": "multi_categorical", "column": "genres", "max_length": 6},
                {"kind": "numeric", "column": "year", "transform": "quantile", "buckets": 10},
            ],
        },
        "events": {
            "ratings": {
                "table": "ratings",
                "user": "user_id",
                "item": "movie_id",
                "time": {"column": "timestamp", "unit": "s"},
                "features": [{"kind": "categorical", "column": "rating"}],
            }
        },
        "histories": {
            "global": {"events": "ratings", "cut": "last_k", "part": "older", "k": 20, "max_length": 100},
            "real_time": {"events": "ratings", "cut": "last_k", "part": "recent", "k": 20, "max_length": 20},
        },
        "split": split,
    }
