"""GFRL: gated feature refinement layer of MCRF (DASFAA 2022, doi 10.1007/978-3-031-00126-0_28).

U_i(x)_f = (x_f W_f + b_f) * relu(V z(x) + c)          z: deep network over all fields side by side
G        = sigmoid(U_2(x))
y        = (1 - G) * x + G * U_1(x)                    two units that share nothing
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hemix.nn.deep import DeepNetwork
from hemix.refine.refiner import Dropout, FieldMaps, FieldMapsConfig, Refiner, Width


class GFRLConfig(FieldMapsConfig):
    """Settings of GFRL."""

    name: Literal["gfrl"] = "gfrl"
    hidden: Annotated[tuple[Width, ...], Field(min_length=1)] = (256,)
    dropout: Dropout = 0.5


class GFRL(Refiner):
    """Between each field and its refined form, by a gate made like it."""

    def __init__(self, config: GFRLConfig, num_fields: int, width: int) -> None:
        super().__init__()
        self.refine = RefinementUnit(config, num_fields, width)
        self.gate = RefinementUnit(config, num_fields, width)

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        return torch.lerp(x, self.refine(x), torch.sigmoid(self.gate(x)))

    def kept(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        """1 - G."""
        return torch.sigmoid(-self.gate(x))


class RefinementUnit(nn.Module):
    """A map per field, times a code of all fields."""

    def __init__(self, config: GFRLConfig, num_fields: int, width: int) -> None:
        super().__init__()
        self.maps = FieldMaps(config, num_fields, width, width, bias=True)
        self.deep = DeepNetwork(num_fields * width, config.hidden, dropout=config.dropout)
        self.code = nn.Linear(self.deep.width, width)

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        return self.maps(x) * torch.relu(self.code(self.deep(x.flatten(1))))[:, None]
