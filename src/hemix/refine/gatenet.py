"""VGate and BGate: gates per vector and per bit of GateNet (https://arxiv.org/abs/2007.03519).

VGate   y_f = s(<x_f, w_f>) x_f                w_f in R^D
BGate   y_f = s(x_f W_f) * x_f                 W_f in R^(D x D)          s: identity, or a sigmoid
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from hemix.refine.refiner import FieldMaps, FieldMapsConfig, Refiner


class GateConfig(FieldMapsConfig):
    """What both gates have."""

    activation: Literal["identity", "sigmoid"] = "identity"
    """`identity` as in the survey's code, `sigmoid` as in most others."""


class VGateConfig(GateConfig):
    """Settings of VGate."""

    name: Literal["vgate"] = "vgate"


class BGateConfig(GateConfig):
    """Settings of BGate."""

    name: Literal["bgate"] = "bgate"


class Gate(Refiner):
    """Both gates: a map of each field to one number, or to one per bit."""

    def __init__(self, config: VGateConfig | BGateConfig, num_fields: int, width: int) -> None:
        super().__init__()
        self.maps = FieldMaps(config, num_fields, width, 1 if config.name == "vgate" else width)
        self.sigmoid = config.activation == "sigmoid"

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        kept = self.kept(x)
        return x * (self.maps(x) if kept is None else kept)

    def kept(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F _"] | None:
        """A share with a sigmoid only."""
        return torch.sigmoid(self.maps(x)) if self.sigmoid else None
