"""SelfAtt: multi-head self-attention over fields of InterHAt (WSDM 2020, doi 10.1145/3336191.3371785).

y = relu(concat_a softmax(Q_a K_a^T) V_a  W_o)                  no scaling, no residual: the output replaces x
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hemix.nn.attention import split_heads
from hemix.nn.cost import pair_products
from hemix.refine.refiner import Refiner, RefinerConfig, Width


class SelfAttConfig(RefinerConfig):
    """Settings of SelfAtt."""

    name: Literal["self_attention"] = "self_attention"
    num_heads: Annotated[int, Field(ge=1)] = 8
    head_dim: Width = 16
    residual: bool = False
    """Add x before the activation."""


class SelfAtt(Refiner):
    """Every field becomes what it attends to."""

    def __init__(self, config: SelfAttConfig, num_fields: int, width: int) -> None:
        super().__init__()
        total = config.num_heads * config.head_dim
        self.num_fields, self.num_heads, self.residual = num_fields, config.num_heads, config.residual
        self.query, self.key, self.value = (nn.Linear(width, total) for _ in range(3))
        self.output = nn.Linear(total, width, bias=False)
        for layer in (self.query, self.key, self.value, self.output):
            nn.init.xavier_uniform_(layer.weight)

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        query, key, value = (split_heads(part(x), self.num_heads) for part in (self.query, self.key, self.value))
        weights = (query @ key.transpose(2, 3)).softmax(dim=3)
        found = self.output((weights @ value).transpose(1, 2).flatten(2))
        return torch.relu(found + x if self.residual else found)

    def cost(self) -> int:
        """The four maps of every field, and the attention."""
        return self.num_fields * super().cost() + pair_products(self.num_fields, self.query.out_features)
