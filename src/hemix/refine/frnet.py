"""FRNet: feature refinement network (SIGIR 2022, https://arxiv.org/abs/2204.08758).

IEU(x)_f = (softmax(Q K^T) V  W_p)_f * z(x)            Q, K, V: maps of a field to width a; no scaling
z(x)     = prelu(W_m h + b_m)                          h: hidden layers over all fields side by side
S        = sigmoid(IEU_W(x))                           `vector`: of its sum over a field's bits
y        = S * x + (1 - S) * IEU_G(x)                  two units that share nothing
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hemix.nn.cost import pair_products, products
from hemix.nn.deep import RowBatchNorm
from hemix.nn.dropout import FastDropout
from hemix.refine.refiner import Dropout, Refiner, RefinerConfig, Width


class FRNetConfig(RefinerConfig):
    """Settings of FRNet."""

    name: Literal["frnet"] = "frnet"
    level: Literal["bit", "vector"] = "bit"
    """What S weighs: every number of a field (FRNet-B), or the field as a whole (FRNet-V)."""
    attention_dim: Width = 16
    attention_bias: bool = True
    """Biases in the maps of the attention: in the released code, not in the equations."""
    hidden: Annotated[tuple[Width, ...], Field(min_length=1)] = (128,)
    """Of the contextual information extractor z."""
    dropout: Dropout = 0.5
    last_activation: Literal["prelu", "relu"] = "prelu"
    """Of z: the equations have PReLU, the first release ReLU."""


class FRNet(Refiner):
    """Between each field and its complement, by weights made of the whole row."""

    def __init__(self, config: FRNetConfig, num_fields: int, width: int) -> None:
        super().__init__()
        self.by_vector = config.level == "vector"
        self.complement = InformationUnit(config, num_fields, width)
        self.weigh = InformationUnit(config, num_fields, width)

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        return torch.lerp(self.complement(x), x, self.kept(x))

    def kept(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F _"]:
        """S: (N, F, D) or, at vector level, (N, F, 1)."""
        found = self.weigh(x)
        return torch.sigmoid(found.sum(dim=2, keepdim=True) if self.by_vector else found)

    def cost(self) -> int:
        return self.complement.cost() + self.weigh.cost()


class InformationUnit(nn.Module):
    """Information extraction unit: self-attention over the fields, times a code of all fields."""

    def __init__(self, config: FRNetConfig, num_fields: int, width: int) -> None:
        super().__init__()
        self.num_fields = num_fields
        attention, bias = config.attention_dim, config.attention_bias
        self.query, self.key, self.value = (nn.Linear(width, attention, bias=bias) for _ in range(3))
        self.output = nn.Linear(attention, width, bias=bias)
        layers: list[nn.Module] = []
        before = num_fields * width
        for after in config.hidden:
            layers += [_xavier(before, after), RowBatchNorm(after), nn.PReLU(), FastDropout(config.dropout)]
            before = after
        last = nn.PReLU() if config.last_activation == "prelu" else nn.ReLU()
        self.code = nn.Sequential(*layers, _xavier(before, width), last)

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        weights = (self.query(x) @ self.key(x).transpose(1, 2)).softmax(dim=2)
        return self.output(weights @ self.value(x)) * self.code(x.flatten(1))[:, None]

    def cost(self) -> int:
        """The four maps of every field, the attention, and the code."""
        maps = self.num_fields * sum(products(part) for part in (self.query, self.key, self.value, self.output))
        return maps + pair_products(self.num_fields, self.query.out_features) + products(self.code)


def _xavier(in_features: int, out_features: int) -> nn.Linear:
    layer = nn.Linear(in_features, out_features)
    nn.init.xavier_uniform_(layer.weight)
    return layer
