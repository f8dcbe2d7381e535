"""GDCN: cross network with information gates (CIKM 2023, https://arxiv.org/abs/2311.04635).

    x_(l+1) = x_0 * (W_l x_l + b_l) * sigmoid(G_l x_l) + x_l          l = 0 .. L - 1
    logits  = W [x_L ; MLP(x_0)] + b                                  or as `structure` says: models/crossing.py

`structure` cross is the paper's GCN, stacked its GDCN-S, parallel its GDCN-P. Deviations and settings:
docs/models/gdcn.md. Parity test: tests/parity/test_flat.py.
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hemix.models.crossing import CrossingConfig, CrossingModel
from hemix.models.flat import DEEP_SPACE, flat
from hemix.nn.fields import Fields, Layout
from hemix.search_space import Draw


class GDCNConfig(CrossingConfig):
    """Sizes of GDCN."""

    name: Literal["gdcn"] = "gdcn"
    cross_bias: Literal["uniform", "zeros"] = "uniform"
    """Start values b_l of the cross network: U(0, 1) as in the released code, or zeros as in DCN-V2."""


class GDCN(CrossingModel):
    """The gates of its cross network can be looked at."""

    def __init__(self, config: GDCNConfig, layout: Layout, num_tasks: int) -> None:
        cross = GatedCross(layout.width, config.num_layers)
        if config.cross_bias == "uniform":
            nn.init.uniform_(cross.bias)
        super().__init__(config, cross, layout, num_tasks)

    @property
    def _gated(self) -> "GatedCross":
        assert isinstance(self.cross, GatedCross)
        return self.cross

    def gates(self, fields: Mapping[str, Fields]) -> dict[str, Float[Tensor, "N W"]]:
        """The information gate of every layer."""
        found = self._gated.look(fields[self.streams[0]].values)[1]
        return {f"layer {number}": gate for number, gate in enumerate(found, 1)}

    def cross_matrices(self) -> dict[str, Tensor]:
        """W_l of every layer."""
        return {f"layer {number}": product.weight for number, product in enumerate(self._gated.maps, 1)}


class GatedCross(nn.Module):
    """Layers with a matrix for the product and one for the gate."""

    no_decay = ("bias",)

    def __init__(self, width: int, num_layers: int) -> None:
        super().__init__()
        self.maps = [nn.Linear(width, width, bias=False) for _ in range(num_layers)]
        self.products = nn.ModuleList(self.maps)
        self.gates = nn.ModuleList([nn.Linear(width, width, bias=False) for _ in range(num_layers)])
        self.bias = nn.Parameter(torch.zeros(num_layers, width))

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N W"]:
        return self.look(x)[0]

    def look(self, x: Float[Tensor, "N W"]) -> tuple[Float[Tensor, "N W"], list[Float[Tensor, "N W"]]]:
        """What the last layer returns, and the gate of every layer."""
        crossed, gates = x, []
        for product, gate, bias in zip(self.products, self.gates, self.bias, strict=True):
            gates.append(torch.sigmoid(gate(crossed)))
            crossed = torch.addcmul(crossed, x * (product(crossed) + bias), gates[-1])
        return crossed, gates


MODEL = flat(
    GDCNConfig,
    GDCN,
    paper="arXiv 2311.04635",
    space={
        **DEEP_SPACE,
        "num_layers": Draw(integer=(1, 5)),
    },
)
