"""TCE and PFFN: contextual embedding and point-wise network of ContextNet (https://arxiv.org/abs/2107.12025).

TCE    y_f = x_f * relu(relu(x A_f) P_f)               x: all fields side by side; A_f, P_f: matrices of each field
PFFN   y   = TCE(x), then three times:  y_f <- LayerNorm(y_f W_f + y_f)        with the same W_f and norm
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hemix.refine.refiner import FieldMaps, FieldMapsConfig, Refiner, Width


class TCEConfig(FieldMapsConfig):
    """Settings of TCE."""

    name: Literal["tce"] = "tce"
    hidden: Width | None = None
    """Width of the context of each field; null: twice that of a field."""


class PFFNConfig(FieldMapsConfig):
    """Settings of PFFN."""

    name: Literal["pffn"] = "pffn"
    hidden: Width = 32
    """Width of the context of each field."""
    num_blocks: Annotated[int, Field(ge=1)] = 3


class TCE(Refiner):
    """Every field times a code of all fields, made for it alone."""

    def __init__(self, config: TCEConfig | PFFNConfig, num_fields: int, width: int) -> None:
        super().__init__()
        hidden = config.hidden or 2 * width
        self.aggregate = FieldMaps(config, num_fields, num_fields * width, hidden)
        self.project = FieldMaps(config, num_fields, hidden, width)

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        context = x.flatten(1)[:, None].expand(-1, x.shape[1], -1)
        return x * torch.relu(self.project(torch.relu(self.aggregate(context))))


class PFFN(Refiner):
    """TCE, then a residual map per field, three times with the same weights."""

    def __init__(self, config: PFFNConfig, num_fields: int, width: int) -> None:
        super().__init__()
        self.context = TCE(config, num_fields, width)
        self.maps = FieldMaps(config, num_fields, width, width)
        self.norm = nn.LayerNorm(width)
        self.num_blocks = config.num_blocks

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        refined = self.context(x)
        for _ in range(self.num_blocks):
            refined = self.norm(self.maps(refined) + refined)
        return refined

    def cost(self) -> int:
        """The context, and the same maps in every block."""
        return self.context.cost() + self.num_blocks * self.maps.weight.numel()
