"""What an objective returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from hemix.batch import Inputs
from hemix.errors import ConfigError
from hemix.models.backbone import Penalised

PENALTY = "penalty"
"""Name of what the model itself adds, among the parts of a loss."""
BESIDE_PARTS = (
    *("kind", "step", "epoch", "rows", "loss", "grad_norm"),
    *("rate_factor", "seconds", "rows_per_second"),
)
"""What a line of metrics.jsonl says beside the parts of the loss, which stand there under their own names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """`total` is differentiated; `parts` are for the log: one mean per task, and what else adds to the total."""

    total: Float[Tensor, ""]
    parts: Mapping[str, Tensor]


def check_part_names(inputs: Inputs, added: Sequence[str]) -> None:
    """Raises ConfigError for a task that is called like something else in the log; `added`: parts of an objective."""
    taken = (*added, PENALTY, *BESIDE_PARTS)
    for task in inputs.tasks:
        if task.name in taken:
            raise ConfigError(
                f"The log of training has each loss under its label's name; label {task.name!r} needs another name, as "
                f"these are taken: {', '.join(taken)}. Change data.labels (`column` still says where its values are)."
            )


def with_penalty(loss: Loss, ranker: nn.Module) -> Loss:
    """The loss and what the model adds to it after a forward pass in training, if it does: see `Penalised`."""
    penalty = ranker.penalty() if isinstance(ranker, Penalised) else None
    if penalty is None:
        return loss
    return Loss(total=loss.total + penalty, parts={**loss.parts, PENALTY: penalty.detach()})
