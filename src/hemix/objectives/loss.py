"""What an objective returns."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """`total` is differentiated; `parts` are for the log: one mean per task, and what else adds to the total."""

    total: Float[Tensor, ""]
    parts: Mapping[str, Tensor]
