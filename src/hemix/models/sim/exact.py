"""Exact search: multi-head attention of a candidate to the events that it found, and how long ago each of them was.

    z_j    = [e_j ; d(t - t_j)]                              d: a learned vector by floor(log2(1 + seconds))
    head_h = sum_j softmax over j of <W_bh z_j, W_ah q> z_j

Since <W_bh z, W_ah q> = <z, W_bh^T W_ah q>, the events are never mapped: a candidate asks for each head in their own
width, and pays for what it found alone.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hemix.nn.cost import Cost, products
from hemix.nn.embedding import INITIAL_STD
from hemix.nn.fields import Fields, Layout
from hemix.nn.ragged import Ragged

NUM_INTERVALS = 40
"""Of the time to the request; the last begins after 17,000 years."""
MICROS = 1_000_000


class TimeIntervals(nn.Module):
    """A learned vector for how long before its request an event was."""

    no_decay = ("weight",)

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(NUM_INTERVALS, width).normal_(std=INITIAL_STD))

    def forward(self, times: Int[Tensor, "R T"], now: Int[Tensor, " R"]) -> Float[Tensor, "R T D"]:
        return nn.functional.embedding(intervals(times, now), self.weight)


def intervals(times: Int[Tensor, "R T"], now: Int[Tensor, " R"]) -> Int[Tensor, "R T"]:
    """The base-2 logarithm of 1 + whole seconds from an event to its request, rounded down; both in microseconds.

    >>> intervals(torch.tensor([[0, 6_000_000, 9_000_000]]), torch.tensor([9_000_000])).tolist()
    [[3, 2, 0]]
    """
    seconds = (now[:, None] - times).clamp(min=0) // MICROS
    return torch.log2((1 + seconds).double()).long().clamp(max=NUM_INTERVALS - 1)


class ExactSearch(nn.Module):
    """Heads side by side, (N, Q Z); zero for a candidate that found nothing.

    `shared` names the fields by which a candidate asks; `width` is that of what is found, Z.
    """

    def __init__(self, shared: tuple[str, ...], events: Layout, width: int, num_heads: int, attention_dim: int) -> None:
        super().__init__()
        self.shared = shared
        self.num_heads = num_heads
        self.width = num_heads * width
        self.query = nn.Linear(events.select(shared).width, attention_dim, bias=False)
        self.key = nn.Linear(width, attention_dim, bias=False)

    def forward(
        self, candidate: Fields, events: Float[Tensor, "R T Z"], places: Int[Tensor, "N K"], ragged: Ragged
    ) -> tuple[Float[Tensor, "N QZ"], Float[Tensor, "N Q K"]]:
        """What the heads give, and how much each looks at the event at each of the places that were found."""
        compared = candidate.select(self.shared).values
        if places.shape[1] == 0:
            return events.new_zeros(len(places), self.width), events.new_zeros(len(places), self.num_heads, 0)
        requests = ragged.spread(torch.arange(len(events), device=events.device))
        rows = requests[:, None] * events.shape[1] + places.clamp(min=0)
        found = events.flatten(0, 1).index_select(0, rows.flatten()).unflatten(0, rows.shape)
        weights = self._weights(compared, found, places >= 0)
        return torch.bmm(weights, found).flatten(1), weights

    def _weights(
        self, compared: Float[Tensor, "N d"], found: Float[Tensor, "N K Z"], there: Bool[Tensor, "N K"]
    ) -> Float[Tensor, "N Q K"]:
        """Not scaled, as the paper has it; 0 for what is not there."""
        asked = self.query(compared).unflatten(1, (self.num_heads, -1))
        queries = torch.bmm(asked.transpose(0, 1), self.key.weight.unflatten(0, (self.num_heads, -1))).transpose(0, 1)
        absent = ~there[:, None]
        scores = torch.bmm(queries, found.transpose(1, 2)).masked_fill(absent, torch.finfo(found.dtype).min)
        return scores.softmax(dim=2).masked_fill(absent, 0.0)

    def cost(self, found: int) -> Cost:
        """Queries, and two products with each of the K events for each head."""
        if not found:
            return Cost()
        return Cost(per_candidate=products(self.query) + products(self.key) + 2 * found * self.width)


def over_history(weights: Float[Tensor, "N Q K"], places: Int[Tensor, "N K"], length: int) -> Float[Tensor, "N Q T"]:
    """The same weights by event of a history of `length`; 0 for events that were not found."""
    spread = weights.new_zeros(*weights.shape[:2], length)
    return spread.scatter_add(2, places.clamp(min=0).long()[:, None].expand_as(weights), weights)
