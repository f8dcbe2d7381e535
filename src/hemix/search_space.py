"""What a search may try: for each key of a configuration, how its value is drawn.

Every model declares a space of its own (`ModelKind.space`), the training section one of its rates
(`TrainConfig.search_space`); a study file takes them or writes others.
"""

import math
from typing import Any

from pydantic import Field, model_validator

from hemix.config import Config


class Draw(Config):
    """How a search draws one key: exactly one of these."""

    choice: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """One of these values, each given once; 1 and true are equal."""
    uniform: tuple[float, float] | None = None
    log_uniform: tuple[float, float] | None = None
    """Uniform in the logarithm; for rates."""
    integer: tuple[int, int] | None = None
    """Whole numbers, both ends included."""

    @model_validator(mode="after")
    def _one_kind_in_order(self) -> "Draw":
        given = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        if len(given) != 1:
            raise ValueError(f"a draw is exactly one of {', '.join(type(self).model_fields)}; got {len(given)}")
        name, value = next(iter(given.items()))
        if name == "choice":
            twice = [each for place, each in enumerate(value) if each in value[:place]]
            if twice:
                raise ValueError(f"each value of a choice may stand once; {twice[0]!r} equals one before it")
            return self
        low, high = value
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"{name} needs two ends in rising order, got {low} and {high}")
        if name == "log_uniform" and low <= 0:
            raise ValueError(f"log_uniform needs ends above 0, got {low}")
        return self

    def settled(self, value: float) -> float:
        """A number that was drawn, with six digits, so that a file can hold it, and still within the ends.

        >>> Draw(uniform=(0.0, 0.12345649)).settled(0.123456489)
        0.123456
        >>> Draw(uniform=(0.0, 0.12345659)).settled(0.123456589)
        0.12345659
        """
        low, high = self.uniform or self.log_uniform or (-math.inf, math.inf)
        return min(max(float(f"{value:.6g}"), low), high)

    def __str__(self) -> str:
        """For people.

        >>> str(Draw(log_uniform=(0.001, 0.1))), str(Draw(choice=((64,), (128, 64))))
        ('0.001 to 0.1, log scale', '[64] or [128, 64]')
        """
        if self.choice is not None:
            return " or ".join(str(list(value) if isinstance(value, tuple) else value) for value in self.choice)
        low, high = self.log_uniform or self.uniform or self.integer or (0, 0)
        return f"{low:g} to {high:g}" + (", log scale" if self.log_uniform else "")
