"""SENET: squeeze and excitation of FiBiNet (RecSys 2019, https://arxiv.org/abs/1905.09433).

q_f = max_d x_fd (or the mean)        a = relu(W_2 relu(W_1 q + b_1) + b_2)        y_f = a_f x_f
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hemix.refine.refiner import Refiner, RefinerConfig


class SENETConfig(RefinerConfig):
    """Settings of SENET."""

    name: Literal["senet"] = "senet"
    squeeze: Literal["max", "mean"] = "max"
    """`max` as in the survey's code, `mean` as in FiBiNet."""
    reduction: Annotated[int, Field(ge=1)] = 2
    """The hidden layer has so many times fewer units than there are fields, at least one."""


class SENET(Refiner):
    """One weight per field, at least zero."""

    def __init__(self, config: SENETConfig, num_fields: int, width: int) -> None:
        super().__init__()
        hidden = max(1, num_fields // config.reduction)
        self.squeeze = config.squeeze
        self.excite = nn.Sequential(nn.Linear(num_fields, hidden), nn.ReLU(), nn.Linear(hidden, num_fields), nn.ReLU())

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        squeezed = torch.amax(x, dim=2) if self.squeeze == "max" else x.mean(dim=2)
        return x * self.excite(squeezed)[:, :, None]
