"""DIN's local activation unit: a candidate weighs each event of a history (section 4.3 of arXiv 1706.06978).

    a_t = MLP([q ; k_t ; q - k_t ; q * k_t ; x_t])        interest = sum_t a_t [k_t ; x_t]

q and k_t are the fields that candidate and event share, x_t the other fields of the event. The first layer is
factorised, W [q ; k ; q - k ; q * k ; x] = (W1 + W3) q + (W2 - W3) k + W4 (q * k) + W5 x: what belongs to a candidate
or to an event is computed once, only W4 (q * k) for each pair.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hemix.nn.activation import build_activation
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layout, State
from hemix.nn.mlp import MLP
from hemix.nn.ragged import Ragged

CHUNK = 2**20
"""Hidden activations of the first layer that are worked on at a time: a few MB stay in the cache."""


class TargetAttention(nn.Module):
    """Weighted sum of the events of one history per candidate; zero for a request without events.

    `shared` names the fields that are compared. In the sum they stand first, then the other fields of the event.
    Without `softmax` the weights are used as they are, so that the sum keeps the strength of the interest (the paper's
    choice).
    """

    def __init__(
        self,
        shared: Sequence[str],
        events: Layout,
        hidden: Sequence[int],
        activation: Literal["relu", "prelu"] = "relu",
        *,
        softmax: bool = False,
    ) -> None:
        super().__init__()
        self.shared = tuple(shared)
        self.order = (*shared, *(name for name in events.names if name not in shared))
        self.shared_width = events.select(shared).width
        self.width = events.width
        self.softmax = softmax
        self.first = nn.Linear(3 * self.shared_width + self.width, hidden[0])
        self.rest = nn.Sequential(
            build_activation(activation, hidden[0]), MLP(hidden[0], hidden[1:], activation), nn.Linear(hidden[-1], 1)
        )

    def _weights(self) -> list[Float[Tensor, "H _"]]:
        """W1 .. W4 and W5."""
        shared = [self.shared_width] * 4
        return list(self.first.weight.split([*shared, self.width - self.shared_width], dim=1))

    def encode(self, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        """What does not depend on the candidate: the events and their part of the first layer."""
        values = events.select(self.order).values
        _, own, difference, _, extra = self._weights()
        projected = nn.functional.linear(values, torch.cat([own - difference, extra], dim=1), self.first.bias)
        return {"events": values, "projected": projected, "attended": attended}

    def forward(self, candidate: Fields, encoded: State, ragged: Ragged) -> Float[Tensor, "N E"]:
        """The interest of each candidate in the history that `encode` was given."""
        queries, events = candidate.select(self.shared).values, encoded["events"]
        if events.shape[1] == 0:
            return events.new_zeros(len(queries), self.width)
        return ragged.map(self._pool, queries, events, encoded["projected"], encoded["attended"])

    def weights(self, candidate: Fields, encoded: State, ragged: Ragged) -> Float[Tensor, "N T"]:
        """How much each candidate counts each event; 0 where there is none. All pairs at once: for few candidates."""
        queries, events = candidate.select(self.shared).values, encoded["events"]
        if events.shape[1] == 0:
            return events.new_zeros(len(queries), 0)
        return ragged.map(self._weigh, queries, events, encoded["projected"], encoded["attended"])

    def cost(self, length: int) -> Cost:
        """T E H for the events; d H + T (d H + other layers + E) per candidate. d: width of what is compared."""
        hidden = self.first.out_features
        pair = self.shared_width * hidden + products(self.rest) + self.width
        return Cost(
            per_request=length * self.width * hidden,
            per_candidate=(self.shared_width * hidden + length * pair) if length else 0,
        )

    def _pool(
        self,
        queries: Float[Tensor, "B C d"],
        events: Float[Tensor, "B T E"],
        projected: Float[Tensor, "B T H"],
        attended: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B C E"]:
        """Chunk by chunk, requests with like histories together, each chunk as long as its longest history.

        `split` rather than slices of the whole, whose gradients would each fill a whole tensor.
        """
        per_candidate = projected.shape[1] * projected.shape[2]
        candidates = min(queries.shape[1], max(1, CHUNK // per_candidate))
        requests = max(1, CHUNK // (per_candidate * candidates))
        ends = (attended * torch.arange(1, attended.shape[1] + 1, device=attended.device)).amax(dim=1)
        order = torch.argsort(ends, stable=True)
        pooled = []
        for part in zip(
            *(x.index_select(0, order).split(requests) for x in (queries, events, projected, attended, ends)),
            strict=True,
        ):
            length = max(1, int(part[-1][-1]))
            own = [x[:, :length] for x in part[1:-1]]
            chunks = [torch.bmm(self._weigh(chunk, *own), own[0]) for chunk in part[0].split(candidates, dim=1)]
            pooled.append(torch.cat(chunks, dim=1))
        return torch.cat(pooled).index_select(0, torch.argsort(order))

    def _weigh(
        self,
        queries: Float[Tensor, "B C d"],
        events: Float[Tensor, "B T E"],
        projected: Float[Tensor, "B T H"],
        attended: Bool[Tensor, "B T"],
    ) -> Float[Tensor, "B C T"]:
        own, _, difference, product, _ = self._weights()
        maps = (queries[:, :, None, :] * product).flatten(1, 2)
        pairs = torch.bmm(events[..., : self.shared_width], maps.transpose(1, 2))
        pairs = pairs.unflatten(2, (queries.shape[1], -1)) + projected[:, :, None]
        hidden = pairs + nn.functional.linear(queries, own + difference)[:, None]
        weights = self.rest(hidden.flatten(0, 2)).view(hidden.shape[:3])
        absent = ~attended[:, :, None]
        if self.softmax:
            weights = weights.masked_fill(absent, torch.finfo(weights.dtype).min).softmax(dim=1)
        return weights.masked_fill(absent, 0.0).transpose(1, 2)
