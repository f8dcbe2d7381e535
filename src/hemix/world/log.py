"""The log of the city, some users at a time: each part is a function of the world and its number."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from hemix.world.choice import Moments, Truth, moments_of
from hemix.world.diary import CLICK_SECONDS, write_diary
from hemix.world.moments import DAY, OFFSET, local_days
from hemix.world.people import People, build_people
from hemix.world.policy import choose_freely, show_candidates
from hemix.world.world import Outcomes, World

USERS_PER_PART = 256
ACTIONS = ("click", "order", "search", "visit")
CLICK, ORDER, SEARCH, VISIT = range(len(ACTIONS))
SEARCH_SHARE = 0.6
"""Of organic events; the others are visits. Both are chosen alike."""


@dataclass(frozen=True, slots=True)
class Events:
    """What users did, in the order of user and time. `moments` says where they were and holds the time of the event."""

    users: Int[np.ndarray, " E"]
    pois: Int[np.ndarray, " E"]
    times: Int[np.ndarray, " E"]
    actions: Int[np.ndarray, " E"]
    """Positions in `ACTIONS`."""
    daypart: Int[np.ndarray, " E"]
    weekend: Int[np.ndarray, " E"]
    place: Int[np.ndarray, " E"]


@dataclass(frozen=True, slots=True)
class LogPart:
    """Some users with all that they were shown and did; requests in the order of user and time."""

    people: People
    requests: Moments
    shown: Int[np.ndarray, "R C"]
    truth: Truth
    outcomes: Outcomes
    events: Events

    def seen_before(self) -> tuple[Int[np.ndarray, " R"], Int[np.ndarray, " R"]]:
        """Events of the user before each request: all, and those of the same local day."""
        keys = _key(self.events.users, self.events.times)
        users, times = self.requests.users, self.requests.times
        until = np.searchsorted(keys, _key(users, times))
        midnight = local_days(times) * DAY - OFFSET
        return until - np.searchsorted(keys, _key(users, 0 * times)), until - np.searchsorted(
            keys, _key(users, midnight)
        )


def write_part(world: World, number: int, max_requests: int | None = None) -> LogPart:
    """The users of one part of the log; with `max_requests`, only until the user of the last of so many requests."""
    first = number * USERS_PER_PART
    people = build_people(world.city, world.knobs, world.seed, np.arange(first, first + USERS_PER_PART))
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((world.seed, 3, number))))
    diary = write_diary(world.city, world.knobs, people, rng)
    moments = moments_of(world.knobs, world.seed, people, diary.users, diary.times, diary.positions)
    requests, organic = moments.take(diary.is_request), moments.take(~diary.is_request)
    shown = show_candidates(world.choice, requests, rng)
    chosen = choose_freely(world.choice, organic, rng)
    actions = np.where(rng.random(len(organic)) < SEARCH_SHARE, SEARCH, VISIT)
    if max_requests is not None and max_requests < len(requests):
        last_user = requests.users[max_requests - 1]
        requests, shown = requests.take(slice(max_requests)), shown[:max_requests]
        kept = organic.users <= last_user
        organic, chosen, actions = organic.take(kept), chosen[kept], actions[kept]
        people = people.take(slice(int(last_user) - first + 1))
    truth = world.choice.truth(requests, shown)
    outcomes = world.outcomes(requests, shown, truth)
    events = _events(organic, chosen, actions, requests, shown, outcomes)
    return LogPart(people=people, requests=requests, shown=shown, truth=truth, outcomes=outcomes, events=events)


def _events(
    organic: Moments, chosen: np.ndarray, actions: np.ndarray, requests: Moments, shown: np.ndarray, outcomes: Outcomes
) -> Events:
    """Organic events, and clicks and orders some seconds after their request; no two of a user at one second."""
    width = shown.shape[1]
    blocks = [(organic, chosen, organic.times, actions)]
    for happened, action, delay in (
        (outcomes.click, CLICK, 1),
        (outcomes.ordered, ORDER, CLICK_SECONDS * width + 2),
    ):
        rows, ranks = np.nonzero(happened)
        clicked = requests.take(rows)
        times = clicked.times + delay + CLICK_SECONDS * ranks
        blocks.append((clicked, shown[rows, ranks], times, np.full(len(rows), action)))
    users = np.concatenate([moments.users for moments, *_ in blocks])
    times = np.concatenate([times for _, _, times, _ in blocks])
    order = np.lexsort((times, users))

    def joined(name: str) -> np.ndarray:
        return np.concatenate([getattr(moments, name) for moments, *_ in blocks])[order]

    return Events(
        users=users[order],
        pois=np.concatenate([pois for _, pois, _, _ in blocks])[order],
        times=times[order],
        actions=np.concatenate([actions for *_, actions in blocks])[order],
        daypart=joined("daypart"),
        weekend=joined("weekend"),
        place=joined("place"),
    )


def _key(users: np.ndarray, times: np.ndarray) -> np.ndarray:
    return (users << 33) + times
