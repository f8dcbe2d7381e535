"""When users are active: days, sessions, and within a session searches and visits of their own beside requests."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from hemix.world.city import DISTRICT_KM, City, around
from hemix.world.knobs import Knobs
from hemix.world.moments import DAY, DAYPART_HOURS, FIRST_DAY, HOUR, OFFSET
from hemix.world.people import People

SESSION_SHARES = np.array([[0.50, 0.45, 0.60, 0.30], [0.30, 0.55, 0.65, 0.40]])
"""Chance of a session in each part of an active day; weekdays, then weekends."""
HOME_SHARES = np.array([[0.50, 0.10, 0.35, 0.75], [0.60, 0.35, 0.35, 0.70]])
WORK_SHARES = np.array([[0.30, 0.65, 0.10, 0.00], [0.05, 0.05, 0.00, 0.00]])
"""Chance that a session is at home, or at work; the rest is elsewhere."""
MAX_EVENTS, MAX_REQUESTS = 6, 4
"""Of one session."""
CLICK_SECONDS = 3
"""Seconds that a user spends on each candidate before the next, clicking first and ordering later."""
PAUSE = 180
"""Between two actions of a session: up to that many seconds more than the clicks and orders of a request may take."""
NEAR_HOME_KM = 0.05


@dataclass(frozen=True, slots=True)
class Diary:
    """Actions in the order of user and time; an action is a request or an organic event."""

    users: Int[np.ndarray, " A"]
    """Rows of the people."""
    times: Int[np.ndarray, " A"]
    positions: Float[np.ndarray, "A 2"]
    is_request: Bool[np.ndarray, " A"]


def request_seconds(knobs: Knobs) -> int:
    """Seconds after a request within which its clicks and orders lie; the next action comes later."""
    return 2 * CLICK_SECONDS * knobs.candidates + 2 * CLICK_SECONDS


def write_diary(city: City, knobs: Knobs, people: People, rng: np.random.Generator) -> Diary:
    """What these users do, and when: draws from `rng` alone."""
    users, days, parts = _sessions(knobs, people, rng)
    weekend = (days % 7 >= 5).astype(np.int64)
    num_events = np.minimum(rng.poisson(knobs.session_events, len(users)), MAX_EVENTS)
    num_requests = np.minimum(rng.poisson(knobs.session_requests, len(users)), MAX_REQUESTS)
    num_requests[days < knobs.warm_up_days] = 0
    counts = num_events + num_requests
    session = np.repeat(np.arange(len(users)), counts)
    number = np.arange(len(session)) - np.repeat(np.cumsum(counts) - counts, counts)
    starts = _start_times(knobs, days, parts, rng)
    positions = _positions(city, people, users, weekend, parts, rng)
    return Diary(
        users=users[session],
        times=starts[session] + _after_start(knobs, number, rng),
        positions=positions[session],
        is_request=_mix(session, number, num_requests, rng),
    )


def _sessions(knobs: Knobs, people: People, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Row of the user, day and part of the day of each session, in this order."""
    days = np.arange(knobs.days)
    active = rng.random((len(people.ids), knobs.days)) < np.minimum(knobs.active_share * people.activity, 1)[:, None]
    chances = SESSION_SHARES[(days % 7 >= 5).astype(np.int64)]
    users, days, parts = np.nonzero(active[..., None] & (rng.random((*active.shape, chances.shape[1])) < chances))
    return users, days, parts


def _start_times(knobs: Knobs, days: np.ndarray, parts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """So early in the part of the day that the session ends within it."""
    begins = np.array(DAYPART_HOURS) * HOUR
    lengths = np.diff(begins, append=DAY)
    longest = (MAX_EVENTS + MAX_REQUESTS) * (request_seconds(knobs) + PAUSE)
    room = (rng.random(len(days)) * (lengths[parts] - longest)).astype(np.int64)
    return (FIRST_DAY + days) * DAY - OFFSET + begins[parts] + room


def _after_start(knobs: Knobs, number: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Seconds from the start of the session to each of its actions."""
    steps = np.where(number == 0, 0, request_seconds(knobs) + rng.integers(1, PAUSE, size=len(number)))
    total = np.cumsum(steps)
    firsts = np.flatnonzero(number == 0)
    return total - np.repeat(total[firsts], np.diff(firsts, append=len(number)))


def _mix(session: np.ndarray, number: np.ndarray, num_requests: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Which actions of a session are requests: any of them, with equal chances."""
    order = np.lexsort((rng.random(len(session)), session))
    chosen = np.zeros(len(session), bool)
    chosen[order] = number < num_requests[session]
    return chosen


def _positions(
    city: City, people: People, users: np.ndarray, weekend: np.ndarray, parts: np.ndarray, rng: np.random.Generator
) -> Float[np.ndarray, "S 2"]:
    """Where each session is."""
    share = rng.random(len(users))
    home, work = HOME_SHARES[weekend, parts], WORK_SHARES[weekend, parts]
    kind = np.where(share < home, 0, np.where(share < home + work, 1, 2))
    districts = rng.integers(len(city.district_places), size=len(users))
    centres = np.stack([people.homes[users], people.works[users], city.district_places[districts]])
    spread = np.where(kind == 2, DISTRICT_KM, NEAR_HOME_KM)[:, None]
    return around(centres[kind, np.arange(len(users))], spread * rng.standard_normal((len(users), 2)))
