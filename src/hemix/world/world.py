"""A city as one value: everything that is true of it, as a function of knobs and seed."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from hemix.config import parse_config
from hemix.errors import ConfigError, InputError
from hemix.world.choice import Choice, Moments, Truth, moments_of
from hemix.world.city import City, build_city
from hemix.world.knobs import Knobs
from hemix.world.people import build_people
from hemix.world.streams import normal, uniform

MIN_POIS_PER_CANDIDATE = 20
MAX_SEED = 2**63 - 1
WORLD_FILE = "world.json"


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What happens to candidates, each (R, C). The same user, POI and second always give the same draws."""

    click: Bool[np.ndarray, "R C"]
    ordered: Bool[np.ndarray, "R C"]
    """Only where clicked."""
    order_value: Float[np.ndarray, "R C"]
    """Rounded to cents; 0 without an order."""


@dataclass(frozen=True, slots=True)
class Response:
    """A live answer: the truth about the candidates, and what the users did."""

    truth: Truth
    outcomes: Outcomes


@dataclass(frozen=True)
class World:
    """The city of some knobs and a seed; `impressions` decides how many POIs it has.

    Raises ConfigError for a seed or a number of impressions that is out of range.
    """

    knobs: Knobs = field(default_factory=Knobs)
    seed: int = 0
    impressions: int = 1_000_000

    def __post_init__(self) -> None:
        if not 0 <= self.seed <= MAX_SEED:
            raise ConfigError(f"The seed of a world lies in 0 .. 2**63 - 1; got {self.seed}.")
        if self.impressions < 1:
            raise ConfigError(f"A world has at least 1 impression; got {self.impressions}.")

    @staticmethod
    def load(folder: str | Path) -> "World":
        """The world of a folder that `hemix world` wrote. Raises InputError if there is none."""
        path = Path(folder) / WORLD_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read ({error}); a folder of `hemix world` has one.") from None
        if not isinstance(values, dict) or not {"knobs", "seed", "impressions_asked"} <= set(values):
            raise InputError(f"{path} lacks knobs, seed or impressions_asked; write the world again.")
        knobs = parse_config(Knobs, values["knobs"], f"{path}, knobs")
        return World(knobs=knobs, seed=values["seed"], impressions=values["impressions_asked"])

    @property
    def num_pois(self) -> int:
        """poi_scale * sqrt(impressions), but at least 20 per candidate of a request."""
        scaled = round(self.knobs.poi_scale * math.sqrt(self.impressions))
        return max(scaled, MIN_POIS_PER_CANDIDATE * self.knobs.candidates)

    @cached_property
    def city(self) -> City:
        return build_city(self.knobs, self.seed, self.num_pois)

    @cached_property
    def choice(self) -> Choice:
        return Choice(self.knobs, self.seed, self.city)

    def respond(
        self,
        users: np.ndarray | Sequence[int] | int,
        candidates: np.ndarray | Sequence[Any],
        times: np.ndarray | Sequence[int] | int,
        positions: np.ndarray | Sequence[Any],
    ) -> Response:
        """What users do when these candidates are shown to them, in this order, at these times and places.

        One request (a user, its candidates, seconds since 1970 and a latitude and longitude) or R of them at once; the
        answer always has the axes (R, C). Asked about a request of the log, it gives the probabilities and the very
        outcomes of the log. Any user id from 0 exists. Raises InputError for shapes that do not fit, unknown POIs,
        negative users.
        """
        pois = np.atleast_2d(np.asarray(candidates))
        ids, seconds = np.atleast_1d(np.asarray(users)), np.atleast_1d(np.asarray(times))
        places = np.atleast_2d(np.asarray(positions, np.float64))
        self._check_request(ids, pois, seconds, places)
        unique, rows = np.unique(ids.astype(np.int64), return_inverse=True)
        people = build_people(self.city, self.knobs, self.seed, unique)
        moments = moments_of(self.knobs, self.seed, people, rows, seconds.astype(np.int64), places)
        truth = self.choice.truth(moments, pois.astype(np.int64))
        return Response(truth=truth, outcomes=self.outcomes(moments, pois.astype(np.int64), truth))

    def outcomes(self, moments: Moments, pois: Int[np.ndarray, "R C"], truth: Truth) -> Outcomes:
        """Clicks, orders and values, drawn for each user, POI and second."""
        keys = (moments.users[:, None], pois, moments.times[:, None])
        click = uniform(self.seed, "click", *keys) < truth.p_click
        ordered = click & (uniform(self.seed, "order", *keys) < truth.p_order)
        spread = self.knobs.value_spread
        value = truth.value_if_order * np.exp(spread * normal(self.seed, "value", *keys) - spread**2 / 2)
        return Outcomes(click=click, ordered=ordered, order_value=np.where(ordered, np.round(value, 2), 0.0))

    def _check_request(self, users: np.ndarray, pois: np.ndarray, times: np.ndarray, places: np.ndarray) -> None:
        rows = len(pois)
        if users.shape != (rows,) or times.shape != (rows,) or places.shape != (rows, 2):
            raise InputError(
                f"{rows} requests need as many users, times and (latitude, longitude); got shapes {users.shape}, "
                f"{times.shape} and {places.shape}."
            )
        for name, values in (("Users", users), ("Candidates", pois), ("Times", times)):
            if values.dtype.kind not in "iu":
                raise InputError(f"{name} are whole numbers; got {values.dtype}.")
        if users.size and users.min() < 0:
            raise InputError(f"Users are numbered from 0; got {users.min()}.")
        if pois.size and not 0 <= pois.min() <= pois.max() < self.num_pois:
            raise InputError(f"POIs are numbered 0 .. {self.num_pois - 1}; got {pois.min()} .. {pois.max()}.")
        if not np.isfinite(places).all():
            raise InputError("Latitudes and longitudes must be finite numbers.")
