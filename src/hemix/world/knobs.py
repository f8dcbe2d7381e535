"""Settings of the city: how strong each source of signal is, and how large everything is."""

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field, model_validator

from hemix.config import Config, parse_config
from hemix.config_file import apply_override
from hemix.errors import ConfigError

Strength = Annotated[float, Field(ge=0, le=10, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Weight = Annotated[float, Field(allow_inf_nan=False)]


class Knobs(Config):
    """A strength is the standard deviation that its part has in the logit of a click, over random users and POIs; at 0
    the part is gone from clicks, orders and organic events alike. Chosen by reasoning and by statistics of the truth
    (docs/world.md), before any model saw the city.
    """

    stable: Strength = 1.0
    """Taste that a user keeps: the nearest of several interests."""
    context: Strength = 1.0
    """Taste that goes with part of the day, weekend and place; its mean over contexts is zero."""
    drift: Strength = 1.0
    """Taste of one user on one local day, independent of all other days."""
    popularity: Strength = 0.4
    """How well known the POI is to everybody."""
    price: Strength = 0.4
    """How far the price is from the user's budget, up or down."""
    distance: Strength = 0.4
    """Nearness: minus the logarithm of 1 + km between user and POI."""
    noise: Strength = 0.0
    """What nothing explains: drawn for each user, POI and second."""
    position: Strength = 0.3
    """Rank r = 0, 1, .. is looked at with probability (1 + r) ** -position."""

    click_base: Weight = -2.0
    """Logit of a click, once looked at, where all parts are zero."""
    order_base: Weight = -3.2
    """Logit of an order after a click, where all parts are zero."""
    order_taste: Strength = 0.4
    """Share of the taste parts (stable, context, drift) that carries over into the logit of an order."""
    order_price: Strength = 0.8
    """Strength of the price beyond the budget in the logit of an order."""
    order_distance: Strength = 0.5
    """Strength of the distance in the logit of an order."""
    value_spread: Strength = 0.4
    """Standard deviation of the logarithm of an order's value."""

    taste_dim: int = Field(default=8, ge=2, le=64)
    """Dimensions of the space in which POIs and tastes lie."""
    interests: int = Field(default=4, ge=1, le=16)
    """Stable interests of a user."""
    sharpness: float = Field(default=8.0, gt=0, le=50)
    """The larger, the more only the nearest interest counts."""
    shared_context: Share = 0.25
    """Share of the variance of context taste that all users have in common."""
    category_share: Share = 0.7
    """Share of the variance of a POI's taste vector that its category explains."""

    policy_taste: Strength = 0.5
    """Weight of the stable part in the score by which the logging policy ranks: its guess at taste."""
    policy_popularity: Strength = 0.4
    """Weight of popularity in that score."""
    policy_distance: Strength = 0.4
    """Weight of nearness in that score."""
    policy_noise: Strength = 1.0
    """Scale of the Gumbel noise in that score."""
    explore: Share = 0.1
    """Expected share of candidates that are shown at random."""

    days: int = Field(default=42, ge=2, le=366)
    """Length of the log, from a Monday on."""
    warm_up_days: int = Field(default=21, ge=0)
    """Days at the beginning that have events, but no requests yet."""
    active_share: float = Field(default=0.4, ge=0.01, le=1)
    """Share of days on which a user of average activity opens the service."""
    session_events: float = Field(default=1.8, ge=0, le=5)
    """Organic events per session, expected: searches and visits that no impression caused."""
    session_requests: float = Field(default=1.0, ge=0.05, le=4)
    """Requests per session, expected."""
    candidates: int = Field(default=10, ge=1, le=50)
    """POIs shown per request."""
    poi_scale: float = Field(default=3.0, gt=0, le=1000)
    """POIs = poi_scale * sqrt(impressions), but never fewer than 20 per shown candidate."""
    districts: int = Field(default=24, ge=1, le=1000)
    """Districts of the city."""
    categories: int = Field(default=32, ge=1, le=10_000)
    """Categories of POIs."""
    groups: int = Field(default=8, ge=1, le=1000)
    """Groups of categories."""

    @model_validator(mode="after")
    def _fits(self) -> "Knobs":
        if self.warm_up_days >= self.days:
            raise ValueError(
                f"warm_up_days must be below days, or there would be no request; they are {self.warm_up_days} and "
                f"{self.days}"
            )
        if self.groups > self.categories:
            raise ValueError(f"groups must not exceed categories; they are {self.groups} and {self.categories}")
        return self

    @property
    def hash(self) -> str:
        """SHA-256 of all values."""
        values = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(values.encode()).hexdigest()


def knobs_from(overrides: Sequence[str]) -> Knobs:
    """The default knobs with overrides such as ``drift=2``.

    Raises ConfigError for an unknown knob or a value outside its range.

    >>> knobs_from(["drift=2", "days=7", "warm_up_days=0"]).drift
    2.0
    """
    values: dict[str, object] = {}
    for override in overrides:
        key = override.partition("=")[0].strip()
        if "." in key:
            raise ConfigError(f"A knob has a plain name, as in drift=2; got {override!r}.")
        apply_override(values, override)
    return parse_config(Knobs, values, "knobs")
