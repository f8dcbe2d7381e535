"""Which candidates stand beside a positive where nothing else was recorded: the `data.negatives` section."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hemix.config import Config


class Drawn(Config):
    """Candidates drawn for each request of data that holds positives only (check-ins, orders): label 0."""

    num: int = Field(default=50, ge=1)
    """Different items per request, none of them a positive of it."""
    train_num: int | None = Field(default=None, ge=1)
    """Of these, so many stand in a training request; None: all. Predicted odds are put back to those among `num`."""
    seed: int = 0

    @model_validator(mode="after")
    def _train_on_some_of_them(self) -> "Drawn":
        if self.train_num is not None and self.train_num > self.num:
            raise ValueError(f"train_num takes some of the num items drawn; it is {self.train_num}, num is {self.num}")
        return self

    def count(self, split: str) -> int:
        """Drawn items that stand in each request of a split."""
        return self.num if split != "train" or self.train_num is None else self.train_num


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
