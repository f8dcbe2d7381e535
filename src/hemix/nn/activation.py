"""Activations by name; Dice is the data-adaptive one of DIN (section 5.3 of https://arxiv.org/abs/1706.06978)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

Activation = Literal["relu", "prelu", "dice", "swish"]


class Dice(nn.Module):
    """``p(s) s + (1 - p(s)) alpha s`` with ``p(s) = sigmoid((s - E[s]) / sqrt(Var[s] + eps))`` per channel.

    Mean and variance are those of the batch in training and moving averages in evaluation, where rows are therefore
    independent of each other. A batch of one row is allowed (its variance is zero).
    """

    running_mean: Tensor
    running_variance: Tensor

    def __init__(self, num_channels: int, *, momentum: float = 0.1, eps: float = 1e-8) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(num_channels))
        self.momentum = momentum
        self.eps = eps
        self.register_buffer("running_mean", torch.zeros(num_channels))
        self.register_buffer("running_variance", torch.ones(num_channels))

    def forward(self, x: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        if self.training:
            variance, mean = torch.var_mean(x, dim=0, correction=0)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_variance.lerp_(variance, self.momentum)
        else:
            variance, mean = self.running_variance, self.running_mean
        gate = torch.sigmoid((x - mean) * torch.rsqrt(variance + self.eps))
        return x * (self.alpha + (1 - self.alpha) * gate)


def build_activation(kind: Activation, num_channels: int) -> nn.Module:
    """An activation over the last axis; PReLU and Dice have one learned slope per channel."""
    match kind:
        case "relu":
            return nn.ReLU()
        case "swish":
            return nn.SiLU()
        case "prelu":
            return nn.PReLU(num_channels, init=0.25)
        case "dice":
            return Dice(num_channels)
