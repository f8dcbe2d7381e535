"""Norms over the last axis, by name."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

NormKind = Literal["layer_norm", "rms_norm"]


def build_norm(kind: NormKind, width: int) -> nn.Module:
    """A norm over the last axis with one learned scale (and shift, for `layer_norm`) for all tokens."""
    match kind:
        case "layer_norm":
            return nn.LayerNorm(width)
        case "rms_norm":
            return nn.RMSNorm(width, eps=1e-6)


class PerTokenLayerNorm(nn.Module):
    """LayerNorm over the last axis with a scale and a shift of its own for each token."""

    no_decay = ("weight", "bias")

    def __init__(self, num_tokens: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_tokens, width))
        self.bias = nn.Parameter(torch.zeros(num_tokens, width))

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        return torch.addcmul(self.bias, nn.functional.layer_norm(x, x.shape[-1:]), self.weight)
