"""The parts of a model in a row, in two steps: what belongs to the request, once; then its candidates.

    state  = ranker.encode(requests)                           every tensor with the leading axis R
    logits = ranker.score(state, candidates, offsets)          (N, K)

`encode(x)` is ``encode_now(x, remember(x))``. Only what `remember` returns may be kept from one request of a user to
another: it reads the `older` histories, which end at the cut, and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hemix.batch import Batch, Columns, Inputs, Requests
from hemix.errors import ConfigError
from hemix.models import MODELS, Backbone, ModelConfig, ModelKind, Penalised
from hemix.models.flat import FlatConfig, with_table_dims
from hemix.models.refined import build_refined
from hemix.nn.cost import Cost
from hemix.nn.embedding import FeatureEmbedding
from hemix.nn.fields import Fields, Layouts, State
from hemix.nn.first_order import FirstOrderEmbedding, first_order_weights
from hemix.nn.memory import available_memory
from hemix.nn.ragged import Ragged
from hemix.nn.towers import ExpertTowers


@dataclass(frozen=True, kw_only=True, slots=True)
class Embedded:
    """A batch as vectors: all that a backbone sees of it."""

    request: Fields
    candidate: Fields
    histories: dict[str, tuple[Fields, Bool[Tensor, "R T"]]]
    """Of each history that the model reads: its events, and which of them are there."""
    offsets: Int[Tensor, " R_plus_1"]


class Ranker(nn.Module):
    """Embedding and backbone. Returns logits, never probabilities; knows no optimizer, device, file or loss."""

    def __init__(self, inputs: Inputs, config: ModelConfig) -> None:
        super().__init__()
        kind = MODELS[config.name]
        self.inputs = inputs
        self.config = config
        self._histories = config.used_histories(inputs)
        read = with_table_dims(replace(inputs, histories=self._histories), config)
        self.embedding = _build_embedding(read, config.embedding_dim, kind)
        self.backbone = _build_backbone(kind, config, read, self.embedding.layouts)

    def remember(self, requests: Requests) -> State:
        """What depends on the older histories alone."""
        return self._encode_histories(requests, older=True)

    def encode_now(self, requests: Requests, memory: State) -> State:
        """All that is known before a candidate is seen; `memory` comes from `remember`."""
        histories = {**memory, **self._encode_histories(requests, older=False)}
        return {**histories, **self.backbone.encode_request(self._embed_request(requests), histories)}

    def encode(self, requests: Requests) -> State:
        return self.encode_now(requests, self.remember(requests))

    def score(self, state: State, candidates: Columns, offsets: Int[Tensor, " R_plus_1"]) -> Float[Tensor, "N K"]:
        """Logits of the candidates; those of request r are rows ``offsets[r] .. offsets[r + 1]``."""
        fields = self._embed_candidates(candidates)
        if not len(candidates.ids):
            return fields.values.new_zeros(0, len(self.inputs.tasks))
        return self.backbone.score(state, fields, Ragged(offsets, len(candidates.ids)))

    def forward(self, batch: Batch) -> Float[Tensor, "N K"]:
        return self.score(self.encode(batch.requests), batch.candidates, batch.offsets)

    def penalty(self) -> Float[Tensor, ""] | None:
        """What the model adds to any loss after a forward pass in training: see `Penalised`."""
        return self.backbone.penalty() if isinstance(self.backbone, Penalised) else None

    def embed(self, batch: Batch) -> Embedded:
        """The vectors of a batch, for those who want to look at them or change them: see `score_embedded`."""
        return Embedded(
            request=self._embed_request(batch.requests),
            candidate=self._embed_candidates(batch.candidates),
            histories={spec.name: self._embed_history(batch.requests, spec.name) for spec in self._histories},
            offsets=batch.offsets,
        )

    def expert_gates(self, batch: Batch) -> tuple[Float[Tensor, "N G E"], ...]:
        """What the gates of the towers took of which expert, level by level (`ExpertTowers.gates`); no experts: ()."""
        found: list[Tensor] = []

        def look(towers: nn.Module, x: tuple[Tensor]) -> None:
            assert isinstance(towers, ExpertTowers)
            found.extend(towers.gates(*x))

        hooks = [part.register_forward_pre_hook(look) for part in self.modules() if isinstance(part, ExpertTowers)]
        try:
            self(batch)
        finally:
            for hook in hooks:
                hook.remove()
        return tuple(found)

    def cost(self) -> Cost:
        """Multiply-adds per request and per candidate, with every history at its greatest length."""
        lengths = {history.name: history.max_length for history in self._histories}
        return self.embedding.cost(lengths) + self.backbone.cost(lengths)

    def _encode_histories(self, requests: Requests, *, older: bool) -> State:
        state: State = {}
        for history in self._histories:
            if (history.part == "older") == older:
                events, attended = self._embed_history(requests, history.name)
                state.update(self.backbone.encode_history(history.name, events, attended))
        return state

    def _embed_request(self, requests: Requests) -> Fields:
        columns = requests.columns
        return replace(self.embedding.request(columns), times=requests.times, ids=columns.ids)

    def _embed_candidates(self, candidates: Columns) -> Fields:
        return replace(self.embedding.candidate(candidates), ids=candidates.ids)

    def _embed_history(self, requests: Requests, name: str) -> tuple[Fields, Bool[Tensor, "R T"]]:
        history = requests.histories[name]
        events, attended = self.embedding.history(name, history)
        return replace(events, times=history.times, ids=history.events.ids), attended


def _build_embedding(inputs: Inputs, embedding_dim: int, kind: ModelKind) -> FeatureEmbedding | FirstOrderEmbedding:
    match kind.first_order:
        case "beside":
            return FirstOrderEmbedding(inputs, embedding_dim)
        case "alone":
            return first_order_weights(inputs)
        case None:
            return FeatureEmbedding(inputs, embedding_dim, numbers=kind.numbers)


def _build_backbone(kind: ModelKind, config: ModelConfig, inputs: Inputs, layouts: Layouts) -> Backbone:
    """A flat model refines its fields itself; in front of any other model stands a module."""
    if config.refine is None or isinstance(config, FlatConfig):
        return kind.build(config, inputs, layouts)
    return build_refined(kind, config.refine, config, inputs, layouts)


def encode_embedded(backbone: Backbone, x: Embedded) -> State:
    """What `Ranker.encode` returns for the batch that `x` was embedded from."""
    histories: State = {}
    for name, (events, attended) in x.histories.items():
        histories.update(backbone.encode_history(name, events, attended))
    return {**histories, **backbone.encode_request(x.request, histories)}


def score_embedded(backbone: Backbone, x: Embedded) -> Float[Tensor, "N K"]:
    """The logits of the batch that `x` was embedded from; differentiable in its vectors."""
    return backbone.score(encode_embedded(backbone, x), x.candidate, Ragged(x.offsets, len(x.candidate.values)))


TableOptimizer = Literal["rowwise_adagrad", "adam"]
TABLE_COPIES: Mapping[TableOptimizer, float] = {"rowwise_adagrad": 1.25, "adam": 4.0}
"""Bytes in training per byte of a table: its weights, a state per row and gradients of the rows of a batch, or its
weights, a dense gradient and two moments."""
DENSE_COPIES = 4.0
"""The same for dense parameters: weights, gradients and two moments."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterCount:
    """Numbers of parameters, known without building the model."""

    tables: int
    dense: int
    by_part: dict[str, int]
    """Of each part of the model: ``embedding``, and the direct children of the backbone or of its flat model."""


def count_parameters(inputs: Inputs, config: ModelConfig) -> ParameterCount:
    """Count the parameters of a model without allocating them."""
    with torch.device("meta"):
        ranker = Ranker(inputs, config)
    by_part: dict[str, int] = {}
    for name, parameter in ranker.named_parameters():
        owner, part, *rest = name.split(".")
        key = (rest[0] if part == "model" else part) if owner == "backbone" else owner
        by_part[key] = by_part.get(key, 0) + parameter.numel()
    tables = sum(table.numel() for table in ranker.embedding.tables)
    return ParameterCount(tables=tables, dense=sum(by_part.values()) - tables, by_part=by_part)


def training_bytes(count: ParameterCount, table_optimizer: TableOptimizer = "rowwise_adagrad") -> int:
    """Bytes that training needs for parameters, gradients and optimizer."""
    return int(4 * (TABLE_COPIES[table_optimizer] * count.tables + DENSE_COPIES * count.dense))


def check_memory(
    inputs: Inputs,
    config: ModelConfig,
    *,
    table_optimizer: TableOptimizer = "rowwise_adagrad",
    memory: int | None = None,
) -> int:
    """`training_bytes` of a model, estimated before anything is allocated.

    Raises ConfigError if the estimate exceeds `memory` bytes (None: what the system has left).
    """
    count = count_parameters(inputs, config)
    needed = training_bytes(count, table_optimizer)
    available = available_memory() if memory is None else memory
    if available is not None and needed > available:
        raise ConfigError(
            f"A model must fit into memory: this {config.name} needs about {needed / 1e9:.1f} GB to train "
            f"({count.tables:,} parameters in tables, {count.dense:,} others), {available / 1e9:.1f} GB are left. "
            + _how_to_shrink(inputs, config, tables=4 * DENSE_COPIES * count.dense < needed / 2)
        )
    return needed


def _how_to_shrink(inputs: Inputs, config: ModelConfig, *, tables: bool) -> str:
    """What to change, where most of the memory is taken by the tables, or by the rest."""
    if not tables:
        return "Lower the widths or the depth of the model section; for hemix, take a smaller model.preset."
    largest = max(inputs.tables, key=lambda table: table.num_ids * (table.dim or config.embedding_dim))
    return (
        f"Lower model.embedding_dim, or the number of ids (largest table: {largest.name!r}, {largest.num_ids:,} ids) "
        "by min_count, max_size or hash_buckets."
    )


def build_ranker(
    inputs: Inputs,
    config: ModelConfig,
    *,
    seed: int,
    table_optimizer: TableOptimizer = "rowwise_adagrad",
    memory: int | None = None,
) -> Ranker:
    """A ranker with initial weights that depend on `seed` alone; the global random state is left as it was.

    Raises ConfigError if training it with this optimizer of the tables would not fit into `memory` bytes (None: what
    the system has left).
    """
    check_memory(inputs, config, table_optimizer=table_optimizer, memory=memory)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return Ranker(inputs, config)
