"""What the output of a model means for each task: the loss of a row, and the prediction that people read.

Axes: N rows, K tasks, L labels (the tasks, then those that are only measured).
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hemix.batch import Inputs, TaskSpec


def row_losses(
    tasks: Sequence[TaskSpec], outputs: Float[Tensor, "N K"], labels: Float[Tensor, "N K"]
) -> Float[Tensor, "N K"]:
    """Log loss of binary tasks, squared error of the standardised target of regressions; NaN labels count as 0."""
    known = torch.nan_to_num(labels).to(outputs.dtype)
    losses = F.binary_cross_entropy_with_logits(outputs, known, reduction="none")
    if any(task.kind == "regression" for task in tasks):
        columns = [
            (outputs[:, k] - standardised(task, known[:, k])).square() if task.kind == "regression" else losses[:, k]
            for k, task in enumerate(tasks)
        ]
        losses = torch.stack(columns, dim=1)
    return losses


def weighted_means(
    losses: Float[Tensor, "N K"], labels: Float[Tensor, "N K"], weights: Float[Tensor, " N"] | None
) -> Float[Tensor, " K"]:
    """Mean of each task over the rows whose label is known (not NaN); 0 if none is."""
    known = ~labels.isnan()
    row_weights = known.to(losses.dtype) if weights is None else known * weights[:, None].to(losses.dtype)
    total = row_weights.sum(dim=0)
    return (losses * row_weights).sum(dim=0) / torch.where(total > 0, total, 1.0)


def standardised(task: TaskSpec, values: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """What the head of a regression is to give for these values."""
    learnt = torch.log1p(values) if task.loss == "log_squared" else values
    return (learnt - task.centre) / task.spread


def product_logit(one: Float[Tensor, " N"], other: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """Log odds of p q, where p and q are the probabilities of two logits.

    log p q = log s(a) + log s(b) and log (1 - p q) = log(s(-a) + s(a) s(-b)), s the logistic function: both are sums in
    log space, so that nothing is lost where p q rounds to 0 or 1.
    """
    of_one = F.logsigmoid(one)
    rest = torch.logaddexp(F.logsigmoid(-one), of_one + F.logsigmoid(-other))
    return of_one + F.logsigmoid(other) - rest


def predictions(inputs: Inputs, outputs: Float[Tensor, "N K"]) -> Float[Tensor, "N L"]:
    """Of each label: a logit with the down-sampling of training undone, or the value of a regression."""
    columns = {task.name: prediction(task, outputs[:, k]) for k, task in enumerate(inputs.tasks)}
    for outcome in inputs.outcomes:
        first, *others = (columns[name] for name in outcome.scored_by)
        for other in others:
            first = product_logit(first, other)
        columns[outcome.name] = first
    return torch.stack(list(columns.values()), dim=1)


def prediction(task: TaskSpec, output: Float[Tensor, " N"]) -> Float[Tensor, " N"]:
    """What one head says, as people read it."""
    if task.loss == "log_loss":
        return output + task.logit_shift
    learnt = task.centre + task.spread * output
    return torch.expm1(learnt).clamp(min=0) if task.loss == "log_squared" else learnt
