"""HiFormer: attention between fields that knows which fields they are (https://arxiv.org/abs/2311.05884).

    X      = [a learned token per task ; a token per field]       M tokens of width d; histories: models/pooled.py
    Q      = B_q A_q vec(X),  K and V alike                       vec(X): all tokens side by side; A is r x M d
    Z_t    = X_t + concat_h softmax(Q_th K_h^T / sqrt(d / H)) V_h  O_t
    X_t    = Z_t + W2_t gelu(W1_t Z_t + b1_t) + b2_t              a norm in front of either part, or after it
    logit  = tower_k(X_k)                                         the token of task k

Under ``projection: per_token`` Q_t = X_t Q_t instead, of each token its own: the paper's heterogeneous attention alone.
The last layer has queries for the tokens of the tasks only. Filled gaps and differences: docs/models/hiformer.md.
Parity test: tests/parity/test_hiformer.py.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, check_read, is_none
from hemix.errors import ConfigError
from hemix.models.backbone import AttentionMap, ModelKind, Update
from hemix.models.pooled import HistoryPooling, PooledHistories, pooled_histories
from hemix.nn.attention import split_heads
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layout, Layouts, State, common_width
from hemix.nn.grouped_linear import GroupedLinear
from hemix.nn.mixing import SMALL_STD
from hemix.nn.norm import PerTokenLayerNorm, build_norm
from hemix.nn.ragged import Ragged
from hemix.nn.token_ffn import PerTokenFFN
from hemix.nn.tokenizers import start_without_bias
from hemix.nn.towers import OwnTowers
from hemix.refine import RefineConfig
from hemix.search_space import Draw

Count = Annotated[int, Field(ge=1)]
PROJECTIONS = ("query", "key", "value")


class HiFormerConfig(Config):
    """Sizes of HiFormer; which of them are the paper's: docs/models/hiformer.md."""

    name: Literal["hiformer"] = "hiformer"
    embedding_dim: Count = 16
    """Width of every embedding whose feature sets no `dim`."""
    histories: tuple[str, ...] | None = None
    """Histories to pool into fields; None: all of the data."""
    history_pooling: HistoryPooling = "target_attention"
    attention_hidden: tuple[Count, ...] = Field(default=(64,), min_length=1)
    """Of `target_attention`: widths of the activation unit's hidden layers."""
    token_dim: Count | None = None
    """Map every field to this width, by a linear map and a norm of its own; null: the vectors of the fields are the
    tokens, and a feature's `dim` must be the same as all others."""
    num_layers: Count = 3
    num_heads: Count = 2
    projection: Literal["composite", "per_token"] = "composite"
    """Queries, keys and values from all tokens together, or each from its own token."""
    rank: Count | None = 64
    """Of `composite`: rank of each projection; null: one matrix, (M d)^2 weights."""
    output_projection: bool = True
    """A map of each token behind the attention."""
    ffn_expansion: Count = 4
    norm_position: Literal["pre", "post"] = "pre"
    """`pre`: in front of each part of a layer, and one more after the last layer."""
    prune_last: bool = True
    """Leave out of the last layer what the tasks do not read; changes no score."""
    tower_hidden: tuple[Count, ...] = (128, 64)
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "HiFormerConfig":
        if self.token_dim is not None and self.token_dim % self.num_heads:
            raise ValueError(
                f"token_dim must be a multiple of num_heads; token_dim is {self.token_dim}, num_heads is "
                f"{self.num_heads}"
            )
        return self

    @model_validator(mode="after")
    def _settings_are_read(self) -> "HiFormerConfig":
        if self.history_pooling == "mean":
            check_read(self, "history_pooling", "attention_hidden")
        if self.projection == "per_token":
            check_read(self, "projection", "rank")
        return self

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads. Raises ConfigError for one that is missing or cannot be compared."""
        return pooled_histories(inputs, self.histories, self.history_pooling)


class FieldTokens(nn.Module):
    """One token per field of one side: its vector, or ``LN_f(W_f x_f + b_f)`` if `mapped`."""

    def __init__(self, layout: Layout, width: int, *, mapped: bool) -> None:
        super().__init__()
        self.width = width
        self.num_tokens = len(layout.names)
        self._widths = layout.widths
        self._maps = [nn.Linear(own, width) for own in layout.widths] if mapped else []
        self.maps = nn.ModuleList(self._maps)
        self.norm = PerTokenLayerNorm(self.num_tokens, width) if self._maps else nn.Identity()
        start_without_bias(*self._maps)

    def forward(self, fields: Fields) -> Float[Tensor, "N M D"]:
        values = fields.values
        if self._maps:
            pieces = zip(self._maps, values.split(self._widths, dim=1), strict=True)
            values = torch.cat([part(piece) for part, piece in pieces], dim=1)
        return self.norm(values.unflatten(1, (self.num_tokens, self.width)))


class CompositeProjection(nn.Module):
    """All tokens side by side to `num_outputs` vectors, by one linear map, of low rank if `rank` is given.

    The map is linear in the tokens, so that a run of them can be begun on before the others are known.
    """

    def __init__(self, num_tokens: int, num_outputs: int, width: int, rank: int | None) -> None:
        super().__init__()
        self.num_outputs, self.width = num_outputs, width
        outputs = num_outputs * width
        self.first = nn.Linear(num_tokens * width, outputs if rank is None else rank, bias=False)
        self.second = nn.Identity() if rank is None else nn.Linear(rank, outputs, bias=False)
        for part in (self.first, self.second):
            if isinstance(part, nn.Linear):
                # as large as its input, so that a product of two is no smaller than one map
                nn.init.normal_(part.weight, std=part.in_features**-0.5)

    def begin(self, tokens: Float[Tensor, "N C D"], start: int) -> Float[Tensor, "N I"]:
        """What the tokens from place `start` on add to the result of the first map."""
        columns = slice(start * self.width, (start + tokens.shape[1]) * self.width)
        return F.linear(tokens.flatten(1), self.first.weight[:, columns])

    def finish(self, parts: Sequence[Float[Tensor, "N I"]]) -> Float[Tensor, "N O D"]:
        return self.second(torch.stack(list(parts)).sum(dim=0)).unflatten(1, (self.num_outputs, self.width))

    def cost(self, num_before: int) -> Cost:
        """With the first `num_before` tokens begun on once per request."""
        before = num_before * self.width * self.first.out_features
        return Cost(per_request=before, per_candidate=products(self) - before)


class TokenProjection(nn.Module):
    """A linear map of its own for each of the first `num_outputs` tokens."""

    def __init__(self, num_outputs: int, width: int) -> None:
        super().__init__()
        self.num_outputs, self.width = num_outputs, width
        self.maps = GroupedLinear(num_outputs, width, width, bias=False)

    def begin(self, tokens: Float[Tensor, "N C D"], start: int) -> Float[Tensor, "N O D"]:
        """The vectors of the tokens from place `start` on, as far as they have one."""
        weight = self.maps.weight[start : start + tokens.shape[1]]
        return torch.bmm(tokens[:, : len(weight)].transpose(0, 1), weight).transpose(0, 1)

    def finish(self, parts: Sequence[Float[Tensor, "N _ D"]]) -> Float[Tensor, "N O D"]:
        return torch.cat(list(parts), dim=1)

    def cost(self, num_before: int) -> Cost:
        """With the first `num_before` tokens mapped once per request."""
        before = min(num_before, self.num_outputs) * self.width**2
        return Cost(per_request=before, per_candidate=products(self) - before)


class HiFormerLayer(nn.Module):
    """Attention of the first `num_outputs` tokens over all, then a network each; both with a residual and a norm."""

    def __init__(self, config: HiFormerConfig, num_tokens: int, num_outputs: int, width: int) -> None:
        super().__init__()
        self.num_tokens, self.num_outputs, self.width = num_tokens, num_outputs, width
        self.num_heads = config.num_heads
        self.pre_norm = config.norm_position == "pre"
        outputs = {"query": num_outputs, "key": num_tokens, "value": num_tokens}
        self._projections = {name: _build_projection(config, num_tokens, outputs[name], width) for name in PROJECTIONS}
        self.projections = nn.ModuleDict(self._projections)
        self.output: GroupedLinear | None = None
        if config.output_projection:
            self.output = GroupedLinear(num_outputs, width, width, bias=False, std=SMALL_STD)
        self.ffn = PerTokenFFN(num_outputs, width, config.ffn_expansion)
        self.attention_norm = build_norm("layer_norm", width)
        self.ffn_norm = build_norm("layer_norm", width)

    def begin(self, tokens: Float[Tensor, "N C D"], start: int = 0) -> State:
        """What queries, keys and values get from the tokens from place `start` on."""
        x = self.attention_norm(tokens) if self.pre_norm else tokens
        return {name: projection.begin(x, start) for name, projection in self._projections.items()}

    def forward(self, tokens: Float[Tensor, "N M D"], begun: Sequence[State]) -> Float[Tensor, "N O D"]:
        *_, last = self.steps(tokens, begun)
        return last[2]

    def steps(self, tokens: Float[Tensor, "N M D"], begun: Sequence[State]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Of attention and network: the tokens before, what is added, the tokens after."""
        before = tokens[:, : self.num_outputs]
        added = self._attend(begun)
        after = self._add(before, added, self.attention_norm)
        learnt = self.ffn(self.ffn_norm(after) if self.pre_norm else after)
        return [(before, added, after), (after, learnt, self._add(after, learnt, self.ffn_norm))]

    def _add(self, x: Tensor, added: Tensor, norm: nn.Module) -> Tensor:
        return x + added if self.pre_norm else norm(x + added)

    def _attend(self, begun: Sequence[State]) -> Float[Tensor, "N O D"]:
        query, key, value = (
            split_heads(projection.finish([part[name] for part in begun]), self.num_heads)
            for name, projection in self._projections.items()
        )
        found = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return found if self.output is None else self.output(found.transpose(0, 1)).transpose(0, 1)

    def cost(self, num_before: int = 0) -> Cost:
        """Projections, of which those of the first `num_before` tokens are begun on once per request, and the rest."""
        projections = sum((projection.cost(num_before) for projection in self._projections.values()), Cost())
        attention = 2 * self.num_outputs * self.num_tokens * self.width
        output = 0 if self.output is None else products(self.output)
        return projections + Cost(per_candidate=attention + output + self.ffn.cost())


class HiFormer(nn.Module):
    """Backbone. In the first layer, what queries, keys and values get from the request is computed once per request."""

    no_decay = ("task_tokens",)

    def __init__(self, config: HiFormerConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        self._pooled = PooledHistories(
            config.history_pooling, inputs.histories, layouts.histories, config.attention_hidden
        )
        request = layouts.request + self._pooled.of_request
        candidate = layouts.candidate + self._pooled.of_candidate
        width, tasks = _token_width(config, request + candidate), len(inputs.tasks)
        mapped = config.token_dim is not None
        self.num_tasks = tasks
        self.num_before = tasks + len(request.names)
        num_tokens = self.num_before + len(candidate.names)
        self.attention = nn.ModuleList(self._pooled.units.values())
        self.task_tokens = nn.Parameter(torch.empty(tasks, width).normal_(std=SMALL_STD))
        self.request_tokens = FieldTokens(request, width, mapped=mapped)
        self.candidate_tokens = FieldTokens(candidate, width, mapped=mapped)
        outputs = [num_tokens] * config.num_layers
        if config.prune_last:
            outputs[-1] = tasks
        self._layers = [HiFormerLayer(config, num_tokens, count, width) for count in outputs]
        self.layers = nn.ModuleList(self._layers)
        self.final_norm = build_norm("layer_norm", width) if config.norm_position == "pre" else nn.Identity()
        self.towers = OwnTowers(width, config.tower_hidden, tasks)

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        return self._pooled.encode(name, events, attended)

    def encode_request(self, request: Fields, histories: State) -> State:
        tokens = self.request_tokens(self._pooled.with_request(request, histories))
        tokens = torch.cat([self.task_tokens.expand(len(tokens), -1, -1), tokens], dim=1)
        return {"tokens": tokens, **self._layers[0].begin(tokens)}

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        x, begun = self._begin(state, candidate, ragged)
        for place, layer in enumerate(self._layers):
            x = layer(x, begun if place == 0 else [layer.begin(x)])
        return self.towers(self.final_norm(x[:, : self.num_tasks]))

    def _begin(
        self, state: State, candidate: Fields, ragged: Ragged
    ) -> tuple[Float[Tensor, "N M D"], tuple[State, State]]:
        """All tokens, and what the first layer gets from those of the request and from those of the candidate."""
        own = self.candidate_tokens(self._pooled.with_candidate(candidate, state, ragged))
        tokens = torch.cat([ragged.spread(state["tokens"]), own], dim=1)
        of_request = {name: ragged.spread(state[name]) for name in PROJECTIONS}
        return tokens, (of_request, self._layers[0].begin(own, self.num_before))

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of each candidate over each history, under `target_attention`; nothing where histories are averaged."""
        return self._pooled.maps(state, candidate, ragged)

    def updates(self, state: State, candidate: Fields, ragged: Ragged) -> list[Update]:
        """Of attention and network of each layer; in a pruned last layer, to the tokens of the tasks."""
        x, begun = self._begin(state, candidate, ragged)
        found: list[Update] = []
        for place, layer in enumerate(self._layers, 1):
            for name, step in zip(("attention", "ffn"), layer.steps(x, begun or [layer.begin(x)]), strict=True):
                before, added, x = step
                found.append(Update(name=f"layer {place} {name}", stream=before, added=added))
            begun = ()
        return found

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Attention over the histories, maps of fields, layers and towers."""
        cost = self._pooled.cost(lengths) + Cost(
            per_request=products(self.request_tokens),
            per_candidate=products(self.candidate_tokens) + products(self.towers),
        )
        first, *others = self._layers
        return sum((layer.cost() for layer in others), cost + first.cost(self.num_before))


def _build_projection(
    config: HiFormerConfig, num_tokens: int, num_outputs: int, width: int
) -> CompositeProjection | TokenProjection:
    if config.projection == "composite":
        return CompositeProjection(num_tokens, num_outputs, width, config.rank)
    return TokenProjection(num_outputs, width)


def _token_width(config: HiFormerConfig, fields: Layout) -> int:
    """Raises ConfigError for fields of several widths that are not mapped to one, and heads that do not divide it."""
    if config.token_dim is not None:
        return config.token_dim
    width = common_width(fields, "model.name 'hiformer' without a token_dim")
    if width % config.num_heads:
        raise ConfigError(
            f"Tokens of model.name 'hiformer' must be a multiple of model.num_heads wide; the fields are {width} wide, "
            f"num_heads is {config.num_heads}. Change model.num_heads or model.embedding_dim, or set model.token_dim."
        )
    return width


MODEL = ModelKind(
    config=HiFormerConfig,
    build=HiFormer,
    paper="arXiv 2311.05884",
    histories="read",
    space={
        "num_layers": Draw(integer=(1, 4)),
        "num_heads": Draw(choice=(1, 2, 4)),
        "rank": Draw(choice=(32, 64, 128)),
    },
)
