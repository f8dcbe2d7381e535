"""Which candidates stand beside a positive where nothing else was recorded: the `data.negatives` section."""

from typing import Annotated, Literal

from pydantic import Field

from hemix.config import Config


class Drawn(Config):
    """Candidates drawn for each request of data that holds positives only (check-ins, orders): label 0."""

    num: int = Field(default=50, ge=1)
    """Different items per request, none of them a positive of it."""
    seed: int = 0


class UniformNegatives(Drawn):
    """Any item that was known before the request, each as likely as the others."""

    kind: Literal["uniform"]


class PopularNegatives(Drawn):
    """The item of a random earlier row of the examples and logs, whoever's: as likely as it was popular until then."""

    kind: Literal["popularity"]


class NearbyNegatives(Drawn):
    """Items in the H3 cell of the positive; the cell grows until enough others in it are known."""

    kind: Literal["nearby"]
    place: str | None = None
    """The candidate's `geo` feature; None: the only one."""
    resolution: int = Field(default=9, ge=0, le=15)
    """Of the smallest cell: 9 is about 0.1 square km, each step down seven times as much."""
    popular: float = Field(default=0.0, ge=0, le=1)
    """Share that is drawn by popularity within the cell."""


Negatives = Annotated[UniformNegatives | PopularNegatives | NearbyNegatives, Field(discriminator="kind")]
