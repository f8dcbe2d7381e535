"""What the data layer computes, written apart from it: plain Python over lists of rows."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from hemix.batch import FIRST_ID

Row = dict[str, Any]


def local_midnight(seconds: float, zone: str) -> float:
    """Start of the local day of a moment, in seconds since 1970."""
    moment = datetime.fromtimestamp(seconds, ZoneInfo(zone))
    return datetime(moment.year, moment.month, moment.day, tzinfo=ZoneInfo(zone)).timestamp()


def history(
    events: Sequence[Row], user: Any, time: float, spec: Row, *, zone: str = "UTC", delay: float = 0.0
) -> list[Row]:
    """The events of `user` (given in the order that breaks ties) that a history holds at `time`, oldest first."""
    past = [event for event in events if event["user"] == user and event["time"] < time - delay]
    past = [event for event in past if spec.get("taken", lambda event: True)(event)]
    past.sort(key=lambda event: event["time"])
    cut, part = spec.get("cut", "none"), spec.get("part", "all")
    if cut == "same_day":
        midnight = local_midnight(time, zone)
        past = [event for event in past if (event["time"] < midnight) == (part == "older")]
    if cut == "last_k":
        start = max(0, len(past) - spec["k"])
        past = past[:start] if part == "older" else past[start:]
    return past[-spec.get("max_length", 100) :]


def gap_id(event_time: float, time: float, part: str, zone: str = "UTC") -> int:
    """Whole days to the request's local midnight on the older side of a cut, else seconds to the request; base 2."""
    if part == "older":
        distance = max(0, math.ceil((local_midnight(time, zone) - event_time) / timedelta(days=1).total_seconds()))
    else:
        distance = time - event_time
    return FIRST_ID + math.floor(math.log2(1 + distance))


def window_count(events: Sequence[Row], request: Row, keys: Sequence[str], days: float, delay: float = 0.0) -> int:
    """Events with the request's keys in the days before it, strictly before it and before the delay."""
    begin, end = request["time"] - days * 86_400, request["time"] - delay
    return sum(all(event[key] == request[key] for key in keys) and begin <= event["time"] < end for event in events)


def as_of(versions: Sequence[Row], key: str, value: Any, time: float) -> Row | None:
    """The version of an entity with the latest `valid_from` that is not after `time`."""
    valid = [row for row in versions if row[key] == value and row["valid_from"] <= time]
    return max(valid, key=lambda row: row["valid_from"]) if valid else None


def haversine_km(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance on a globe of 6371.0088 km radius."""
    (lat_a, lon_a), (lat_b, lon_b) = ((math.radians(x), math.radians(y)) for x, y in (a, b))
    chord = math.sin((lat_b - lat_a) / 2) ** 2
    chord += math.cos(lat_a) * math.cos(lat_b) * math.sin((lon_b - lon_a) / 2) ** 2
    return 2 * 6371.0088 * math.asin(math.sqrt(chord))
