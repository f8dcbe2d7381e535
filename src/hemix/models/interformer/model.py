"""The backbone of InterFormer: tokens, layers of both sides and their summaries, classifier."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor, nn

from hemix.batch import Inputs
from hemix.errors import ConfigError
from hemix.models.backbone import AttentionMap
from hemix.models.histories import oldest_first, prefixed
from hemix.models.interformer.config import InterFormerConfig
from hemix.models.interformer.interaction import build_interaction
from hemix.models.interformer.sequence import Fusion, RotaryAttention, SequenceLayer
from hemix.models.interformer.summary import (
    SMALL_STD,
    Attended,
    FieldSummary,
    Pooling,
    Selective,
    build_sequence_summary,
)
from hemix.models.number_fields import NumberSplit, one_width
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layouts, State
from hemix.nn.mlp import MLP, SplitLinear
from hemix.nn.ragged import Ragged
from hemix.nn.towers import build_towers

CHUNK = 2**20
"""Numbers of the sequences that are worked on at a time: rows of like length together, a few MB of each tensor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """What the layers work on: B rows, each with its own copy of the events of its request.

    Where no field guides the sequence it is worked on by itself, once per request: first rows without tokens, of B
    requests; then rows of candidates that have heard its summaries and have no events.
    """

    tokens: Float[Tensor, "B n d"]
    events: Float[Tensor, "B T d"]
    lengths: Int[Tensor, " B"]
    heard: Float[Tensor, "B m k d"]
    """Summaries of the sequence that are there before; the last one is for the head."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Passed:
    """Both sides behind all layers."""

    x: Float[Tensor, "B n d"]
    heard: list[Float[Tensor, "B k d"]]
    """Summaries of the sequence: of each layer whose interaction hears one, and for the head."""
    s: Float[Tensor, "B P d"] | None
    """CLS in front of the events; None: no sequence, or none in these rows."""
    present: Bool[Tensor, "B P"]
    last: tuple[Float[Tensor, "B P d"], Float[Tensor, "B c d"] | None] | None
    """The sequence and the summary of the fields that the last layer was given."""


class InterFormer(nn.Module):
    """Backbone. CLS tokens are made of the candidate, so that events from the first layer on belong to a row.

    Where they are learned vectors, the sequence and its summaries belong to the request.
    """

    no_decay = ("cls",)

    def __init__(self, config: InterFormerConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        self.config = config
        histories = oldest_first(inputs.histories)
        self._names = tuple(history.name for history in histories)
        self._request = NumberSplit(inputs.request, layouts.request)
        self._candidate = NumberSplit(inputs.candidate, layouts.candidate)
        width = one_width([self._request.vectors, self._candidate.vectors], "model.name 'interformer'")
        self.width = width
        numbers = [2 * len(side.numbers) for side in (self._request, self._candidate)]
        self.dense = SplitLinear(numbers[0], numbers[1], width) if sum(numbers) else None
        events = {name: layouts.histories[name] for name in self._names}
        self.fusion = Fusion(events, width, config) if events else None
        self._build_layers(inputs)
        self._check_heads()
        flat = width * (config.num_summaries + self._num_events_tokens)
        self.classifier = nn.Sequential(
            MLP(flat, config.hidden, config.activation),
            build_towers(config.towers, config.hidden[-1], config.tower_hidden, len(inputs.tasks)),
        )

    def _build_layers(self, inputs: Inputs) -> None:
        config, width = self.config, self.width
        num_tokens = len(self._request.vectors.names) + len(self._candidate.vectors.names) + (self.dense is not None)
        reads = self.fusion is not None and config.flow != "sole"
        self.pools = self.fusion is not None and config.flow == "sole"
        num_tokens += self.pools
        lengths = {history.name: history.max_length for history in inputs.histories}
        longest = 0 if self.fusion is None else self.fusion.length(lengths)
        self.cls = None
        if reads and not config.guides_events:
            self.cls = nn.Parameter(torch.empty(config.num_summaries, width).normal_(std=SMALL_STD))
        self._hears = reads and config.guides_fields
        num_read = reads + config.num_layers * self._hears
        self._sequence_summaries = [
            build_sequence_summary(config.num_summaries, width, config, longest) for _ in range(num_read)
        ]
        self._num_events_tokens = self._sequence_summaries[-1].num_tokens if reads else 0
        self.sequence_summaries = nn.ModuleList(self._sequence_summaries)
        heard = self._num_events_tokens if self._hears else 0
        self._interactions = [build_interaction(num_tokens, heard, width, config) for _ in range(config.num_layers)]
        self.interactions = nn.ModuleList(self._interactions)
        self._sequences = [SequenceLayer(width, config) for _ in range(config.num_layers if reads else 0)]
        self.sequences = nn.ModuleList(self._sequences)
        self._guides = [reads and self._is_guide(layer) for layer in range(config.num_layers)] + [True]
        self._field_summaries = {
            layer: FieldSummary(num_tokens, width, config) for layer, used in enumerate(self._guides) if used
        }
        self.field_summaries = nn.ModuleList(self._field_summaries.values())

    def _check_heads(self) -> None:
        """Raises ConfigError for a width that the attention which is there cannot cut."""
        heads, kinds = self.config.num_heads, {type(part) for part in self.modules()}
        turned = RotaryAttention in kinds
        if not (turned or Pooling in kinds) or self.width % ((1 + turned) * heads) == 0:
            return
        parts = "equal and even (rotary positions)" if turned else "equal"
        raise ConfigError(
            f"Heads of the width of a token must be {parts}: it is {self.width}, model.num_heads {heads}. Choose "
            f"model.embedding_dim as a multiple of {(1 + turned) * heads}, or another model.num_heads."
        )

    def _is_guide(self, layer: int) -> bool:
        """Whether the sequence reads the fields' summary in this layer: as CLS in the first one, by PFFN in all."""
        return self.config.guides_events and (layer == 0 or self.config.personal != "none")

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        assert self.fusion is not None
        return prefixed(name, {"events": self.fusion.map(name, events.values), "lengths": attended.sum(dim=1)})

    def encode_request(self, request: Fields, histories: State) -> State:
        state = {"vectors": request.select(self._request.vectors.names).values}
        if self.dense is not None:
            state["numbers"] = self.dense.request(request.select(self._request.numbers).values)
        if self.fusion is not None:
            lengths = [histories[f"{name}.lengths"] for name in self._names]
            events = self.fusion([histories[f"{name}.events"] for name in self._names], lengths)
            whole = self.fusion.places(lengths)[1]
            if self.pools:
                state["mean"] = _masked_mean(events, whole)
            else:
                state |= {"events": events, "lengths": whole}
            if self.cls is not None:
                state["heard"] = _in_chunks(self._heard, self._requests(state), self.config.num_summaries)
        return state

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        rows = self._rows(state, candidate, ragged)
        return self.classifier(_in_chunks(self._summaries, rows, self.config.num_summaries))

    def _requests(self, state: State) -> Rows:
        """For a sequence by itself: rows without tokens."""
        events = state["events"]
        nothing = events[:, :0]
        return Rows(tokens=nothing, events=events, lengths=state["lengths"], heard=nothing[:, :, None])

    def _rows(self, state: State, candidate: Fields, ragged: Ragged) -> Rows:
        parts = [ragged.spread(state["vectors"]), candidate.select(self._candidate.vectors.names).values]
        if self.dense is not None:
            numbers = candidate.select(self._candidate.numbers).values
            parts.insert(0, self.dense.candidate(numbers, ragged.spread(state["numbers"])))
        tokens = torch.cat(parts, dim=1).unflatten(1, (-1, self.width))
        if self.pools:
            tokens = torch.cat([tokens, ragged.spread(state["mean"])[:, None]], dim=1)
        nothing = tokens[:, :0]
        events, lengths, heard = nothing, ragged.counts.new_zeros(len(tokens)), nothing[:, :, None]
        if self.cls is not None:
            heard = ragged.spread(state["heard"])
        elif self._sequences:
            events, lengths = ragged.spread(state["events"]), ragged.spread(state["lengths"])
        return Rows(tokens=tokens, events=events, lengths=lengths, heard=heard)

    def _summaries(self, rows: Rows) -> Float[Tensor, "B S"]:
        """[X_sum ; S_sum] behind the last layer, side by side."""
        passed = self._run(rows)
        x_sum = self._field_summaries[self.config.num_layers](passed.x)
        return torch.cat([x_sum, *passed.heard[-1:]], dim=1).flatten(1)

    def _heard(self, rows: Rows) -> Float[Tensor, "B m k d"]:
        """All that rows of candidates hear of a sequence by itself."""
        return torch.stack(self._run(rows).heard, dim=1)

    def _run(self, rows: Rows) -> Passed:
        x, s, last, heard = rows.tokens, None, None, list(rows.heard.unbind(1))
        present = self._present(rows)
        reads = bool(self._sequences) and not heard
        for layer, interaction in enumerate(self._interactions):
            x_sum = self._field_summaries[layer](x) if self._guides[layer] else None
            if reads and s is None:
                cls = x_sum if self.cls is None else self.cls.expand(len(x), -1, -1)
                assert cls is not None
                s = torch.cat([cls, rows.events], dim=1)
            if s is not None and self._hears:
                heard.append(self._sequence_summaries[layer](s, present, rows.lengths))
            if x.shape[1]:
                x = interaction(torch.cat([x, heard[layer]], dim=1) if self._hears else x)
            if s is not None:
                last = (s, x_sum)
                s = self._sequences[layer](s, x_sum, present)
        if s is not None:
            heard.append(self._sequence_summaries[-1](s, present, rows.lengths))
        return Passed(x=x, heard=heard, s=s, present=present, last=last)

    def _present(self, rows: Rows) -> Bool[Tensor, "B P"]:
        places = torch.arange(self.config.num_summaries + rows.events.shape[1], device=rows.lengths.device)
        return places < self.config.num_summaries + rows.lengths[:, None]

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of the CLS tokens in the last layer, where the fields make them, and of the learned queries behind it."""
        if not self._sequences:
            return []
        passed = self._run(self._requests(state) if self.cls is not None else self._rows(state, candidate, ragged))
        assert passed.s is not None
        assert passed.last is not None
        maps, (before, x_sum), num_cls = [], passed.last, self.config.num_summaries
        layer, summary = self._sequences[-1], self._sequence_summaries[-1]
        if layer.attention is not None and self.cls is None:
            weights = layer.weights(before, x_sum, passed.present)[:, :num_cls]
            maps += self._by_history("dynamic", weights, passed.s[:, :num_cls], None, state, ragged)
        if isinstance(summary, Selective | Attended) and summary.pooling is not None:
            pooling = summary.pooling
            weights, answers = pooling.weights(passed.s, passed.present), pooling(passed.s, passed.present)
            if self.cls is not None:
                weights, answers = ragged.spread(weights), ragged.spread(answers)
            maps += self._by_history("fixed", weights, answers, pooling.asking(), state, ragged)
        return maps

    def _by_history(
        self,
        kind: Literal["dynamic", "fixed"],
        weights: Float[Tensor, "N Q H P"],
        answers: Float[Tensor, "N Q d"],
        queries: Float[Tensor, "Q d"] | None,
        state: State,
        ragged: Ragged,
    ) -> list[AttentionMap]:
        """Weights of places as weights of the events that stand there: several histories may share a place."""
        assert self.fusion is not None
        lengths = [state[f"{name}.lengths"] for name in self._names]
        maps = []
        for name, start, own in zip(self._names, self.fusion.places(lengths)[0], lengths, strict=True):
            steps = torch.arange(state[f"{name}.events"].shape[1], device=own.device)
            there = steps < own[:, None]
            places = ragged.spread(torch.where(there, self.config.num_summaries + start + steps, 0))
            at = places[:, None, None].expand(-1, *weights.shape[1:3], -1)
            found = weights.gather(3, at) * ragged.spread(there)[:, None, None]
            maps.append(
                AttentionMap(
                    history=name, kind=kind, weights=found, adds_to_one=False, answers=answers, queries=queries
                )
            )
        return maps

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Fusion per request, and the sequence where no field guides it; all else per candidate."""
        cost = Cost() if self.dense is None else self.dense.cost()
        places = 0
        if self.fusion is not None:
            cost += Cost(per_request=self.fusion.cost(lengths))
            places = self.config.num_summaries + self.fusion.length(lengths)
        parts = [*self._interactions, *self._field_summaries.values()]
        alone = sum(part.cost() for part in parts) + products(self.classifier)
        along = sum(part.cost(places) for part in (*self._sequences, *self._sequence_summaries))
        if self.cls is not None:
            return cost + Cost(per_request=along, per_candidate=alone)
        return cost + Cost(per_candidate=alone + along)


def _in_chunks(function: Callable[[Rows], Tensor], rows: Rows, num_cls: int) -> Shaped[Tensor, "B *rest"]:
    """``function(rows)``, for some rows of like length at a time, of which each is on its own."""
    longest, width = rows.events.shape[1:]
    size = max(1, CHUNK // ((num_cls + longest) * width))
    if len(rows.tokens) <= size:
        return function(rows)
    order = torch.argsort(rows.lengths, stable=True)
    parts = (part.index_select(0, order).split(size) for part in (rows.tokens, rows.events, rows.lengths, rows.heard))
    chunks = []
    for tokens, events, lengths, heard in zip(*parts, strict=True):
        shorter = events[:, : int(lengths[-1])]
        chunks.append(function(Rows(tokens=tokens, events=shorter, lengths=lengths, heard=heard)))
    return torch.cat(chunks).index_select(0, torch.argsort(order))


def _masked_mean(events: Float[Tensor, "R T d"], lengths: Int[Tensor, " R"]) -> Float[Tensor, "R d"]:
    kept = torch.arange(events.shape[1], device=events.device) < lengths[:, None]
    return (events * kept[:, :, None]).sum(dim=1) / lengths.clamp(min=1)[:, None].to(events.dtype)
