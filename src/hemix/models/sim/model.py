"""SIM as a backbone: histories that are searched for each candidate, others that are read whole, an MLP over all."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hemix.batch import HistorySpec, Inputs
from hemix.models.backbone import AttentionMap
from hemix.models.dien import Interest
from hemix.models.histories import prefixed, target_maps, under
from hemix.models.sim.config import SIMConfig
from hemix.models.sim.exact import ExactSearch, TimeIntervals, over_history
from hemix.models.sim.general import HardSearch, SoftSearch
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layout, Layouts, State
from hemix.nn.mlp import SplitLinear
from hemix.nn.ragged import Ragged
from hemix.nn.target_attention import TargetAttention
from hemix.nn.towers import build_head

DIN_HIDDEN = (64,)
"""Hidden widths of the activation unit where short interests are DIN's: its default."""


class SearchedHistory(nn.Module):
    """General and exact search in one history. Without learnt scores the first of them has no parameters."""

    def __init__(self, config: SIMConfig, history: HistorySpec, inputs: Inputs, events: Layout) -> None:
        super().__init__()
        self.general = _general(config, history, inputs, events)
        self.intervals = TimeIntervals(config.embedding_dim) if config.time_intervals else None
        width = events.width + (config.embedding_dim if config.time_intervals else 0)
        self.exact = ExactSearch(history.shared, events, width, config.num_heads, config.attention_dim)
        self.width = self.exact.width

    def encode(self, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        """What depends on the events alone; how long ago they were the request knows."""
        assert events.times is not None
        encoded = {"events": events.values, "times": events.times, "attended": attended}
        return encoded | self.general.encode(events, attended)

    def at(self, now: Int[Tensor, " R"], encoded: State) -> State:
        """What the request adds to it: events with their time intervals, ``z``."""
        events = encoded["events"]
        if self.intervals is not None:
            events = torch.cat([events, self.intervals(encoded["times"], now)], dim=2)
        return {"z": events}

    def forward(self, candidate: Fields, encoded: State, ragged: Ragged) -> Float[Tensor, "N E"]:
        """The long-term interest of each candidate in the history that `encode` and `at` were given."""
        return self.look(candidate, encoded, ragged)[0]

    def look(
        self, candidate: Fields, encoded: State, ragged: Ragged
    ) -> tuple[Float[Tensor, "N E"], Float[Tensor, "N Q T"]]:
        """The interest, and how much each head looks at each event of the history."""
        places = self.general(candidate, encoded, ragged)
        answers, weights = self.exact(candidate, encoded["z"], places, ragged)
        return answers, over_history(weights, places, encoded["z"].shape[1])

    def cost(self, length: int) -> Cost:
        return self.general.cost(length) + self.exact.cost(min(self.general.top_k, length))


def _general(config: SIMConfig, history: HistorySpec, inputs: Inputs, events: Layout) -> HardSearch | SoftSearch:
    if config.match is None:
        return SoftSearch(config.top_k, history.shared, events, config.search_dim)
    # behind a refinement module request fields stand before the candidate's own
    columns = {field.name: field.start for field in inputs.candidate}
    own = {field.name: field.start for field in history.fields}
    return HardSearch(config.top_k, own[config.match], columns[config.match])


class SIM(nn.Module):
    """Backbone: long-term interests by search, short-term interests by DIEN or DIN, and one MLP whose first layer is
    split (nn/mlp.py).
    """

    def __init__(self, config: SIMConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        found = config.searched_of(inputs.histories)
        self._searched = {
            history.name: SearchedHistory(config, history, inputs, layouts.histories[history.name]) for history in found
        }
        self._short = {
            history.name: _short(config, history, layouts.histories[history.name])
            for history in inputs.histories
            if history not in found
        }
        self.searched = nn.ModuleList(self._searched.values())
        self.short = nn.ModuleList(self._short.values())
        interests = sum(part.width for part in (*self._searched.values(), *self._short.values()))
        self.first = SplitLinear(layouts.request.width, layouts.candidate.width + interests, config.hidden[0])
        self.rest = build_head(config.hidden, config.activation, config.towers, config.tower_hidden, len(inputs.tasks))

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        part = self._searched[name] if name in self._searched else self._short[name]
        return prefixed(name, part.encode(events, attended))

    def encode_request(self, request: Fields, histories: State) -> State:
        assert request.times is not None
        state = {"request": self.first.request(request.values)}
        for name, part in self._searched.items():
            state |= prefixed(name, part.at(request.times, under(name, histories)))
        return state

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        parts = {**self._searched, **self._short}
        interests = [part(candidate, under(name, state), ragged) for name, part in parts.items()]
        own = torch.cat([candidate.values, *interests], dim=1)
        return self.rest(self.first.candidate(own, ragged.spread(state["request"])))

    def search_widths(self) -> dict[str, int]:
        """See `Searching`: every searched history, or none under a hard search."""
        return {
            name: part.general.relevant_width
            for name, part in self._searched.items()
            if isinstance(part.general, SoftSearch)
        }

    def relevant(
        self, name: str, state: State, candidate: Fields, ragged: Ragged, kept: Bool[Tensor, "R T"], *, softmax: bool
    ) -> Float[Tensor, "N E"]:
        """See `Searching`."""
        general = self._searched[name].general
        assert isinstance(general, SoftSearch)
        return general.relevant(candidate, under(name, state), ragged, kept, softmax=softmax)

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of each candidate over each history; 0 for what it did not find, which of a hard search may be all."""
        maps = []
        for name, part in self._searched.items():
            answers, weights = part.look(candidate, under(name, state), ragged)
            soft = isinstance(part.general, SoftSearch)
            maps.append(
                AttentionMap(
                    history=name,
                    kind="target",
                    weights=weights[:, None],
                    adds_to_one=soft,
                    answers=answers[:, None],
                )
            )
        return maps + target_maps(self._short, state, candidate, ragged)

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Search or short interest of each history, and the MLP, whose first layer is split."""
        parts = {**self._searched, **self._short}
        interests = sum((part.cost(lengths[name]) for name, part in parts.items()), Cost())
        return interests + self.first.cost() + Cost(per_candidate=products(self.rest))


def _short(config: SIMConfig, history: HistorySpec, events: Layout) -> Interest | TargetAttention:
    if config.short_term == "dien":
        return Interest(history.shared, events)
    return TargetAttention(history.shared, events, DIN_HIDDEN, "prelu")
