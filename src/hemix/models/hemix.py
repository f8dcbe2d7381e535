"""HeMix: mixed queries over a global and a real-time history, then HeteroMixer blocks (https://arxiv.org/abs/2602.09387).

    NS     = LN(W2 relu(W1 [request ; candidate] + b1) + b2)        M = N_G + N_R tokens: interact, then split
    T_s    = softmax(norm([NS_s ; P_s]) Wq (S_s Wk)^T) S_s Wv Wo    s in {G, R}: dynamic queries NS_s, fixed ones P_s
    X      = [T_R ; T_G ; NS]
    X     <- AddNorm(X, unfuse(relu(fuse(X)_m WL_m + bL_m) WR_m + bR_m))    HeteroMixing: one map per head m
    X     <- AddNorm(X, gelu(X_t W1_t + b1_t) W2_t + b2_t)                  HeteroFFN: one per token t
    logits = tower_k(mean_t X)                                              or behind experts: nn/towers.py

Keys, values and the outputs of the fixed queries depend on a history alone, the request's part of W1 on the request
alone: each is computed once per request. What is the paper's, what is read from others and what is filled in:
docs/models/hemix.md. Parity test: tests/parity/test_hemix.py.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config
from hemix.models.backbone import AttentionMap, Update
from hemix.models.histories import find_history, prefixed, under
from hemix.nn.attention import event_weights, over_candidates, over_events, split_heads
from hemix.nn.fields import Fields, Layouts, State
from hemix.nn.grouped_linear import GroupedLinear
from hemix.nn.mlp import SplitLinear
from hemix.nn.norm import NormKind, PerTokenLayerNorm, build_norm
from hemix.nn.ragged import Ragged
from hemix.nn.towers import SharedBottomConfig, TowersConfig, build_towers

MAX_TOKENIZER_HIDDEN = 4096
MAX_POST_NORM_BLOCKS = 3
SMALL_STD = 0.02
"""Of fixed queries, empty answers and the second maps of mixing and FFN, so that a block starts near the identity."""

Count = Annotated[int, Field(ge=1)]


class HeMixConfig(Config):
    """Sizes of HeMix; the defaults are the `public` preset."""

    name: Literal["hemix"] = "hemix"
    embedding_dim: Count = 16
    """Width of every embedding whose feature sets no `dim`."""
    global_history: str | None = "global"
    """The long-term history; null: the model has none."""
    real_time_history: str | None = "real_time"
    """The history of today, or of the last events; null: the model has none."""
    num_dynamic_global: Count = 4
    """Tokens of the features that query the global history."""
    num_dynamic_real_time: Count = 4
    num_fixed_global: Count = 4
    """Learned queries, the same for every request, over the global history."""
    num_fixed_real_time: Count = 4
    token_dim: Count = 128
    num_attention_heads: Count = 4
    num_blocks: Count = 3
    num_mixing_heads: Count = 4
    mixing_rank: Count = 32
    ffn_expansion: Count = 4
    tokenizer_hidden: Count | None = None
    """Hidden width of the tokenizer; None: twice its output, at most 4096."""
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the pooled tokens and the tasks."""
    tower_hidden: tuple[Count, ...] = (128, 64)
    """Widths of the hidden layers of each task's own tower."""
    norm_position: Literal["auto", "post", "pre"] = "auto"
    """`auto`: post up to 3 blocks, pre (and one final norm) above."""
    norm: Literal["auto", "layer_norm", "rms_norm"] = "auto"
    """`auto`: layer_norm where norms are post, rms_norm where they are pre."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "HeMixConfig":
        heads = {"num_attention_heads": self.num_attention_heads, "num_mixing_heads": self.num_mixing_heads}
        for key, count in heads.items():
            if self.token_dim % count:
                raise ValueError(
                    f"token_dim must be a multiple of {key}; token_dim is {self.token_dim}, {key} is {count}"
                )
        if self.global_history is not None and self.global_history == self.real_time_history:
            raise ValueError(
                f"global_history and real_time_history are both {self.global_history!r}; set one of them to null"
            )
        return self

    @property
    def pre_norm(self) -> bool:
        if self.norm_position == "auto":
            return self.num_blocks > MAX_POST_NORM_BLOCKS
        return self.norm_position == "pre"

    @property
    def norm_kind(self) -> NormKind:
        if self.norm == "auto":
            return "rms_norm" if self.pre_norm else "layer_norm"
        return self.norm

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads. Raises ConfigError for one that the data does not have."""
        named = (("model.global_history", self.global_history), ("model.real_time_history", self.real_time_history))
        return tuple(find_history(inputs, name, key) for key, name in named if name is not None)


PRESETS = {
    "tiny": HeMixConfig(
        num_dynamic_global=2,
        num_dynamic_real_time=2,
        num_fixed_global=2,
        num_fixed_real_time=2,
        token_dim=32,
        num_blocks=2,
        mixing_rank=16,
        ffn_expansion=2,
        tower_hidden=(64, 32),
    ),
    "public": HeMixConfig(),
}
"""Sizes by name: 0.1 M and 10 M dense parameters beside tokenizer and towers."""


class HeMix(nn.Module):
    """Backbone: tokenizer, mixed queries over one or two histories, HeteroMixer blocks, mean pooling, task towers."""

    def __init__(self, config: HeMixConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        self._split = (config.num_dynamic_global, config.num_dynamic_real_time)
        num_tokens = sum(self._split)
        self.tokenizer = Tokenizer(layouts, num_tokens, config)
        self._history = {"global": config.global_history, "real_time": config.real_time_history}
        self._queries: dict[str, MixedQueries] = {}
        for group, dynamic, fixed in (
            ("global", config.num_dynamic_global, config.num_fixed_global),
            ("real_time", config.num_dynamic_real_time, config.num_fixed_real_time),
        ):
            name = self._history[group]
            if name is not None:
                self._queries[group] = MixedQueries(layouts.histories[name].width, dynamic, fixed, config)
                num_tokens += dynamic + fixed
        self.queries = nn.ModuleDict(self._queries)
        self._blocks = [HeteroMixer(num_tokens, config) for _ in range(config.num_blocks)]
        self.blocks = nn.ModuleList(self._blocks)
        self.final_norm = build_norm(config.norm_kind, config.token_dim) if config.pre_norm else nn.Identity()
        self.towers = build_towers(config.towers, config.token_dim, config.tower_hidden, len(inputs.tasks))

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        group = next(group for group, history in self._history.items() if history == name)
        return prefixed(name, self._queries[group].encode(events.values, attended))

    def encode_request(self, request: Fields, histories: State) -> State:
        return {"tokenizer": self.tokenizer.first.request(request.values)}

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        x = self.mixer_input(state, candidate, ragged)
        for block in self.blocks:
            x = block(x)
        return self.towers(self.final_norm(x).mean(dim=1))

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of the dynamic and the fixed queries over each history."""
        of_group = self._split_tokens(state, candidate, ragged)
        maps = []
        for group, queries in self._queries.items():
            name = self._history[group] or ""
            maps += queries.look(name, of_group[group], under(name, state), ragged)
        return maps

    def updates(self, state: State, candidate: Fields, ragged: Ragged) -> list[Update]:
        """Of mixing and FFN of each block."""
        x, found = self.mixer_input(state, candidate, ragged), []
        for place, block in enumerate(self._blocks, 1):
            for name, part, norm in block.parts():
                added, after = block.add(x, part, norm)
                found.append(Update(name=f"block {place} {name}", stream=x, added=added))
                x = after
        return found

    def _split_tokens(self, state: State, candidate: Fields, ragged: Ragged) -> dict[str, Tensor]:
        """The feature tokens, by the history that they query."""
        tokens = self.tokenizer(candidate.values, ragged.spread(state["tokenizer"]))
        return dict(zip(("global", "real_time"), tokens.split(self._split, dim=1), strict=True))

    def mixer_input(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N M D"]:
        """[T_R ; T_G ; NS], in each T the dynamic rows before the fixed ones."""
        of_group = self._split_tokens(state, candidate, ragged)
        parts = []
        for group in ("real_time", "global"):
            name = self._history[group]
            if name is not None:
                encoded = under(name, state)
                parts += [self._queries[group](of_group[group], encoded, ragged), ragged.spread(encoded["fixed"])]
        return torch.cat([*parts, *of_group.values()], dim=1)


class Tokenizer(nn.Module):
    """Interact, then split: an MLP over all fields of request and candidate, cut into M tokens."""

    def __init__(self, layouts: Layouts, num_tokens: int, config: HeMixConfig) -> None:
        super().__init__()
        width = num_tokens * config.token_dim
        hidden = config.tokenizer_hidden or min(2 * width, MAX_TOKENIZER_HIDDEN)
        self.num_tokens = num_tokens
        self.first = SplitLinear(layouts.request.width, layouts.candidate.width, hidden)
        self.second = nn.Linear(hidden, width)
        self.norm = PerTokenLayerNorm(num_tokens, config.token_dim)
        _start_without_bias(self.first.linear, self.second)

    def forward(self, candidate: Float[Tensor, "N W"], of_request: Float[Tensor, "N I"]) -> Float[Tensor, "N M D"]:
        hidden = torch.relu(self.first.candidate(candidate, of_request))
        return self.norm(self.second(hidden).unflatten(1, (self.num_tokens, -1)))


def _start_without_bias(*layers: nn.Linear) -> None:
    """A norm follows: with torch's random bias it would, at first, see little but that, the same in every row."""
    for layer in layers:
        nn.init.zeros_(layer.bias)


class MixedQueries(nn.Module):
    """Attention of dynamic and fixed queries over one history: a query map per slot; shared key, value, output maps.

    A request without events gets a learned vector per slot.
    """

    def __init__(self, event_width: int, num_dynamic: int, num_fixed: int, config: HeMixConfig) -> None:
        super().__init__()
        width = config.token_dim
        self.num_heads = config.num_attention_heads
        self.num_dynamic = num_dynamic
        self.events = nn.Linear(event_width, width)
        _start_without_bias(self.events)
        self.event_norm = build_norm(config.norm_kind, width)
        self.query_norm = build_norm(config.norm_kind, width)
        self.dynamic_query = GroupedLinear(num_dynamic, width, width, bias=False)
        self.fixed_query = GroupedLinear(num_fixed, width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        self.fixed = nn.Parameter(torch.empty(num_fixed, width).normal_(std=SMALL_STD))
        self.empty = nn.Parameter(torch.empty(num_dynamic + num_fixed, width).normal_(std=SMALL_STD))

    def encode(self, events: Float[Tensor, "R T E"], attended: Bool[Tensor, "R T"]) -> State:
        """Keys and values by head, which events are there, and the answers to the fixed queries (R, F, d)."""
        sequence = self.event_norm(self.events(events))
        keys = split_heads(self.key(sequence), self.num_heads)
        values = split_heads(self.value(sequence), self.num_heads)
        queries = self._fixed_queries().expand(len(events), -1, -1)
        present = attended.any(dim=1)
        empty = self.empty[self.num_dynamic :]
        if events.shape[1] == 0:
            fixed = empty.expand(len(events), -1, -1)
        else:
            found = over_events(queries, keys, values, _finite(attended, present))
            fixed = torch.where(present[:, None, None], self.output(found), empty)
        return {"keys": keys, "values": values, "attended": attended, "fixed": fixed}

    def forward(self, tokens: Float[Tensor, "N Q D"], encoded: State, ragged: Ragged) -> Float[Tensor, "N Q D"]:
        """Answers to the dynamic queries of each candidate."""
        empty = self.empty[: self.num_dynamic]
        attended = encoded["attended"]
        if attended.shape[1] == 0:
            return empty.expand(len(tokens), -1, -1)
        queries = self._dynamic_queries(tokens)
        present = attended.any(dim=1)
        found = over_candidates(queries, encoded["keys"], encoded["values"], _finite(attended, present), ragged)
        return torch.where(ragged.spread(present)[:, None, None], self.output(found), empty)

    def look(self, name: str, tokens: Float[Tensor, "N Q D"], encoded: State, ragged: Ragged) -> list[AttentionMap]:
        """Weights and answers of the dynamic and of the fixed queries over the history `name`."""
        keys, attended = encoded["keys"], encoded["attended"]
        fixed = self._fixed_queries()
        of_fixed = event_weights(fixed.expand(len(keys), -1, -1), keys, attended)
        of_dynamic = event_weights(self._dynamic_queries(tokens), ragged.spread(keys), ragged.spread(attended))
        dynamic_answers, fixed_answers = self(tokens, encoded, ragged), ragged.spread(encoded["fixed"])
        return [
            AttentionMap(
                history=name, kind="dynamic", weights=of_dynamic, adds_to_one=True, answers=dynamic_answers
            ),
            AttentionMap(
                history=name, kind="fixed", weights=ragged.spread(of_fixed), adds_to_one=True,
                answers=fixed_answers, queries=fixed[0],
            ),
        ]  # fmt: skip

    def _fixed_queries(self) -> Float[Tensor, "1 F D"]:
        return self.fixed_query(self.query_norm(self.fixed)[:, None]).transpose(0, 1)

    def _dynamic_queries(self, tokens: Float[Tensor, "N Q D"]) -> Float[Tensor, "N Q D"]:
        return self.dynamic_query(self.query_norm(tokens).transpose(0, 1)).transpose(0, 1)


def _finite(attended: Bool[Tensor, "R T"], present: Bool[Tensor, " R"]) -> Bool[Tensor, "R T"]:
    """Let requests without events attend to their padding: the softmax stays finite, its result is replaced."""
    return attended | ~present[:, None]


class HeteroMixer(nn.Module):
    """One block: HeteroMixing and HeteroFFN, each with a residual and a norm after (post) or before it (pre)."""

    def __init__(self, num_tokens: int, config: HeMixConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.mixing = HeteroMixing(num_tokens, config.token_dim, config.num_mixing_heads, config.mixing_rank)
        self.ffn = HeteroFFN(num_tokens, config.token_dim, config.ffn_expansion)
        self.mixing_norm = build_norm(config.norm_kind, config.token_dim)
        self.ffn_norm = build_norm(config.norm_kind, config.token_dim)

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        for _, part, norm in self.parts():
            _, x = self.add(x, part, norm)
        return x

    def parts(self) -> tuple[tuple[str, nn.Module, nn.Module], ...]:
        """Name, map and norm of what the block adds, in order."""
        return ("mixing", self.mixing, self.mixing_norm), ("ffn", self.ffn, self.ffn_norm)

    def add(
        self, x: Float[Tensor, "N M D"], part: nn.Module, norm: nn.Module
    ) -> tuple[Float[Tensor, "N M D"], Float[Tensor, "N M D"]]:
        """What `part` adds to the tokens, and the tokens afterwards."""
        added = part(norm(x)) if self.pre_norm else part(x)
        return added, x + added if self.pre_norm else norm(x + added)


class HeteroMixing(nn.Module):
    """Fuse the tokens head by head, map each head with its own low-rank pair, and put the slices back."""

    def __init__(self, num_tokens: int, width: int, num_heads: int, rank: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        fused = num_tokens * width // num_heads
        self.reduce = GroupedLinear(num_heads, fused, rank)
        self.expand = GroupedLinear(num_heads, rank, fused, std=SMALL_STD)

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        mixed = self.expand(torch.relu(self.reduce(fuse(x, self.num_heads))))
        return unfuse(mixed, x.shape[1])


def fuse(x: Float[Tensor, "N M D"], num_heads: int) -> Float[Tensor, "H N W"]:
    """Head h holds the h-th slices of all M tokens, side by side: W = M d / H."""
    return x.unflatten(2, (num_heads, -1)).permute(2, 0, 1, 3).flatten(2)


def unfuse(fused: Float[Tensor, "H N W"], num_tokens: int) -> Float[Tensor, "N M D"]:
    """The inverse of `fuse`: each slice back to its token and place."""
    return fused.unflatten(2, (num_tokens, -1)).permute(1, 2, 0, 3).flatten(2)


class HeteroFFN(nn.Module):
    """A two-layer GELU network of its own for each token."""

    def __init__(self, num_tokens: int, width: int, expansion: int) -> None:
        super().__init__()
        self.up = GroupedLinear(num_tokens, width, expansion * width)
        self.down = GroupedLinear(num_tokens, expansion * width, width, std=SMALL_STD)

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        return self.down(F.gelu(self.up(x.transpose(0, 1)))).transpose(0, 1)
