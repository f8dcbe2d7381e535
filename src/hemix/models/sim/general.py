"""General search: which K events of a long history a candidate looks at, by their ids or by learnt scores.

What is found is places, newest first; the rest of the model reads the events there. Finding has no gradient.
"""

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from hemix.batch import FIRST_ID, PADDING_ID
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layout, State
from hemix.nn.ragged import Ragged

CHUNK = 2**20
"""Pairs of candidate and event that are compared at a time: a few MB."""
NOTHING = -1
"""Stands where fewer than K events were found."""


class HardSearch(nn.Module):
    """The newest K events that have the candidate's value of one categorical field.

    Padding, unknown and missing values are not alike: they find nothing, and are not found. `event_column` and
    `candidate_column` say where the field stands among the ids of either side.
    """

    def __init__(self, top_k: int, event_column: int, candidate_column: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.event_column, self.candidate_column = event_column, candidate_column

    def encode(self, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        """What does not depend on the candidate: the ids of the events that can be found, padding elsewhere."""
        assert events.ids is not None
        ids = events.ids[..., self.event_column]
        return {"ids": ids * (attended & (ids >= FIRST_ID))}

    def forward(self, candidate: Fields, encoded: State, ragged: Ragged) -> Int[Tensor, "N K"]:
        """Places of what each candidate finds in the history that `encode` was given."""
        assert candidate.ids is not None
        wanted = candidate.ids[:, self.candidate_column]

        def find(wanted: Tensor, ids: Tensor) -> Tensor:
            return newest((wanted[:, :, None] == ids[:, None]) & (ids[:, None] != PADDING_ID), self.top_k)

        return ragged.map_in_chunks(find, at_once(encoded["ids"]), wanted, encoded["ids"])

    def cost(self, length: int) -> Cost:
        """Comparisons, no products."""
        return Cost()


class SoftSearch(nn.Module):
    """The K events with the largest ``r_i = <W_b e_i, W_a e_a>``; of equal ones the newest."""

    def __init__(self, top_k: int, shared: tuple[str, ...], events: Layout, width: int) -> None:
        super().__init__()
        self.top_k = top_k
        self.shared = shared
        self.relevant_width = events.width + events.select(shared).width
        self.query = nn.Linear(events.select(shared).width, width, bias=False)
        self.key = nn.Linear(events.width, width, bias=False)

    def encode(self, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        """What does not depend on the candidate: ``W_b e_i``."""
        return {"keys": self.key(events.values)}

    @torch.no_grad()
    def forward(self, candidate: Fields, encoded: State, ragged: Ragged) -> Int[Tensor, "N K"]:
        """Places of what each candidate finds in the history that `encode` was given."""

        def find(queries: Tensor, keys: Tensor, attended: Tensor) -> Tensor:
            return newest(largest(queries @ keys.transpose(1, 2), attended[:, None], self.top_k), self.top_k)

        queries = self.query(candidate.select(self.shared).values)
        return ragged.map_in_chunks(find, at_once(encoded["keys"]), queries, encoded["keys"], encoded["attended"])

    def relevant(
        self, candidate: Fields, encoded: State, ragged: Ragged, kept: Bool[Tensor, "R T"], *, softmax: bool
    ) -> Float[Tensor, "N E"]:
        """``[sum_i r_i e_i ; e_a]`` over the kept events, or with the softmax of r over them in place of r.

        Without it the sum is ``(sum_i e_i (W_b e_i)^T) W_a e_a``: its matrix is computed once per request, and no score
        of a pair is needed.
        """
        compared, events = candidate.select(self.shared).values, encoded["events"]
        queries, keys = self.query(compared), encoded["keys"]
        if softmax:
            found = ragged.map(_softmax_sum, queries, keys, events, kept)
        else:
            keys = keys * kept[:, :, None]
            found = ragged.map(torch.bmm, queries, keys.transpose(1, 2) @ events)
        return torch.cat([found, compared], dim=1)

    def cost(self, length: int) -> Cost:
        """T E s for the events; d s + T s per candidate. s: width of the comparison, d: of what is compared."""
        if not length:
            return Cost()
        query, width = products(self.query), self.query.out_features
        return Cost(per_request=length * products(self.key), per_candidate=query + length * width)


def _softmax_sum(
    queries: Float[Tensor, "B C s"],
    keys: Float[Tensor, "B T s"],
    events: Float[Tensor, "B T E"],
    kept: Bool[Tensor, "B T"],
) -> Float[Tensor, "B C E"]:
    """Zero where no event is kept."""
    absent = ~kept[:, None]
    scores = (queries @ keys.transpose(1, 2)).masked_fill(absent, torch.finfo(queries.dtype).min)
    return scores.softmax(dim=2).masked_fill(absent, 0.0) @ events


def largest(scores: Float[Tensor, "B C T"], attended: Bool[Tensor, "B 1 T"], count: int) -> Bool[Tensor, "B C T"]:
    """Which events have the `count` largest scores; of those that are as large as the last, the newest."""
    scores = scores.masked_fill(~attended, -torch.inf)
    last = scores.topk(min(count, scores.shape[2]), dim=2).values[..., -1:]
    above = scores > last
    # at the border those that have fewer of the same score behind them than there is room for
    level = (scores == last) & attended
    behind = level.flip(2).cumsum(2, dtype=torch.int32).flip(2)
    return above | (level & (behind <= count - above.sum(dim=2, keepdim=True)))


def newest(found: Bool[Tensor, "B C T"], count: int) -> Int[Tensor, "B C K"]:
    """Places of the newest `count` events that were found, newest first, then NOTHING; K: `count`, or T if less."""
    places = torch.arange(found.shape[2], dtype=torch.int32, device=found.device)
    return torch.where(found, places, NOTHING).topk(min(count, len(places)), dim=2).values


def at_once(events: Shaped[Tensor, "R T *e"]) -> int:
    """Candidates that are compared with all events of their requests at a time."""
    return max(1, CHUNK // max(1, events.shape[1]))
