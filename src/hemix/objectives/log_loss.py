"""Binary cross entropy over one or several tasks.

part_k = sum_n w_n y_nk * BCE(logit_nk, y_nk) / sum_n w_n      over the rows whose label k is known
total  = sum_k lambda_k part_k
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.batch import Batch, Inputs
from hemix.config import Config
from hemix.errors import ConfigError, unknown_name
from hemix.objectives.loss import Loss
from hemix.ranker import Ranker


class LogLossConfig(Config):
    """Weights of the tasks."""

    name: Literal["log_loss"] = "log_loss"
    task_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default={})
    """Factor of each task's loss in the total; 1 for a task that is not named."""


class LogLoss(nn.Module):
    """Weighted mean log loss of each task over its known labels; their weighted sum is the total."""

    task_weights: Tensor

    def __init__(self, config: LogLossConfig, inputs: Inputs) -> None:
        super().__init__()
        self._tasks = [task.name for task in inputs.tasks]
        for name in config.task_weights:
            if name not in self._tasks:
                raise unknown_name("task in objective.task_weights", name, self._tasks)
        weights = [config.task_weights.get(name, 1.0) for name in self._tasks]
        self.register_buffer("task_weights", torch.tensor(weights), persistent=False)

    def forward(self, ranker: Ranker, batch: Batch) -> Loss:
        """Raises ConfigError if the batch has no labels."""
        if batch.labels is None:
            raise ConfigError("A loss needs labels; this batch has none.")
        means = task_means(ranker(batch), batch.labels, batch.weights)
        return Loss(total=(self.task_weights * means).sum(), parts=dict(zip(self._tasks, means.detach(), strict=True)))


def task_means(
    logits: Float[Tensor, "N K"], labels: Float[Tensor, "N K"], weights: Float[Tensor, " N"] | None
) -> Float[Tensor, " K"]:
    """Weighted mean log loss of each task over the rows whose label is known (not NaN); 0 if none is."""
    known = ~labels.isnan()
    losses = F.binary_cross_entropy_with_logits(logits, torch.nan_to_num(labels).to(logits.dtype), reduction="none")
    row_weights = known.to(logits.dtype) if weights is None else known * weights[:, None].to(logits.dtype)
    total = row_weights.sum(dim=0)
    return (losses * row_weights).sum(dim=0) / torch.where(total > 0, total, 1.0)
