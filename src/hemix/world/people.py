"""Users: what the tables tell of them, and the tastes that they keep, change with the context, and have for a day."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from hemix.world.city import DISTRICT_KM, City, around, near_category
from hemix.world.knobs import Knobs
from hemix.world.moments import DAYPARTS, PLACES
from hemix.world.streams import normal, uniform

NUM_AGE_BANDS = 6
AGE_SHARE = 0.3
"""Chance that an interest is one of the categories that the user's age band likes."""
SPEND_NOISE = 0.6
"""What the observed spend level adds to a budget of standard deviation 1."""
SPEND_EDGES = (-0.98, -0.30, 0.30, 0.98)
"""Between five levels of about equal size."""
CONTEXT_SHARES = {"daypart": 0.5, "weekend": 0.2, "place": 0.3}
ACTIVITY_SPREAD = 0.5


@dataclass(frozen=True, slots=True)
class People:
    """Some users, each a pure function of the seed and its id. Axes: U users, M interests, K taste dimensions."""

    ids: Int[np.ndarray, " U"]
    activity: Float[np.ndarray, " U"]
    """Factor on how often the user is active; mean 1."""
    home_districts: Int[np.ndarray, " U"]
    work_districts: Int[np.ndarray, " U"]
    homes: Float[np.ndarray, "U 2"]
    works: Float[np.ndarray, "U 2"]
    budgets: Float[np.ndarray, " U"]
    """Log budget, in standard deviations around the median price."""
    spend_levels: Int[np.ndarray, " U"]
    age_bands: Int[np.ndarray, " U"]
    interests: Float[np.ndarray, "U M K"]
    """Unit vectors: stable taste."""
    daypart_tastes: Float[np.ndarray, "U 4 K"]
    weekend_tastes: Float[np.ndarray, "U 2 K"]
    place_tastes: Float[np.ndarray, "U 3 K"]

    def take(self, rows: slice) -> "People":
        return People(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def context_tastes(
        self, rows: Int[np.ndarray, " R"], daypart: Int[np.ndarray, " R"], weekend: Int[np.ndarray, " R"],
        place: Int[np.ndarray, " R"],
    ) -> Float[np.ndarray, "R K"]:  # fmt: skip
        """Taste of these users (by row) in these contexts."""
        return self.daypart_tastes[rows, daypart] + self.weekend_tastes[rows, weekend] + self.place_tastes[rows, place]


def build_people(city: City, knobs: Knobs, seed: int, ids: Int[np.ndarray, " U"]) -> People:
    """The users with these ids, in float32 where tastes are concerned."""
    num_districts = len(city.district_places)
    home_districts = _below(uniform(seed, "home district", ids), num_districts)
    work_districts = _below(uniform(seed, "work district", ids), num_districts)
    budgets = normal(seed, "budget", ids)
    spend = (budgets + SPEND_NOISE * normal(seed, "spend", ids)) / np.sqrt(1 + SPEND_NOISE**2)
    age_bands = _below(uniform(seed, "age", ids), NUM_AGE_BANDS)
    return People(
        ids=ids,
        activity=np.exp(ACTIVITY_SPREAD * normal(seed, "activity", ids) - ACTIVITY_SPREAD**2 / 2),
        home_districts=home_districts,
        work_districts=work_districts,
        homes=around(city.district_places[home_districts], DISTRICT_KM * _vectors(seed, "home", 2, ids)),
        works=around(city.district_places[work_districts], DISTRICT_KM * _vectors(seed, "work", 2, ids)),
        budgets=budgets.astype(np.float32),
        spend_levels=1 + np.searchsorted(np.array(SPEND_EDGES), spend),
        age_bands=age_bands,
        interests=_interests(city, knobs, seed, ids, age_bands),
        daypart_tastes=_context_part(knobs, seed, "daypart", len(DAYPARTS), ids),
        weekend_tastes=_context_part(knobs, seed, "weekend", 2, ids),
        place_tastes=_context_part(knobs, seed, "place", len(PLACES), ids),
    )


def drift_tastes(
    knobs: Knobs, seed: int, users: Int[np.ndarray, " R"], days: Int[np.ndarray, " R"]
) -> Float[np.ndarray, "R K"]:
    """Taste of users on local days (counted from 1970)."""
    return _vectors(seed, "drift", knobs.taste_dim, users, days).astype(np.float32)


def _interests(
    city: City, knobs: Knobs, seed: int, ids: np.ndarray, age_bands: np.ndarray
) -> Float[np.ndarray, "U M K"]:
    """Each lies around a category, as POIs do; some of the categories are those of the age band."""
    numbers = np.arange(knobs.interests)
    anywhere = uniform(seed, "interest", ids[:, None], numbers)
    among_own = (age_bands[:, None] + anywhere) / NUM_AGE_BANDS
    from_age = uniform(seed, "interest by age", ids[:, None], numbers) < AGE_SHARE
    # Categories of an age band are neighbours in an order without meaning: consecutive ids belong to different groups.
    categories = _below(np.where(from_age, among_own, anywhere), knobs.categories)
    noise = _vectors(seed, "interest vector", knobs.taste_dim, ids[:, None], numbers)
    return near_category(city.category_tastes[categories], noise, knobs).astype(np.float32)


def _context_part(knobs: Knobs, seed: int, name: str, count: int, ids: np.ndarray) -> Float[np.ndarray, "U count K"]:
    """Tastes per value of one side of the context; they add up to zero over its values."""
    values = np.arange(count)
    own = _vectors(seed, f"own {name}", knobs.taste_dim, ids[:, None], values)
    shared = _vectors(seed, f"shared {name}", knobs.taste_dim, values)
    tastes = np.sqrt(knobs.shared_context) * shared + np.sqrt(1 - knobs.shared_context) * own
    tastes = (tastes - tastes.mean(1, keepdims=True)) * np.sqrt(count / (count - 1))
    return (np.sqrt(CONTEXT_SHARES[name]) * tastes).astype(np.float32)


def _vectors(seed: int, name: str, size: int, *keys: np.ndarray) -> Float[np.ndarray, "... size"]:
    return normal(seed, name, *(key[..., None] for key in keys), np.arange(size))


def _below(share: np.ndarray, count: int) -> np.ndarray:
    return np.minimum((share * count).astype(np.int64), count - 1)
