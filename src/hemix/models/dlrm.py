"""DLRM: dot interaction of embeddings (https://arxiv.org/abs/1906.00091).

    z_0    = MLP_bottom(numbers)                       numbers of request and candidate, each with a flag where missing
    Z      = {<z_i, z_j> : i < j}                      z: z_0, every embedded field, every pooled history field
    logits = towers(MLP_top([Z ; z_0 ; z_1 ; ...]))    default: one linear map; nn/towers.py

A history is a multi-valued feature: each event field, pooled over the events, is one z. Filled gaps and differences:
docs/models/dlrm.md. Parity test: tests/parity/test_dlrm.py.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, check_read, is_none
from hemix.models.backbone import AttentionMap, ModelKind
from hemix.models.number_fields import NumberSplit, one_width
from hemix.models.pooled import HistoryPooling, PooledHistories, pooled_histories
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layouts, State
from hemix.nn.mlp import MLP, SplitLinear
from hemix.nn.ragged import Ragged
from hemix.nn.towers import SharedBottomConfig, TowersConfig, build_towers
from hemix.refine import RefineConfig
from hemix.search_space import Draw

Width = Annotated[int, Field(ge=1)]


class DLRMConfig(Config):
    """Sizes of DLRM; which of them are the paper's: docs/models/dlrm.md."""

    name: Literal["dlrm"] = "dlrm"
    embedding_dim: Width = 16
    """Width of every embedding; a feature's `dim` must be the same or unset."""
    histories: tuple[str, ...] | None = None
    """Histories to pool; None: all of the data."""
    history_pooling: HistoryPooling = "mean"
    attention_hidden: tuple[Width, ...] = Field(default=(64,), min_length=1)
    """Of `target_attention`: widths of the activation unit's hidden layers."""
    bottom_hidden: tuple[Width, ...] = (64,)
    """Hidden widths of the bottom MLP; its output is as wide as an embedding."""
    top_hidden: tuple[Width, ...] = Field(default=(256, 128), min_length=1)
    embeddings_to_top: bool = True
    """Give the top MLP all vectors z; false: only z_0, as in the paper."""
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the top MLP and the tasks."""
    tower_hidden: tuple[Width, ...] = ()
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    @model_validator(mode="after")
    def _settings_are_read(self) -> "DLRMConfig":
        if self.history_pooling == "mean":
            check_read(self, "history_pooling", "attention_hidden")
        return self

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads. Raises ConfigError for one that is missing or cannot be compared."""
        return pooled_histories(inputs, self.histories, self.history_pooling)


class DLRM(nn.Module):
    """Backbone. Mean-pooled histories belong to the request, attended ones to the candidate.

    Products of two request vectors, and their part of the top MLP's first layer, are made once per request; so is z_0
    if no candidate has a number.
    """

    request_pairs: Tensor
    candidate_pairs: Tensor

    def __init__(self, config: DLRMConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        self._config = config
        self._request = NumberSplit(inputs.request, layouts.request)
        self._candidate = NumberSplit(inputs.candidate, layouts.candidate)
        self._width = one_width(
            [self._request.vectors, self._candidate.vectors, *layouts.histories.values()], "model.name 'dlrm'"
        )
        self._pooled = PooledHistories(
            config.history_pooling,
            inputs.histories,
            layouts.histories,
            config.attention_hidden,
            not_compared=self._candidate.numbers,
        )
        self.attention = nn.ModuleList(self._pooled.units.values())
        num_numbers = len(self._request.numbers) + len(self._candidate.numbers)
        self.bottom = MLP(2 * num_numbers, (*config.bottom_hidden, self._width)) if num_numbers else None
        self._build_top(
            num_request=len((self._request.vectors + self._pooled.of_request).names),
            num_candidate=len((self._candidate.vectors + self._pooled.of_candidate).names) + (self.bottom is not None),
            num_tasks=len(inputs.tasks),
        )

    def _build_top(self, *, num_request: int, num_candidate: int, num_tasks: int) -> None:
        hidden = self._config.top_hidden
        self._counts = (num_request, num_candidate)
        self.register_buffer("request_pairs", _pairs(num_request), persistent=False)
        self.register_buffer("candidate_pairs", _pairs(num_candidate), persistent=False)
        to_top = (num_request, num_candidate) if self._config.embeddings_to_top else (0, int(self.bottom is not None))
        self.first = SplitLinear(
            len(self.request_pairs) + to_top[0] * self._width,
            len(self.candidate_pairs) + num_request * num_candidate + to_top[1] * self._width,
            hidden[0],
        )
        towers = build_towers(self._config.towers, hidden[-1], self._config.tower_hidden, num_tasks)
        self.rest = nn.Sequential(nn.ReLU(), MLP(hidden[0], hidden[1:]), towers)

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        return self._pooled.encode(name, events, attended)

    def encode_request(self, request: Fields, histories: State) -> State:
        values = self._pooled.with_request(request.select(self._request.vectors.names), histories).values
        vectors = values.unflatten(1, (-1, self._width))
        top = [_products(vectors, self.request_pairs), *([values] if self._config.embeddings_to_top else [])]
        numbers = request.select(self._request.numbers).values
        return {
            "numbers": numbers if self.bottom is None or self._candidate.numbers else self.bottom(numbers),
            "vectors": vectors,
            "top": self.first.request(torch.cat(top, dim=1)),
        }

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        dense = [] if self.bottom is None else [self._dense(self.bottom, state, candidate, ragged)]
        embedded = self._pooled.with_candidate(candidate.select(self._candidate.vectors.names), state, ragged)
        values = torch.cat([*dense, embedded.values], dim=1)
        vectors = values.unflatten(1, (-1, self._width))
        crossed = torch.bmm(vectors, ragged.spread(state["vectors"]).transpose(1, 2)).flatten(1)
        own = _products(vectors, self.candidate_pairs)
        top = torch.cat([own, crossed, *([values] if self._config.embeddings_to_top else dense)], dim=1)
        return self.rest(self.first.candidate(top, ragged.spread(state["top"])))

    def _dense(self, bottom: MLP, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N D"]:
        """``z_0`` of every row; `encode_request` has made it if no candidate has a number."""
        of_request = ragged.spread(state["numbers"])
        if not self._candidate.numbers:
            return of_request
        return bottom(torch.cat([of_request, candidate.select(self._candidate.numbers).values], dim=1))

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of each candidate over each history, under `target_attention`; nothing where histories are averaged."""
        return self._pooled.maps(state, candidate, ragged)

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Products of all pairs (each side's are made as a full square), both MLPs and, if chosen, the attention."""
        request, candidate = self._counts
        pairs = Cost(
            per_request=request**2 * self._width, per_candidate=(candidate**2 + request * candidate) * self._width
        )
        bottom = 0 if self.bottom is None else products(self.bottom)
        dense = Cost(per_candidate=bottom) if self._candidate.numbers else Cost(per_request=bottom)
        return self._pooled.cost(lengths) + dense + pairs + self.first.cost() + Cost(per_candidate=products(self.rest))


def _pairs(count: int) -> Int[Tensor, " P"]:
    """Where the products i < j stand in a flat (count, count) matrix."""
    row, column = torch.triu_indices(count, count, offset=1)
    return row * count + column


def _products(vectors: Float[Tensor, "N M D"], pairs: Int[Tensor, " P"]) -> Float[Tensor, "N P"]:
    return torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1).index_select(1, pairs)


MODEL = ModelKind(
    config=DLRMConfig,
    build=DLRM,
    paper="arXiv 1906.00091",
    histories="read",
    numbers="raw",
    space={
        "history_pooling": Draw(choice=("mean", "target_attention")),
        "top_hidden": Draw(choice=((128, 64), (256, 128), (512, 256))),
    },
)
