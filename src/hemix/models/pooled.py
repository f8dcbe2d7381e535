"""Histories as fields of a row: each event field pooled over the events, for models of how fields interact.

    mean               1 / T sum_t e_t                  belongs to the request
    target_attention   sum_t softmax_t(a(q, e_t)) e_t   belongs to the candidate; a: nn/target_attention.py

The pooled field f of history s is called ``s.f``. A history without events gives zeros.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hemix.batch import HistorySpec, Inputs
from hemix.errors import ConfigError
from hemix.models.backbone import AttentionMap
from hemix.models.histories import comparable_histories, named_histories, prefixed, target_maps, under
from hemix.nn.cost import Cost
from hemix.nn.fields import Fields, Layout, State
from hemix.nn.ragged import Ragged
from hemix.nn.target_attention import TargetAttention

HistoryPooling = Literal["mean", "target_attention"]


def pooled_histories(inputs: Inputs, names: tuple[str, ...] | None, pooling: HistoryPooling) -> tuple[HistorySpec, ...]:
    """The histories that `model.histories` names. Raises ConfigError for one that is missing or cannot be compared."""
    return comparable_histories(inputs, names) if pooling == "target_attention" else named_histories(inputs, names)


def mean_of_events(events: Float[Tensor, "R T W"], attended: Bool[Tensor, "R T"]) -> Float[Tensor, "R W"]:
    """Over the events that are there; zero if there are none."""
    kept = attended[:, :, None].to(events.dtype)
    return (events * kept).sum(dim=1) / kept.sum(dim=1).clamp(min=1.0)


class PooledHistories:
    """The histories of a model as fields of its requests or of its candidates.

    `units` are the attention units, by history, which the model registers as its own; none under `mean`. `of_request`
    and `of_candidate` are the pooled fields of either side, of which one is empty. `not_compared` names fields that the
    candidate has as raw numbers. Raises ConfigError if attention has no other field to compare.
    """

    def __init__(
        self,
        pooling: HistoryPooling,
        histories: Sequence[HistorySpec],
        layouts: Mapping[str, Layout],
        attention_hidden: Sequence[int],
        *,
        not_compared: Collection[str] = (),
    ) -> None:
        self.units: dict[str, TargetAttention] = {}
        self._averaged = tuple(history.name for history in histories) if pooling == "mean" else ()
        self.of_request = self.of_candidate = Layout(names=(), widths=())
        for history in histories:
            layout = layouts[history.name]
            if pooling == "mean":
                self.of_request += _under(history.name, layout)
                continue
            shared = [name for name in history.shared if name not in not_compared]
            if not shared:
                raise ConfigError(
                    f"Target attention compares vectors that event and candidate share; history {history.name!r} "
                    f"shares only {', '.join(history.shared)}, which the model takes as a raw number. Add other "
                    f"item_features to data.histories.{history.name}, leave it out of model.histories, or set "
                    "model.history_pooling: mean."
                )
            unit = self.units[history.name] = TargetAttention(shared, layout, attention_hidden, softmax=True)
            self.of_candidate += _under(history.name, layout.select(unit.order))

    def encode(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        """What `encode_history` returns of one history."""
        if name in self.units:
            return prefixed(name, self.units[name].encode(events, attended))
        return {f"{name}.mean": mean_of_events(events.values, attended)}

    def with_request(self, request: Fields, histories: State) -> Fields:
        """The fields of the requests, then `of_request`; `histories` is what `encode` returned of all."""
        return _beside(request, [histories[f"{name}.mean"] for name in self._averaged], self.of_request)

    def with_candidate(self, candidate: Fields, state: State, ragged: Ragged) -> Fields:
        """The fields of the candidates, then `of_candidate`."""
        interests = [unit(candidate, under(name, state), ragged) for name, unit in self.units.items()]
        return _beside(candidate, interests, self.of_candidate)

    def maps(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """What each candidate looks at in each history; nothing under `mean`."""
        return target_maps(self.units, state, candidate, ragged)

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Of the attention; means are sums, not products."""
        return sum((unit.cost(lengths[name]) for name, unit in self.units.items()), Cost())


def _under(history: str, layout: Layout) -> Layout:
    return Layout(names=tuple(f"{history}.{name}" for name in layout.names), widths=layout.widths)


def _beside(fields: Fields, pooled: Sequence[Float[Tensor, "N _"]], layout: Layout) -> Fields:
    return Fields(
        values=torch.cat([fields.values, *pooled], dim=1),
        widths=fields.widths + layout.widths,
        names=fields.names + layout.names,
    )
