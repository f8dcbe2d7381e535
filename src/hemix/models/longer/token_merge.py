"""Adjacent events to one token: a small transformer among them, if there are several, then side by side."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.models.longer.block import CausalBlock
from hemix.models.longer.config import LONGERConfig
from hemix.nn.mixing import SMALL_STD


class TokenMerge(nn.Module):
    """Groups of K events, newest first: all are full but the oldest, where a missing event is zeros.

    Each event gets the learned vector of its place, the newest the first; beyond `max_length` the last one is shared.
    Events of a group see each other in both directions.
    """

    no_decay = ("positions",)

    def __init__(self, config: LONGERConfig, max_length: int) -> None:
        super().__init__()
        self.size = config.merge_size
        self.width = config.event_dim
        self.positions = nn.Parameter(torch.empty(max_length, self.width).normal_(std=SMALL_STD))
        self._inner = [CausalBlock(self.width, 1, config.ffn_expansion) for _ in range(config.layers_in_group)]
        self.inner = nn.ModuleList(self._inner)

    def forward(
        self, events: Float[Tensor, "R T E"], attended: Bool[Tensor, "R T"]
    ) -> tuple[Float[Tensor, "R G D"], Bool[Tensor, "R G"]]:
        """Tokens, and which of them have an event; `events` come newest first, padding behind."""
        num_requests, length = attended.shape
        places = torch.arange(length, device=events.device).clamp(max=len(self.positions) - 1)
        num_groups = self.num_groups(length)
        missing = num_groups * self.size - length
        x = F.pad(events + self.positions[places], (0, 0, 0, missing)).view(-1, self.size, self.width)
        there = F.pad(attended, (0, missing)).view(-1, self.size)
        itself = torch.eye(self.size, dtype=torch.bool, device=events.device)
        for block in self._inner:
            x = block(x, *block.keys_values(x), there[:, None] | itself)
        x = x.masked_fill(~there[:, :, None], 0.0)
        tokens = x.view(num_requests, num_groups, self.size * self.width)
        return tokens, there.any(dim=1).view(num_requests, num_groups)

    def num_groups(self, length: int) -> int:
        """How many tokens so many events become."""
        return -(-length // self.size)

    def cost(self, length: int) -> int:
        """Multiply-adds of the transformer among the events of all groups, which are counted as full."""
        slots = self.num_groups(length) * self.size
        return sum(block.key_cost(slots) + block.query_cost(slots, self.size) for block in self._inner)
