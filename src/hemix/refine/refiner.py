"""What every refinement module is: one vector per field to one vector per field, within a row."""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hemix.config import Config
from hemix.nn.cost import products
from hemix.nn.grouped_linear import GroupedLinear

Width = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class RefinerConfig(Config):
    """What all refinement modules have."""

    wiring: Literal["shared", "separate"] = "shared"
    """One module for all streams of the model, or one for each."""


class FieldMapsConfig(RefinerConfig):
    """The same for modules with a matrix per field."""

    field_maps: Literal["released", "by_field"] = "released"
    """Start values of these matrices: Xavier over the stack of all, as released, or over each, which is larger."""


class Refiner(nn.Module):
    """Refines F fields of width D; rows do not see each other, except for batch norm in training."""

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        raise NotImplementedError

    def kept(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F _"] | None:
        """Share of each number, or of each field, that stays as it is; None: the module has no such gate."""
        return None

    def cost(self) -> int:
        """Multiply-adds per row."""
        return products(self)


class FieldMaps(GroupedLinear):
    """A linear map per field: (N, F, I) to (N, F, O)."""

    def __init__(
        self, config: FieldMapsConfig, num_fields: int, in_features: int, out_features: int, *, bias: bool = False
    ) -> None:
        super().__init__(num_fields, in_features, out_features, bias=bias)
        if config.field_maps == "released":
            # what torch makes of Xavier for three axes: (F, I, O) counts as F outputs and I inputs of O taps each
            bound = (6 / (out_features * (in_features + num_fields))) ** 0.5
            with torch.no_grad():
                self.weight.uniform_(-bound, bound)

    def forward(self, x: Float[Tensor, "N F I"]) -> Float[Tensor, "N F O"]:
        return super().forward(x.transpose(0, 1)).transpose(0, 1)
