"""What is offered: the logging policy's candidates, and what a user comes upon without it."""

import numpy as np
from jaxtyping import Float, Int

from hemix.world.choice import Choice, Moments
from hemix.world.city import City

NUM_FOUND = 30
"""POIs among which an organic event is chosen."""
MAX_ELEMENTS = 1 << 16
"""Proposals that are weighed at a time: few enough to stay in the processor's cache."""
REJECTED = np.float32(-1e9)
FORCED = np.float32(1e6)


def show_candidates(choice: Choice, moments: Moments, rng: np.random.Generator) -> Int[np.ndarray, "R C"]:
    """The logging policy's answer to each request, best first, all different.

    Three times as many proposals as candidates, from the user's district, by popularity and from everywhere, are ranked
    by popularity, distance, a guess at stable taste, and noise. Some are shown whatever their score.
    """
    knobs, count = choice.knobs, choice.knobs.candidates
    shown = np.empty((len(moments), count), np.int64)
    for rows in _blocks(len(moments), 3 * count):
        block = moments.take(rows)
        proposed = np.concatenate(
            [
                _in_district(choice.city, block.positions, count, rng),
                _popular(choice.city, (len(block), count), rng),
                _everywhere(choice.city.num_pois, (len(block), count), rng),
            ],
            axis=1,
        )
        proposed, rejected = _sort_and_mark_repeats(proposed)
        score = _policy_score(choice, block, proposed) + knobs.policy_noise * _gumbel(proposed.shape, rng)
        forced = rng.random(proposed.shape) < knobs.explore / 3
        chosen = np.argpartition(-(score + FORCED * forced + REJECTED * rejected), count - 1, axis=1)[:, :count]
        best_first = np.argsort(-np.take_along_axis(score, chosen, 1), axis=1, kind="stable")
        shown[rows] = np.take_along_axis(proposed, np.take_along_axis(chosen, best_first, 1), 1)
    return shown


def choose_freely(choice: Choice, moments: Moments, rng: np.random.Generator) -> Int[np.ndarray, " R"]:
    """The POI of each organic event: of some from everywhere, each with odds exp(utility)."""
    found = np.empty(len(moments), np.int64)
    width = min(NUM_FOUND, choice.city.num_pois)
    for rows in _blocks(len(moments), width):
        block = moments.take(rows)
        pois = _everywhere(choice.city.num_pois, (len(block), width), rng)
        utility = choice.utility(choice.parts(block, pois)) + _gumbel(pois.shape, rng)
        found[rows] = np.take_along_axis(pois, utility.argmax(1)[:, None], 1)[:, 0]
    return found


def _blocks(rows: int, width: int) -> list[slice]:
    size = max(1, MAX_ELEMENTS // width)
    return [slice(start, start + size) for start in range(0, rows, size)]


def _policy_score(choice: Choice, moments: Moments, pois: Int[np.ndarray, "R P"]) -> Float[np.ndarray, "R P"]:
    """Popularity and distance in standard deviations, the stable part as it is: none where its knob is 0."""
    knobs = choice.knobs
    raw = choice.standardised(moments, pois, ("popularity", "distance"))
    score = knobs.policy_popularity * raw["popularity"] + knobs.policy_distance * raw["distance"]
    if knobs.policy_taste and knobs.stable:
        score += knobs.policy_taste * choice.parts(moments, pois, ("stable",))["stable"]
    return score


def _in_district(
    city: City, positions: Float[np.ndarray, "R 2"], count: int, rng: np.random.Generator
) -> Int[np.ndarray, "R count"]:
    """POIs of the district whose centre is nearest; from everywhere if it has none."""
    apart = positions[:, None, :] - city.district_places
    district = np.square(apart).sum(-1).argmin(1)
    start, end = city.district_starts[district][:, None], city.district_starts[district + 1][:, None]
    drawn = rng.random((len(positions), count))
    inside = start + (drawn * (end - start)).astype(np.int64)
    return np.where(end > start, inside, (drawn * city.num_pois).astype(np.int64))


def _popular(city: City, shape: tuple[int, int], rng: np.random.Generator) -> Int[np.ndarray, "R count"]:
    return np.minimum(np.searchsorted(city.popularity_edges, rng.random(shape)), city.num_pois - 1)


def _everywhere(num_pois: int, shape: tuple[int, int], rng: np.random.Generator) -> Int[np.ndarray, "R count"]:
    """One POI of each of `count` equal parts of all POIs: all different."""
    edges = np.arange(shape[1] + 1) * num_pois // shape[1]
    return edges[:-1] + (rng.random(shape) * np.diff(edges)).astype(np.int64)


def _sort_and_mark_repeats(pois: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pois = np.sort(pois, axis=1)
    repeated = np.zeros(pois.shape, bool)
    repeated[:, 1:] = pois[:, 1:] == pois[:, :-1]
    return pois, repeated


def _gumbel(shape: tuple[int, ...], rng: np.random.Generator) -> Float[np.ndarray, "R P"]:
    return -np.log(rng.standard_exponential(shape, dtype=np.float32) + np.float32(1e-30))
