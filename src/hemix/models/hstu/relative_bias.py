"""What an attention score gets from where and when two tokens are: a learned number by distance, one by time.

bias_ij = position[i - j] + time[floor(log(max(1, |t_i - t_j|)) / 0.301)]      seconds; natural logarithm

Both are read at once, from a table of all pairs (distance, bucket): the *cell* of two tokens is its index. Its last
entry is of tokens that must not see each other: so low that silu makes 0 of it, with a gradient of 0. Cells are the
same in all layers, the table is each layer's own.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

NUM_BUCKETS = 128
"""Of time; 68 of them cover 20 years."""
BUCKET_LOG = 0.301
MICROS = 1_000_000
NEVER = -1e4
INITIAL_STD = 0.02


class Moments(NamedTuple):
    """Where and when some tokens are."""

    places: Int[Tensor, "B T"]
    """In the whole sequence, from 0; that of padding means nothing."""
    times: Int[Tensor, "B T"]
    """Microseconds since 1970, UTC."""
    attended: Bool[Tensor, "B T"]
    """Whether they are there at all."""


class RelativeBias(nn.Module):
    """The table of one layer; a bias that is switched off adds nothing."""

    never: Tensor

    def __init__(self, num_places: int, *, position: bool, time: bool) -> None:
        super().__init__()
        self.num_places = num_places
        self.position = nn.Parameter(torch.empty(num_places).normal_(std=INITIAL_STD)) if position else None
        self.time = nn.Parameter(torch.empty(NUM_BUCKETS).normal_(std=INITIAL_STD)) if time else None
        self.register_buffer("never", torch.tensor([NEVER]), persistent=False)

    def forward(self) -> Float[Tensor, " cells"]:
        table = self.never.new_zeros(self.num_places, NUM_BUCKETS)
        if self.position is not None:
            table = table + self.position[:, None]
        if self.time is not None:
            table = table + self.time
        return torch.cat([table.flatten(), self.never])


def cells(
    places: Int[Tensor, "B Q"], times: Int[Tensor, "B Q"], keys: Moments, num_places: int
) -> Int[Tensor, "B Q T"]:
    """Where the table of a layer has the bias of each query and key. A query sees no key behind its own place."""
    distance = places[:, :, None] - keys.places[:, None]
    seconds = (times[:, :, None] - keys.times[:, None]).abs().float() / MICROS
    bucket = (seconds.clamp(min=1).log() / BUCKET_LOG).int().clamp(max=NUM_BUCKETS - 1)
    cell = distance.clamp(max=num_places - 1) * NUM_BUCKETS + bucket
    return torch.where(keys.attended[:, None] & (distance >= 0), cell, num_places * NUM_BUCKETS)
