"""Foursquare experiments: which place does the user go to now?

A check-in is observed, a place that was passed by is not: four other places are drawn for each check-in, each the place
of a random earlier check-in of anyone, so by popularity until then and never from the future. A place without an
earlier check-in could only be a positive, which a model would learn at once: such check-ins are no examples (they
stay in the histories).
"""

from typing import Any, Literal

from hemix.config import parse_config
from hemix.experiment import Experiment
from hemix.recipes.sizes import ModelName, small_model

City = Literal["nyc", "tky"]
TIME_ZONES: dict[City, str] = {"nyc": "America/New_York", "tky": "Asia/Tokyo"}
NUM_DRAWN = 4
NUMBERED = """
SELECT *, row_number() OVER (ORDER BY time, user_id, venue_id) AS number FROM checkins ORDER BY number
"""
LAST_PLACES = """
SELECT user_id, time, arg_max(latitude, venue_id) AS last_latitude, arg_max(longitude, venue_id) AS last_longitude
FROM checkins JOIN venues USING (venue_id) GROUP BY ALL ORDER BY ALL
"""
EXAMPLES = f"""
WITH known AS (SELECT * FROM numbered QUALIFY row_number() OVER (PARTITION BY venue_id ORDER BY number) > 1),
candidates AS (
    SELECT 1 AS visit, number, user_id, time, venue_id FROM known
    UNION ALL
    SELECT DISTINCT 0 AS visit, k.number, k.user_id, k.time, other.venue_id
    FROM (SELECT *, unnest(range({NUM_DRAWN})) AS draw FROM known) AS k
    JOIN numbered AS other
        ON other.number = 1 + CAST(md5_number_lower(k.number || ' ' || k.draw) % (k.number - 1) AS BIGINT)
    WHERE other.venue_id <> k.venue_id)
SELECT c.*, p.last_latitude, p.last_longitude
FROM candidates AS c ASOF LEFT JOIN last_places AS p ON c.user_id = p.user_id AND c.time > p.time
ORDER BY number, visit DESC, venue_id
"""


def foursquare(city: City = "nyc", model: ModelName = "hemix") -> Experiment:
    """Check-ins split by the clock; the history of the same local day is real-time, the days before it global."""
    values = {
        "name": f"foursquare-{city}-{model}",
        "data": {
            "tables": {
                "checkins": {"path": "checkins.parquet"},
                "venues": {"path": "venues.parquet"},
                "numbered": {"sql": NUMBERED},
                "last_places": {"sql": LAST_PLACES},
                "candidates": {"sql": EXAMPLES},
            },
            "examples": {
                "table": "candidates",
                "user": "user_id",
                "item": "venue_id",
                "time": "time",
                "request": "number",
            },
            "labels": [{"name": "visit"}],
            "catalog": {"table": "venues", "key": "venue_id"},
            "features": _features(),
            "events": {"checkins": {"table": "checkins", "user": "user_id", "item": "venue_id", "time": "time"}},
            "histories": {
                "global": {"events": "checkins", "cut": "same_day", "part": "older", "max_length": 100},
                "real_time": {"events": "checkins", "cut": "same_day", "part": "recent", "max_length": 20},
            },
            "timezone": TIME_ZONES[city],
            "split": {"by": "time", "fractions": [0.8, 0.1, 0.1]},
        },
        "model": small_model(model),
        "train": {"batch_size": 1024, "epochs": 2, "table_lr": 0.05},
    }
    return parse_config(Experiment, values, "recipe foursquare")


def _features() -> dict[str, Any]:
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
            {**visits, "name": "venue_visits", "by": "item", "days": 30},
        ],
        "pair": [
            {"kind": "distance", "name": "distance", "origin": "last_place", "target": "place"},
            {**visits, "name": "own_visits", "by": "user_item", "days": 90},
        ],
    }
