"""Dropout with a cheap mask: on a CPU most of what dropout costs is drawing its random numbers.

torch draws one 64-bit number for each element and takes a single bit of information from it; here one draw serves four
elements, 16 bits each. So `p` is met to the next multiple of 2^-16. benchmarks/bench_dropout.py has both in turn.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

DRAW_BITS = 16
PER_DRAW = 64 // DRAW_BITS


class FastDropout(nn.Dropout):
    """In training each number is zero with probability `p`, else scaled by 1 / (1 - p). torch's, off the CPU."""

    def forward(self, input: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if not self.training or not 0 < self.p < 1 or input.device.type != "cpu":
            return super().forward(input)
        return input * keep_mask(input, self.p)


def keep_mask(like: Float[Tensor, "*shape"], p: float) -> Float[Tensor, "*shape"]:
    """Zeros with probability `p`, else 1 / (1 - p), in the shape and type of a tensor on the CPU."""
    lowest, highest = -(2 ** (DRAW_BITS - 1)), 2 ** (DRAW_BITS - 1) - 1
    draws = torch.empty(-(-like.numel() // PER_DRAW), dtype=torch.int64).random_(-(2**63), None)
    pieces = draws.view(torch.int16)[: like.numel()].view(like.shape)
    mask = torch.empty(like.shape, dtype=like.dtype)
    return torch.ge(pieces, min(lowest + round(p * 2**DRAW_BITS), highest), out=mask).mul_(1 / (1 - p))
