"""DCN-V2: cross network with matrices (WWW 2021, https://arxiv.org/abs/2008.13535).

    x_(l+1) = x_0 * (W_l x_l + b_l) + x_l                                             full rank
    x_(l+1) = sum_i p_i(x_l) x_0 * (U_i g(C_i g(V_i^T x_l)) + b_l) + x_l              E experts of rank r; g: tanh
    p(x_l)  = softmax(G x_l)                                                          one expert: p = 1
    logits  = W [x_L ; MLP(x_0)] + b                                                  or as models/crossing.py says

Deviations and settings: docs/models/flat.md. Parity test: tests/parity/test_flat.py.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from hemix.models.crossing import CrossingConfig, CrossingModel
from hemix.models.flat import DEEP_SPACE, flat
from hemix.nn.fields import Layout
from hemix.nn.grouped_linear import GroupedLinear
from hemix.search_space import Draw


class DCNv2Config(CrossingConfig):
    """Sizes of DCN-V2."""

    name: Literal["dcnv2"] = "dcnv2"
    rank: Annotated[int, Field(ge=1)] | None = None
    """Of the matrices of the cross network; null: full."""
    num_experts: Annotated[int, Field(ge=1)] = 1
    """Of each layer of the cross network, where its matrices have a rank."""

    @model_validator(mode="after")
    def _experts_have_a_rank(self) -> "DCNv2Config":
        if self.rank is None and self.num_experts > 1:
            raise ValueError("num_experts mixes matrices of low rank; set rank, or leave it at 1")
        return self


class DCNv2(CrossingModel):
    """The cross network multiplies by a vector per layer."""

    def __init__(self, config: DCNv2Config, layout: Layout, num_tasks: int) -> None:
        cross: nn.Module = CrossMatrices(layout.width, config.num_layers)
        if config.rank is not None:
            cross = CrossExperts(layout.width, config.num_layers, config.rank, config.num_experts)
        super().__init__(config, cross, layout, num_tasks)

    def cross_matrices(self) -> dict[str, Tensor]:
        """W_l of every layer; none where matrices are of low rank."""
        maps = self.cross.maps if isinstance(self.cross, CrossMatrices) else ()
        return {f"layer {number}": layer.weight for number, layer in enumerate(maps, 1)}


class CrossMatrices(nn.Module):
    """Layers with a full matrix each; biases start at zero."""

    def __init__(self, width: int, num_layers: int) -> None:
        super().__init__()
        self.maps = [nn.Linear(width, width) for _ in range(num_layers)]
        for layer in self.maps:
            nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(self.maps)

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N W"]:
        crossed = x
        for layer in self.layers:
            crossed = torch.addcmul(crossed, x, layer(crossed))
        return crossed


class CrossExperts(nn.Module):
    """Layers of experts of low rank."""

    no_decay = ("bias",)

    def __init__(self, width: int, num_layers: int, rank: int, num_experts: int) -> None:
        super().__init__()
        experts = num_experts * rank
        self.rank = rank
        self.down = nn.ModuleList([nn.Linear(width, experts, bias=False) for _ in range(num_layers)])
        self.middle = nn.ModuleList([GroupedLinear(num_experts, rank, rank, bias=False) for _ in range(num_layers)])
        self.up = nn.ModuleList([GroupedLinear(num_experts, rank, width, bias=False) for _ in range(num_layers)])
        mixed = num_layers if num_experts > 1 else 0
        self.gates = nn.ModuleList([nn.Linear(width, num_experts, bias=False) for _ in range(mixed)])
        self.bias = nn.Parameter(torch.zeros(num_layers, width))

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N W"]:
        crossed = x
        for layer, bias in enumerate(self.bias):
            seen = torch.tanh(self.down[layer](crossed)).unflatten(1, (-1, self.rank)).transpose(0, 1)
            found = self.up[layer](torch.tanh(self.middle[layer](seen))) + bias
            if len(self.gates):
                found = found * self.gates[layer](crossed).softmax(dim=1).T[:, :, None]
            crossed = torch.addcmul(crossed, x, found.sum(dim=0))
        return crossed


MODEL = flat(
    DCNv2Config,
    DCNv2,
    paper="arXiv 2008.13535",
    space={
        **DEEP_SPACE,
        "num_layers": Draw(integer=(1, 5)),
        "structure": Draw(choice=("parallel", "stacked")),
    },
)
