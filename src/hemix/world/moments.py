"""When and where: the clock of the city, and the context that tastes depend on."""

from datetime import UTC, datetime

import numpy as np
from jaxtyping import Float, Int

from hemix.world.city import km_between

TIME_ZONE = "Asia/Shanghai"
OFFSET = 8 * 3600
"""Seconds that local time is ahead of UTC, all year round."""
DAY = 86_400
HOUR = 3600
FIRST_DAY = int(datetime(2026, 1, 5, tzinfo=UTC).timestamp()) // DAY
"""Local day, counted from 1970, on which every log begins: a Monday."""
DAYPARTS = ("morning", "midday", "evening", "night")
DAYPART_HOURS = (6, 11, 16, 21)
"""Local hour at which each begins; the night lasts until the morning."""
PLACES = ("home", "work", "elsewhere")
NEAR_KM = 0.3
"""Whoever is nearer than this to home is at home; else, if to work, at work."""


def local_days(times: Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """Local days since 1970 of seconds since 1970."""
    return (times + OFFSET) // DAY


def dayparts(times: Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """Part of the local day, as a position in `DAYPARTS`."""
    hours = (times + OFFSET) % DAY // HOUR
    return (np.searchsorted(np.array(DAYPART_HOURS), hours, side="right") - 1) % len(DAYPARTS)


def weekends(times: Int[np.ndarray, "..."]) -> Int[np.ndarray, "..."]:
    """1 on local Saturdays and Sundays, else 0."""
    return ((local_days(times) + 3) % 7 >= 5).astype(np.int64)


def places_of(
    position: Float[np.ndarray, "R 2"], home: Float[np.ndarray, "R 2"], work: Float[np.ndarray, "R 2"]
) -> Int[np.ndarray, " R"]:
    """Kind of place, as a position in `PLACES`."""
    at_work = np.where(km_between(position, work) < NEAR_KM, 1, 2)
    return np.where(km_between(position, home) < NEAR_KM, 0, at_work)
