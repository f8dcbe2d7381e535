"""Logistic regression: the sum of one weight per value (Richardson et al., WWW 2007, doi 10.1145/1242572.1242643).

logit_k = b_k + sum_f w_(f,k)
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hemix.models.flat import FieldModel, FlatConfig, flat
from hemix.nn.fields import Fields, Layout


class LRConfig(FlatConfig):
    """It has no sizes: one weight per value and task, whatever the feature's `dim`, and no vector to refine."""

    name: Literal["lr"] = "lr"
    embedding_dim: ClassVar[int] = 1
    refine: ClassVar[None] = None


class LR(FieldModel):
    """All fields have a column per task."""

    def __init__(self, config: LRConfig, layout: Layout, num_tasks: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(num_tasks))

    def forward(self, fields: Mapping[str, Fields]) -> Float[Tensor, "N K"]:
        return fields["fields"].values.unflatten(1, (-1, len(self.bias))).sum(dim=1) + self.bias


MODEL = flat(LRConfig, LR, paper="doi 10.1145/1242572.1242643", first_order="alone")
