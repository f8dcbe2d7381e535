"""ESMM: entire space multi-task model (Ma et al., SIGIR 2018, https://arxiv.org/abs/1804.07931).

pCTR   = s(a),  pCVR = s(b)                     logits a of the click, b of the conversion, s the logistic function
pCTCVR = pCTR pCVR                              both over all impressions
total  = lambda_click mean BCE(pCTR, y) + lambda_conversion mean BCE(pCTCVR, y z) + ...        y: click, z: conversion

The head of the conversion is never compared with z itself, so that it learns p(conversion | click) from all impressions
and not from the clicked ones alone. Logits stay what they are: b is the log odds of pCVR in training, evaluation and
prediction. The paper sums over impressions where this takes means; its lambdas are 1. Other tasks keep their own loss.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.batch import Batch, Inputs
from hemix.config import Config
from hemix.errors import unknown_name
from hemix.objectives.log_loss import TaskWeights, task_labels, weights_of
from hemix.objectives.loss import Loss, with_penalty
from hemix.objectives.targets import product_logit, row_losses, weighted_means
from hemix.ranker import Ranker


class ESMMConfig(Config):
    """Which task is the click and which the conversion after it."""

    name: Literal["esmm"] = "esmm"
    click: str
    conversion: str
    task_weights: TaskWeights = Field(default={})
    """Factor of each task's loss in the total; 1 for a task that is not named. The conversion's is that of pCTCVR."""

    @property
    def product(self) -> str:
        """Name of the product: in the parts of the loss, and behind ``score_`` in predictions."""
        return f"{self.click}_and_{self.conversion}"


class ESMM(nn.Module):
    """Log loss of click and of click-and-conversion over all impressions."""

    task_weights: Tensor

    def __init__(self, config: ESMMConfig, inputs: Inputs) -> None:
        super().__init__()
        names = [task.name for task in inputs.tasks]
        for key, name in (("click", config.click), ("conversion", config.conversion)):
            if name not in names:
                raise unknown_name(f"task in objective.{key}", name, names)
        self._tasks = inputs.tasks
        self._click, self._conversion = names.index(config.click), names.index(config.conversion)
        self.added_parts = (config.product,)
        self._parts = [config.product if name == config.conversion else name for name in names]
        self.register_buffer("task_weights", weights_of(inputs, config.task_weights), persistent=False)

    def forward(self, ranker: Ranker, batch: Batch) -> Loss:
        """Raises ConfigError if the batch has no labels."""
        outputs, labels = ranker(batch), task_labels(batch, len(self._tasks))
        clicks, conversions = labels[:, self._click], labels[:, self._conversion]
        both = torch.where(clicks == 0, 0.0, conversions)
        losses = row_losses(self._tasks, outputs, labels)
        product = product_logit(outputs[:, self._click], outputs[:, self._conversion])
        joint = F.binary_cross_entropy_with_logits(product, torch.nan_to_num(both).to(product.dtype), reduction="none")
        place = torch.tensor([self._conversion], device=losses.device)
        losses = losses.index_copy(1, place, joint[:, None])
        means = weighted_means(losses, labels.index_copy(1, place, both[:, None]), batch.weights)
        parts = dict(zip(self._parts, means.detach(), strict=True))
        return with_penalty(Loss(total=(self.task_weights * means).sum(), parts=parts), ranker)
