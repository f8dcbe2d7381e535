"""DCN: deep and cross network (ADKDD 2017, https://arxiv.org/abs/1708.05123).

    x_(l+1) = x_0 (x_l^T w_l) + b_l + x_l          l = 0 .. L - 1
    logits  = W [x_L ; MLP(x_0)] + b               or as `structure` says: models/crossing.py

Deviations and settings: docs/models/flat.md. Parity test: tests/parity/test_flat.py.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hemix.models.crossing import CrossingConfig, CrossingModel
from hemix.models.flat import DEEP_SPACE, flat
from hemix.nn.fields import Layout
from hemix.search_space import Draw


class DCNConfig(CrossingConfig):
    """Sizes of DCN."""

    name: Literal["dcn"] = "dcn"


class DCN(CrossingModel):
    """The cross network multiplies by one number per layer."""

    def __init__(self, config: DCNConfig, layout: Layout, num_tasks: int) -> None:
        super().__init__(config, CrossVectors(layout.width, config.num_layers), layout, num_tasks)


class CrossVectors(nn.Module):
    """Layers with a weight vector each; its biases start at zero."""

    no_decay = ("bias",)

    def __init__(self, width: int, num_layers: int) -> None:
        super().__init__()
        self.weights = nn.ModuleList([nn.Linear(width, 1, bias=False) for _ in range(num_layers)])
        self.bias = nn.Parameter(torch.zeros(num_layers, width))

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N W"]:
        crossed = x
        for weight, bias in zip(self.weights, self.bias, strict=True):
            crossed = torch.addcmul(crossed + bias, x, weight(crossed))
        return crossed


MODEL = flat(
    DCNConfig,
    DCN,
    paper="arXiv 1708.05123",
    space={
        **DEEP_SPACE,
        "num_layers": Draw(integer=(1, 5)),
    },
)
