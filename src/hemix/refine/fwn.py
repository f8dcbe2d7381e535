"""FWN: field-wise network of NON (SIGIR 2020, https://arxiv.org/abs/2005.10114).

y_f = relu(x_f W_f + b_f) * x_f
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hemix.refine.refiner import FieldMaps, FieldMapsConfig, Refiner


class FWNConfig(FieldMapsConfig):
    """Settings of FWN."""

    name: Literal["fwn"] = "fwn"


class FWN(Refiner):
    """A layer per field, times the field."""

    def __init__(self, config: FWNConfig, num_fields: int, width: int) -> None:
        super().__init__()
        self.maps = FieldMaps(config, num_fields, width, width, bias=True)

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        return torch.relu(self.maps(x)) * x
