"""Districts, categories and POIs: all of the city that has no user in it."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from hemix.world.knobs import Knobs

CENTRE = (31.23, 121.47)
"""Latitude and longitude that the city lies around."""
KM_PER_DEGREE = 111.195
CITY_KM = 7.0
"""Standard deviation of the districts' centres around the city's."""
DISTRICT_KM = 1.0
"""Standard deviation of a place around the centre of its district."""
MEDIAN_PRICE = 40.0
PRICE_SPREAD = 0.6
"""Standard deviation of log price, and of a user's log budget."""
SUBCATEGORY = 0.8
"""Length of what sets a category apart within its group, whose own vector has length 1."""
DECIMALS = 5
"""Of coordinates, so that the tables hold the very place that distances were computed from."""
POPULARITY_SKEW = 0.8
"""A POI is drawn as popular with weight exp(POPULARITY_SKEW * popularity)."""


@dataclass(frozen=True, slots=True)
class City:
    """What stands where. POIs are sorted by district; a POI's id is its row.

    Axes: D districts, K taste dimensions, I POIs, G categories.
    """

    district_places: Float[np.ndarray, "D 2"]
    """Latitude, longitude of the centres."""
    district_starts: Int[np.ndarray, " D_and_1"]
    """POIs of district d are rows starts[d] .. starts[d + 1]."""
    category_tastes: Float[np.ndarray, "G K"]
    category_groups: Int[np.ndarray, " G"]
    categories: Int[np.ndarray, " I"]
    districts: Int[np.ndarray, " I"]
    tastes: Float[np.ndarray, "K I"]
    """Unit vectors, one dimension after the other, so that a dimension is gathered from one row."""
    places: Float[np.ndarray, "I 2"]
    log_prices: Float[np.ndarray, " I"]
    """In standard deviations around the median."""
    popularity: Float[np.ndarray, " I"]
    """Standard normal."""
    popularity_edges: Float[np.ndarray, " I"]
    """Cumulative shares by which popular POIs are drawn."""

    @property
    def num_pois(self) -> int:
        return len(self.categories)

    @property
    def prices(self) -> Float[np.ndarray, " I"]:
        return np.round(MEDIAN_PRICE * np.exp(PRICE_SPREAD * self.log_prices.astype(np.float64)), 2)


def build_city(knobs: Knobs, seed: int, num_pois: int) -> City:
    """The city of a seed: the same for every log of as many POIs."""
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, 1))))
    groups = np.arange(knobs.categories) % knobs.groups
    group_tastes = unit(rng.standard_normal((knobs.groups, knobs.taste_dim)))
    own = unit(rng.standard_normal((knobs.categories, knobs.taste_dim)))
    category_tastes = unit(group_tastes[groups] + SUBCATEGORY * own)
    district_places = around(np.array([CENTRE]), CITY_KM * rng.standard_normal((knobs.districts, 2)))
    shares = rng.dirichlet(np.full(knobs.districts, 4.0))
    districts = np.sort(rng.choice(knobs.districts, num_pois, p=shares))
    categories = rng.integers(knobs.categories, size=num_pois)
    tastes = near_category(category_tastes[categories], rng.standard_normal((num_pois, knobs.taste_dim)), knobs)
    popularity = rng.standard_normal(num_pois)
    weights = np.cumsum(np.exp(POPULARITY_SKEW * popularity))
    return City(
        district_places=district_places,
        district_starts=np.searchsorted(districts, np.arange(knobs.districts + 1)),
        category_tastes=category_tastes,
        category_groups=groups,
        categories=categories,
        districts=districts,
        tastes=np.ascontiguousarray(tastes.T, dtype=np.float32),
        places=around(district_places[districts], DISTRICT_KM * rng.standard_normal((num_pois, 2))),
        log_prices=rng.standard_normal(num_pois).astype(np.float32),
        popularity=popularity.astype(np.float32),
        popularity_edges=weights / weights[-1],
    )


def near_category(
    centres: Float[np.ndarray, "... K"], noise: Float[np.ndarray, "... K"], knobs: Knobs
) -> Float[np.ndarray, "... K"]:
    """Unit vectors around those of their categories: how POIs lie, and the interests of users."""
    scale = np.sqrt((1 - knobs.category_share) / knobs.taste_dim)
    return unit(np.sqrt(knobs.category_share) * centres + scale * noise)


def unit(vectors: Float[np.ndarray, "... K"]) -> Float[np.ndarray, "... K"]:
    """Vectors of length 1 in the same directions."""
    return vectors / np.sqrt(np.square(vectors).sum(-1, keepdims=True))


def around(places: Float[np.ndarray, "... 2"], km: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "... 2"]:
    """Places moved north and east by that many km."""
    moved = places + km / (KM_PER_DEGREE * np.array([1.0, np.cos(np.deg2rad(CENTRE[0]))]))
    return np.round(moved, DECIMALS)


def km_between(one: Float[np.ndarray, "... 2"], other: Float[np.ndarray, "... 2"]) -> Float[np.ndarray, "..."]:
    """Distance on the plane that touches the city's centre."""
    north = (one[..., 0] - other[..., 0]) * KM_PER_DEGREE
    east = (one[..., 1] - other[..., 1]) * (KM_PER_DEGREE * np.cos(np.deg2rad(CENTRE[0])))
    return np.sqrt(north * north + east * east)
