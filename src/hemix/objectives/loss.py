"""What an objective returns."""

from collections.abc import Mapping
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from hemix.models.backbone import Penalised

PENALTY = "penalty"
"""Name of what the model itself adds, among the parts of a loss."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """`total` is differentiated; `parts` are for the log: one mean per task, and what else adds to the total."""

    total: Float[Tensor, ""]
    parts: Mapping[str, Tensor]


def with_penalty(loss: Loss, ranker: nn.Module) -> Loss:
    """The loss and what the model adds to it after a forward pass in training, if it does: see `Penalised`."""
    penalty = ranker.penalty() if isinstance(ranker, Penalised) else None
    if penalty is None:
        return loss
    return Loss(total=loss.total + penalty, parts={**loss.parts, PENALTY: penalty.detach()})
