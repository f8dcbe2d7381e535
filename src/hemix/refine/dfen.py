"""DFEN: dual factor estimating network of DIFM (IJCAI 2020, doi 10.24963/ijcai.2020/434).

m   = W_v vec(relu(MHSA(x) + x R)) + W_b z(x)          one weight per field, no softmax
y_f = m_f x_f                                          z: deep network over all fields side by side
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hemix.nn.attention import split_heads
from hemix.nn.cost import pair_products, products
from hemix.nn.deep import DeepNetwork
from hemix.refine.refiner import Dropout, Refiner, RefinerConfig, Width


class DFENConfig(RefinerConfig):
    """Settings of DFEN."""

    name: Literal["dfen"] = "dfen"
    num_heads: Annotated[int, Field(ge=1)] = 4
    """Each as wide as a field."""
    hidden: Annotated[tuple[Width, ...], Field(min_length=1)] = (256, 256, 256)
    dropout: Dropout = 0.5


class DFEN(Refiner):
    """One weight per field, from attention between fields and from a deep network."""

    def __init__(self, config: DFENConfig, num_fields: int, width: int) -> None:
        super().__init__()
        total = config.num_heads * width
        self.num_fields, self.num_heads = num_fields, config.num_heads
        self.query, self.key, self.value, self.residual = (nn.Linear(width, total) for _ in range(4))
        self.by_vector = nn.Linear(num_fields * total, num_fields, bias=False)
        self.deep = DeepNetwork(num_fields * width, config.hidden, dropout=config.dropout)
        self.by_bit = nn.Linear(self.deep.width, num_fields, bias=False)

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        query, key, value = (split_heads(part(x), self.num_heads) for part in (self.query, self.key, self.value))
        weights = (query @ key.transpose(2, 3) * x.shape[2] ** -0.5).softmax(dim=3)
        attended = torch.relu((weights @ value).transpose(1, 2).flatten(2) + self.residual(x))
        return x * (self.by_vector(attended.flatten(1)) + self.by_bit(self.deep(x.flatten(1))))[:, :, None]

    def cost(self) -> int:
        """The four maps of every field, the attention, the deep network and both sums."""
        maps = self.num_fields * sum(products(part) for part in (self.query, self.key, self.value, self.residual))
        rest = sum(products(part) for part in (self.by_vector, self.deep, self.by_bit))
        return maps + pair_products(self.num_fields, self.query.out_features) + rest
