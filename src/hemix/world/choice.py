"""Why a user clicks and orders: the parts of the utility, and the probabilities made of them.

    u         = click_base + sum of the parts
    p_click   = (1 + rank) ** -position * sigmoid(u)
    p_order   = sigmoid(order_base + order_taste (stable + context + drift) + order_price + order_distance)

A part is its knob times a quantity that is standardised over random users, moments and POIs. Everything is computed
element by element, in float32 where it is large, so that one request gives the bits that a whole log gives.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float, Int

from hemix.world.city import PRICE_SPREAD, City, km_between
from hemix.world.knobs import Knobs
from hemix.world.moments import FIRST_DAY, dayparts, local_days, places_of, weekends
from hemix.world.people import People, build_people, drift_tastes
from hemix.world.streams import normal

TASTES = ("stable", "context", "drift")
CLICK_PARTS = (*TASTES, "popularity", "price", "distance", "noise")
ORDER_PARTS = ("order_price", "order_distance")
NUM_REFERENCE = 512
"""Users, and POIs for each of them, over which quantities are standardised."""
BUDGET_IN_VALUE = 0.3
"""How much of log budget goes into the value of an order, in standard deviations of log price."""

Pairs = Float[np.ndarray, "R C"]


@dataclass(frozen=True, slots=True)
class Moments:
    """Users at times and places, one per row, with the tastes that they have there. Axes: R rows, M, K as in People."""

    users: Int[np.ndarray, " R"]
    times: Int[np.ndarray, " R"]
    """Seconds since 1970, UTC."""
    positions: Float[np.ndarray, "R 2"]
    daypart: Int[np.ndarray, " R"]
    weekend: Int[np.ndarray, " R"]
    place: Int[np.ndarray, " R"]
    interests: Float[np.ndarray, "R M K"]
    context: Float[np.ndarray, "R K"]
    drift: Float[np.ndarray, "R K"]
    budgets: Float[np.ndarray, " R"]

    def __len__(self) -> int:
        return len(self.users)

    def take(self, rows: np.ndarray | slice) -> "Moments":
        return Moments(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def moments_of(
    knobs: Knobs, seed: int, people: People, rows: Int[np.ndarray, " R"], times: Int[np.ndarray, " R"],
    positions: Float[np.ndarray, "R 2"],
) -> Moments:  # fmt: skip
    """Moments of users, who are given by their rows of `people`."""
    users = people.ids[rows]
    daypart, weekend = dayparts(times), weekends(times)
    place = places_of(positions, people.homes[rows], people.works[rows])
    return Moments(
        users=users,
        times=times,
        positions=positions,
        daypart=daypart,
        weekend=weekend,
        place=place,
        interests=people.interests[rows],
        context=people.context_tastes(rows, daypart, weekend, place),
        drift=drift_tastes(knobs, seed, users, local_days(times)),
        budgets=people.budgets[rows],
    )


@dataclass(frozen=True, slots=True)
class Truth:
    """The truth about candidates, each (R, C)."""

    parts: dict[str, Pairs]
    """By the names in CLICK_PARTS and ORDER_PARTS, in units of the logit."""
    p_click: Pairs
    p_order: Pairs
    """Probability of an order if the candidate is clicked."""
    value_if_order: Pairs
    """Expected value of an order."""

    @property
    def expected_value(self) -> Pairs:
        """Expected order value of showing the candidate."""
        return self.p_click * self.p_order * self.value_if_order


@dataclass(frozen=True)
class Choice:
    """Preferences of all users over the POIs of a city."""

    knobs: Knobs
    seed: int
    city: City
    scales: dict[str, tuple[float, float]] = field(init=False)
    """Mean and standard deviation of each raw quantity over the reference."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", self._standardise())

    def truth(self, moments: Moments, pois: Int[np.ndarray, "R C"]) -> Truth:
        """Parts and probabilities where the candidate in column r is shown at rank r."""
        parts = self.parts(moments, pois, (*CLICK_PARTS, *ORDER_PARTS))
        knobs = self.knobs
        ranks = np.arange(pois.shape[1])
        taste = parts["stable"] + parts["context"] + parts["drift"]
        order = knobs.order_base + knobs.order_taste * taste + parts["order_price"] + parts["order_distance"]
        budgets = PRICE_SPREAD * BUDGET_IN_VALUE * moments.budgets.astype(np.float64)
        return Truth(
            parts=parts,
            p_click=(1.0 + ranks) ** -knobs.position * _sigmoid(knobs.click_base + self.utility(parts)),
            p_order=_sigmoid(order),
            value_if_order=self.city.prices[pois] * np.exp(budgets)[:, None],
        )

    def utility(self, parts: dict[str, Pairs]) -> Pairs:
        """The sum of the parts of a click."""
        total = parts[CLICK_PARTS[0]].copy()
        for name in CLICK_PARTS[1:]:
            total += parts[name]
        return total

    def parts(
        self, moments: Moments, pois: Int[np.ndarray, "R C"], names: tuple[str, ...] = CLICK_PARTS
    ) -> dict[str, Pairs]:
        """The named parts; one whose knob is 0 is zero and costs nothing."""
        strengths = {name: getattr(self.knobs, name) for name in names}
        found = self.standardised(moments, pois, tuple(name for name in names if strengths[name]))
        none = np.zeros(pois.shape, np.float32)
        return {name: found[name] * np.float32(strengths[name]) if name in found else none for name in names}

    def standardised(self, moments: Moments, pois: Int[np.ndarray, "R C"], names: tuple[str, ...]) -> dict[str, Pairs]:
        """The quantities behind the named parts, before their knobs."""
        raw = self._raw(moments, pois, names)
        return {
            name: (raw[name] - np.float32(self.scales[name][0])) / np.float32(self.scales[name][1]) for name in names
        }

    def _raw(self, moments: Moments, pois: Int[np.ndarray, "R C"], names: tuple[str, ...]) -> dict[str, Pairs]:
        """Quantities before they are standardised."""
        found = self._raw_tastes(moments, pois, names)
        if "popularity" in names:
            found["popularity"] = self.city.popularity[pois]
        if {"price", "order_price"} & set(names):
            beyond = self.city.log_prices[pois] - moments.budgets[:, None]
            found["price"] = -np.abs(beyond)
            found["order_price"] = -np.maximum(beyond, np.float32(0))
        if {"distance", "order_distance"} & set(names):
            km = km_between(moments.positions[:, None, :], self.city.places[pois])
            near = -np.log1p(km).astype(np.float32)
            found |= {"distance": near, "order_distance": near}
        if "noise" in names:
            drawn = normal(self.seed, "noise", moments.users[:, None], pois, moments.times[:, None])
            found["noise"] = drawn.astype(np.float32)
        return {name: found[name] for name in names}

    def _raw_tastes(self, moments: Moments, pois: Int[np.ndarray, "R C"], names: tuple[str, ...]) -> dict[str, Pairs]:
        vectors = {name: getattr(moments, name) for name in ("context", "drift") if name in names}
        if "stable" in names:
            vectors |= {f"interest {m}": moments.interests[:, m] for m in range(self.knobs.interests)}
        products: dict[str, Pairs] = {name: np.zeros(pois.shape, np.float32) for name in vectors}
        for k in range(self.knobs.taste_dim) if vectors else ():
            column = self.city.tastes[k][pois]
            for name, vector in vectors.items():
                products[name] += vector[:, k, None] * column
        if "stable" in names:
            # log of the mean of exp(sharpness * x): close to the largest x, and smooth
            sharpness = np.float32(self.knobs.sharpness)
            total = np.zeros(pois.shape, np.float32)
            for m in range(self.knobs.interests):
                total += np.exp(sharpness * products.pop(f"interest {m}"))
            products["stable"] = np.log(total) / sharpness
        return products

    def _standardise(self) -> dict[str, tuple[float, float]]:
        """Over the first users, each at a random moment near a random POI, and random POIs."""
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((self.seed, 2))))
        people = build_people(self.city, self.knobs, self.seed, np.arange(NUM_REFERENCE))
        times = FIRST_DAY * 86_400 + rng.integers(7 * 86_400, size=NUM_REFERENCE)
        positions = self.city.places[rng.integers(self.city.num_pois, size=NUM_REFERENCE)]
        positions[::3], positions[1::3] = people.homes[::3], people.works[1::3]
        moments = moments_of(self.knobs, self.seed, people, np.arange(NUM_REFERENCE), times, positions)
        pois = rng.integers(self.city.num_pois, size=(NUM_REFERENCE, NUM_REFERENCE))
        raw = self._raw(moments, pois, (*CLICK_PARTS, *ORDER_PARTS))
        return {
            name: (float(values.mean(dtype=np.float64)), float(values.std(dtype=np.float64)) or 1.0)
            for name, values in raw.items()
        }


def _sigmoid(logits: Float[np.ndarray, "R C"]) -> Float[np.ndarray, "R C"]:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))
