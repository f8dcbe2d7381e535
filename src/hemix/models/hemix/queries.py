"""Mixed queries: dynamic ones (tokens of the features) and fixed ones (learned) attend to a sequence of events."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hemix.models.hemix.config import HeMixConfig
from hemix.nn.attention import event_weights, over_candidates, over_events, split_heads
from hemix.nn.cost import products
from hemix.nn.fields import State
from hemix.nn.grouped_linear import GroupedLinear
from hemix.nn.mixing import SMALL_STD
from hemix.nn.norm import build_norm
from hemix.nn.ragged import Ragged

QueryKind = Literal["dynamic", "fixed"]


class MixedQueries(nn.Module):
    """Attention of dynamic and fixed queries over one sequence: a query map per slot; shared key, value, output maps.

    `events` are the maps of events to the width of a token that belong to this sequence alone; they are applied by the
    model. A request without events gets a vector per slot, learned or zero. `dynamic_query` and `fixed` are None where
    there are no such queries.
    """

    empty: Tensor
    no_decay = ("fixed", "empty")

    def __init__(self, events: nn.Module | None, num_dynamic: int, num_fixed: int, config: HeMixConfig) -> None:
        super().__init__()
        width = config.token_dim
        self.num_heads = config.num_attention_heads
        self.num_dynamic = num_dynamic
        self.num_fixed = num_fixed
        self.residual = config.query_residual
        self.events = events
        self.event_norm = build_norm(config.norm_kind, width) if config.attention_norm else nn.Identity()
        self.query_norm = build_norm(config.norm_kind, width) if config.attention_norm else nn.Identity()
        self.dynamic_query = GroupedLinear(num_dynamic, width, width, bias=False) if num_dynamic else None
        self.fixed_query = GroupedLinear(num_fixed, width, width, bias=False) if num_fixed else None
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.fixed = nn.Parameter(torch.empty(num_fixed, width).normal_(std=SMALL_STD)) if num_fixed else None
        if config.empty_history == "learned":
            self.empty = nn.Parameter(torch.empty(num_dynamic + num_fixed, width).normal_(std=SMALL_STD))
        else:
            self.register_buffer("empty", torch.zeros(num_dynamic + num_fixed, width), persistent=False)

    def encode(self, events: Float[Tensor, "R T D"], attended: Bool[Tensor, "R T"]) -> State:
        """Keys and values by head, of events that have the width of a token, and which events are there."""
        sequence = self.event_norm(events)
        keys = split_heads(self.key(sequence), self.num_heads)
        values = split_heads(self.value(sequence), self.num_heads)
        return {"keys": keys, "values": values, "attended": attended}

    def fixed_answers(self, encoded: State) -> Float[Tensor, "R F D"]:
        """What the fixed queries find in the sequence that `encode` was given."""
        attended, empty = encoded["attended"], self.empty[self.num_dynamic :]
        if self.fixed is None or self.fixed_query is None:
            return empty.expand(len(attended), -1, -1)
        if attended.shape[1] == 0:
            answers = empty.expand(len(attended), -1, -1)
        else:
            queries = self._fixed_queries().expand(len(attended), -1, -1)
            present = attended.any(dim=1)
            found = over_events(queries, encoded["keys"], encoded["values"], _finite(attended, present))
            answers = torch.where(present[:, None, None], self.output(found), empty)
        return self.fixed + answers if self.residual else answers

    def forward(self, tokens: Float[Tensor, "N Q D"], encoded: State, ragged: Ragged) -> Float[Tensor, "N Q D"]:
        """What the dynamic queries of each row find in the sequence of its request."""
        attended, empty = encoded["attended"], self.empty[: self.num_dynamic]
        if self.dynamic_query is None or attended.shape[1] == 0:
            answers = empty.expand(len(tokens), -1, -1)
        else:
            present = attended.any(dim=1)
            queries = self._dynamic_queries(tokens)
            found = over_candidates(queries, encoded["keys"], encoded["values"], _finite(attended, present), ragged)
            answers = torch.where(ragged.spread(present)[:, None, None], self.output(found), empty)
        return tokens + answers if self.residual else answers

    def look(self, tokens: Float[Tensor, "N Q D"], encoded: State, ragged: Ragged) -> dict[QueryKind, Tensor]:
        """Weights (N, Q, H, T) of the dynamic and of the fixed queries, of which there are any."""
        keys, attended = encoded["keys"], encoded["attended"]
        found: dict[QueryKind, Tensor] = {}
        if self.dynamic_query is not None:
            queries = self._dynamic_queries(tokens)
            found["dynamic"] = event_weights(queries, ragged.spread(keys), ragged.spread(attended))
        if self.fixed_query is not None:
            queries = self._fixed_queries().expand(len(keys), -1, -1)
            found["fixed"] = ragged.spread(event_weights(queries, keys, attended))
        return found

    def asking(self) -> Float[Tensor, "F D"]:
        """The vectors by which the fixed queries ask."""
        return self._fixed_queries()[0]

    def _fixed_queries(self) -> Float[Tensor, "1 F D"]:
        assert self.fixed is not None
        assert self.fixed_query is not None
        return self.fixed_query(self.query_norm(self.fixed)[:, None]).transpose(0, 1)

    def _dynamic_queries(self, tokens: Float[Tensor, "N Q D"]) -> Float[Tensor, "N Q D"]:
        assert self.dynamic_query is not None
        return self.dynamic_query(self.query_norm(tokens).transpose(0, 1)).transpose(0, 1)

    def sequence_cost(self, length: int) -> int:
        """Multiply-adds per request for keys, values and fixed queries: T 2 d^2 + F (2 d^2 + 2 T d)."""
        return length * (products(self.key) + products(self.value)) + self._query_cost(self.num_fixed, length)

    def dynamic_cost(self, length: int) -> int:
        """Multiply-adds of the dynamic queries, per candidate or per request: Q (2 d^2 + 2 T d)."""
        return self._query_cost(self.num_dynamic, length)

    def _query_cost(self, queries: int, length: int) -> int:
        width = self.output.in_features
        return queries * (2 * width**2 + 2 * length * width) if length else 0


def merged(sequences: list[State]) -> State:
    """What `encode` returned for several sequences of the same requests, as one sequence."""
    return {
        "keys": torch.cat([sequence["keys"] for sequence in sequences], dim=2),
        "values": torch.cat([sequence["values"] for sequence in sequences], dim=2),
        "attended": torch.cat([sequence["attended"] for sequence in sequences], dim=1),
    }


def _finite(attended: Bool[Tensor, "R T"], present: Bool[Tensor, " R"]) -> Bool[Tensor, "R T"]:
    """Let requests without events attend to their padding: the softmax stays finite, its result is replaced."""
    return attended | ~present[:, None]
