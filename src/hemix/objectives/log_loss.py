"""A loss of its own for each task: cross entropy of binary labels, squared error of regressions.

part_k = sum_n w_n loss_k(output_nk, y_nk) / sum_n w_n      over the rows whose label k is known
total  = sum_k lambda_k part_k (+ what the model adds: models/backbone.py, `Penalised`)

Binary: BCE(logit, y). Regression: (output - (t(y) - centre) / spread)^2 with t(y) = y or log(1 + y), centre and spread
those of the training rows (`TaskSpec`), so that the loss is 1 at the mean of all rows, whatever the unit.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hemix.batch import Batch, Inputs
from hemix.config import Config
from hemix.errors import ConfigError, unknown_name
from hemix.objectives.loss import Loss, with_penalty
from hemix.objectives.targets import row_losses, weighted_means
from hemix.ranker import Ranker

TaskWeights = dict[str, Annotated[float, Field(ge=0)]]


class LogLossConfig(Config):
    """Weights of the tasks."""

    name: Literal["log_loss"] = "log_loss"
    task_weights: TaskWeights = Field(default={})
    """Factor of each task's loss in the total; 1 for a task that is not named. 0: it is not learnt."""


class LogLoss(nn.Module):
    """Weighted mean loss of each task over its known labels; their weighted sum is the total."""

    task_weights: Tensor
    added_parts = ()

    def __init__(self, config: LogLossConfig, inputs: Inputs) -> None:
        super().__init__()
        self._tasks = inputs.tasks
        self.register_buffer("task_weights", weights_of(inputs, config.task_weights), persistent=False)

    def forward(self, ranker: Ranker, batch: Batch) -> Loss:
        """Raises ConfigError if the batch has no labels."""
        return with_penalty(self.of(ranker(batch), batch), ranker)

    def of(self, outputs: Float[Tensor, "N K"], batch: Batch) -> Loss:
        """The losses of the tasks alone, for outputs that are there already."""
        labels = task_labels(batch, len(self._tasks))
        means = weighted_means(row_losses(self._tasks, outputs, labels), labels, batch.weights)
        names = [task.name for task in self._tasks]
        return Loss(total=(self.task_weights * means).sum(), parts=dict(zip(names, means.detach(), strict=True)))


def weights_of(inputs: Inputs, given: Mapping[str, float]) -> Tensor:
    """Factor of each task's loss. Raises ConfigError for a task that the data does not have."""
    names = [task.name for task in inputs.tasks]
    for name in given:
        if name not in names:
            raise unknown_name("task in objective.task_weights", name, names)
    return torch.tensor([given.get(name, 1.0) for name in names])


def task_labels(batch: Batch, num_tasks: int) -> Tensor:
    """The labels that are learnt, (N, K). Raises ConfigError if the batch has none."""
    if batch.labels is None:
        raise ConfigError("A loss needs labels; this batch has none.")
    return batch.labels[:, :num_tasks]
