"""Foursquare experiments: which of the places around does the user go to now?

A check-in is observed, a place that was passed by is not. So each check-in stands beside 50 places of its
neighbourhood that somebody had been to before (`data.negatives`). A place that nobody had been to could only be a
positive: such check-ins are no examples (they stay in the histories). Two check-ins of one user at one place in the
same minute are one.
"""

from typing import Any, Literal

from hemix.config import parse_config
from hemix.experiment import Experiment
from hemix.recipes.sizes import ModelName, small_model

City = Literal["nyc", "tky"]
TIME_ZONES: dict[City, str] = {"nyc": "America/New_York", "tky": "Asia/Tokyo"}
PUBLISHED = {
    "log": {"path": "checkins.parquet"},
    "venues": {"path": "venues.parquet"},
    "checkins": {"sql": "SELECT DISTINCT user_id, venue_id, time FROM log ORDER BY ALL"},
}
JOINED_COPY = {
    "log": {"path": "checkins.csv.gz"},
    "places": {"path": "pois.csv"},
    "venues": {
        "sql": "SELECT poi_id AS venue_id, category, lat AS latitude, lon AS longitude FROM places ORDER BY ALL"
    },
    "checkins": {
        "sql": "SELECT DISTINCT user_id, poi_id AS venue_id, CAST(utc_time AS TIMESTAMP) AT TIME ZONE 'UTC' AS time "
        "FROM log ORDER BY ALL"
    },
}
EXAMPLES = """
WITH last_places AS (
    SELECT user_id, time, arg_max(latitude, venue_id) AS last_latitude, arg_max(longitude, venue_id) AS last_longitude
    FROM checkins JOIN venues USING (venue_id) GROUP BY ALL)
SELECT c.*, p.last_latitude, p.last_longitude
FROM checkins AS c ASOF LEFT JOIN last_places AS p ON c.user_id = p.user_id AND c.time > p.time
ORDER BY time, user_id, venue_id
"""


def foursquare(
    city: City = "nyc", model: ModelName = "hemix", *, joined_copy: bool = False, statistics: bool = True
) -> Experiment:
    """Check-ins split by the clock; the history of the same local day is real-time, the days before it global.

    `joined_copy` reads checkins.csv.gz and pois.csv, a copy that was joined from two others, in place of the tables
    that `hemix data get` writes. Without `statistics` no windowed counts are features.
    """
    values = {
        "name": f"foursquare-{city}-{model}",
        "data": {
            "tables": {**(JOINED_COPY if joined_copy else PUBLISHED), "visits": {"sql": EXAMPLES}},
            "examples": {"table": "visits", "user": "user_id", "item": "venue_id", "time": "time"},
            "labels": [{"name": "visit", "sql": "true"}],
            "catalog": {"table": "venues", "key": "venue_id"},
            "negatives": {"kind": "nearby", "num": 50},
            "features": _features(statistics=statistics),
            "events": {"checkins": {"table": "checkins", "user": "user_id", "item": "venue_id", "time": "time"}},
            "histories": {
                "global": {"events": "checkins", "cut": "same_day", "part": "older", "max_length": 100},
                "real_time": {"events": "checkins", "cut": "same_day", "part": "recent", "max_length": 20},
            },
            "timezone": TIME_ZONES[city],
            "split": {"by": "time", "fractions": [0.8, 0.1, 0.1]},
        },
        "model": small_model(model),
        "train": {"batch_size": 2048, "epochs": 1, "table_lr": 0.05},
    }
    return parse_config(Experiment, values, "recipe foursquare")


def _features(*, statistics: bool) -> dict[str, Any]:
    visits = {"kind": "window_count", "events": "checkins"}
    place = {"kind": "geo", "resolutions": [6, 8], "table": "place"}
    return {
        "request": [
            {"kind": "categorical", "column": "user_id"},
            {"kind": "timestamp", "parts": ["hour", "weekday"]},
            {**place, "name": "last_place", "latitude": "last_latitude", "longitude": "last_longitude"},
        ],
        "candidate": [
            {"kind": "categorical", "column": "venue_id", "min_count": 2},
            {"kind": "categorical", "column": "category"},
            {**place, "name": "place", "latitude": "latitude", "longitude": "longitude"},
            *([{**visits, "name": "venue_visits", "by": "item", "days": 30}] if statistics else []),
        ],
        "pair": [
            {"kind": "distance", "name": "distance", "origin": "last_place", "target": "place"},
            *([{**visits, "name": "own_visits", "by": "user_item", "days": 90}] if statistics else []),
        ],
    }
