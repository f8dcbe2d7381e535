"""A refinement module in front of a model that reads histories.

Refined fields mix request and candidate, so they all belong to the candidate: the model behind sees a request without
fields, whose histories are encoded once as ever. Their ids are those of the candidate's own fields.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hemix.batch import Inputs
from hemix.errors import ConfigError
from hemix.models.backbone import (
    AttentionMap,
    Attentive,
    Backbone,
    Crossing,
    Gate,
    Gated,
    ModelKind,
    Penalised,
    Residual,
    Searching,
    Sequential,
    Update,
)
from hemix.models.flat import joined_layout
from hemix.nn.cost import Cost
from hemix.nn.fields import Fields, Layout, Layouts, State
from hemix.nn.ragged import Ragged
from hemix.refine import RefinerConfig, Wiring

REQUEST = "refined.request"


class Refined(nn.Module):
    """A backbone that gets refined fields. What it shows of itself is that of the backbone behind."""

    def __init__(self, backbone: Backbone, wiring: Wiring, joined: Layout) -> None:
        super().__init__()
        assert isinstance(backbone, nn.Module)
        self._joined = joined
        self.refine = wiring
        self.model = backbone

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        return self.model.encode_history(name, events, attended)

    def encode_request(self, request: Fields, histories: State) -> State:
        nothing = request.select(())
        return {REQUEST: request.values, **self.model.encode_request(nothing, histories)}

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        return self.model.score(state, self.refined(state, candidate, ragged), ragged)

    def refined(self, state: State, candidate: Fields, ragged: Ragged) -> Fields:
        """The fields of request and candidate as the backbone behind gets them."""
        (fields,) = self.refine(self._fields(state, candidate, ragged)).values()
        return fields

    def _fields(self, state: State, candidate: Fields, ragged: Ragged) -> Fields:
        values = torch.cat([ragged.spread(state[REQUEST]), candidate.values], dim=1)
        return Fields(values=values, widths=self._joined.widths, names=self._joined.names, ids=candidate.ids)

    def gates(self, state: State, candidate: Fields, ragged: Ragged) -> list[Gate]:
        """See `Gated`: of the module, then of the backbone behind."""
        fields = self._fields(state, candidate, ragged)
        own = [Gate(name=name, fields=fields.names, values=kept) for name, kept in self.refine.kept(fields).items()]
        if not isinstance(self.model, Gated):
            return own
        return [*own, *self.model.gates(state, self.refined(state, candidate, ragged), ragged)]

    def crossings(self) -> Sequence[Crossing]:
        """See `Gated`; nothing if the backbone behind has no cross layers."""
        return self.model.crossings() if isinstance(self.model, Gated) else ()

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> Sequence[AttentionMap]:
        """See `Attentive`; nothing if the backbone behind has no attention."""
        if not isinstance(self.model, Attentive):
            return ()
        return self.model.attention(state, self.refined(state, candidate, ragged), ragged)

    def updates(self, state: State, candidate: Fields, ragged: Ragged) -> Sequence[Update]:
        """See `Residual`; nothing if the backbone behind has no blocks."""
        if not isinstance(self.model, Residual):
            return ()
        return self.model.updates(state, self.refined(state, candidate, ragged), ragged)

    def state_widths(self) -> Mapping[str, int]:
        """See `Sequential`; nothing if the backbone behind does not read event by event."""
        return self.model.state_widths() if isinstance(self.model, Sequential) else {}

    def event_states(self, name: str, state: State) -> Float[Tensor, "R T H"]:
        """See `Sequential`: of the histories that `state_widths` names."""
        assert isinstance(self.model, Sequential)
        return self.model.event_states(name, state)

    def search_widths(self) -> Mapping[str, int]:
        """See `Searching`; nothing if the backbone behind does not search by learnt scores."""
        return self.model.search_widths() if isinstance(self.model, Searching) else {}

    def relevant(
        self, name: str, state: State, candidate: Fields, ragged: Ragged, kept: Bool[Tensor, "R T"], *, softmax: bool
    ) -> Float[Tensor, "N E"]:
        """See `Searching`: of the histories that `search_widths` names, for refined candidates."""
        assert isinstance(self.model, Searching)
        return self.model.relevant(name, state, self.refined(state, candidate, ragged), ragged, kept, softmax=softmax)

    def penalty(self) -> Float[Tensor, ""] | None:
        """See `Penalised`; None if the backbone behind has nothing to add."""
        return self.model.penalty() if isinstance(self.model, Penalised) else None

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """The backbone behind, and the module per candidate."""
        return self.model.cost(lengths) + Cost(per_candidate=self.refine.cost())


def build_refined(kind: ModelKind, refine: RefinerConfig, config: Any, inputs: Inputs, layouts: Layouts) -> Refined:
    """What ``kind.build(config, inputs, layouts)`` makes, behind a module. Raises ConfigError if they do not fit."""
    numbers = [field.name for field in (*inputs.request, *inputs.candidate) if field.kind == "number"]
    if kind.numbers == "raw" and numbers:
        raise ConfigError(
            f"model.refine refines vectors, and model.name {config.name!r} takes numbers as they are; the data has "
            f"{', '.join(numbers)}. Set transform: quantile for numeric features, which makes them ids, choose a model "
            "that gives numbers a vector, such as din, or remove model.refine."
        )
    joined = joined_layout(replace(layouts, histories={}))
    wiring = Wiring(refine, joined, ("fields",), f"model.name {config.name!r}")
    behind = replace(inputs, request=(), candidate=(*inputs.request, *inputs.candidate))
    nothing = Layout(names=(), widths=())
    backbone = kind.build(config, behind, Layouts(request=nothing, candidate=joined, histories=layouts.histories))
    return Refined(backbone, wiring, joined)
