"""Rotary position embedding (RoFormer, https://arxiv.org/abs/2104.09864): queries and keys turn with their place.

The product of a query at place i and a key at place j then depends on i - j, and on no other thing of the places.
"""

import torch
from jaxtyping import Float
from torch import Tensor

BASE = 10_000.0


def rotate(x: Float[Tensor, "*heads T d"]) -> Float[Tensor, "*heads T d"]:
    """Turn the pairs (x_i, x_(i + d / 2)) of place t by the angles t BASE^(-2 i / d); d is even.

    >>> rotate(torch.tensor([[1.0, 0.0], [1.0, 0.0]]))
    tensor([[1.0000, 0.0000],
            [0.5403, 0.8415]])
    """
    length, width = x.shape[-2:]
    rates = BASE ** (-torch.arange(0, width, 2, device=x.device, dtype=x.dtype) / width)
    angles = torch.arange(length, device=x.device, dtype=x.dtype)[:, None] * rates
    first, second = x.chunk(2, dim=-1)
    cos, sin = angles.cos(), angles.sin()
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
