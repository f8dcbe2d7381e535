"""RankMixer: tokens of features that trade slices, and a network per token (https://arxiv.org/abs/2507.15551).

    X      = LN_m(W_m e_m + b_m)                                         e_m: the fields of token m, m = 1 .. T
    S      = LN(X + Mix(X)),   Mix(X)_h = [X_1^(h) ; ... ; X_T^(h)]      X_t^(h): slice h of the T slices of token t
    X      = LN(S + PFFN(S)),  PFFN_t(s) = W2_t gelu(W1_t s + b1_t) + b2_t
    logits = towers(mean_t X)                                            behind L blocks; nn/towers.py

Histories are fields: models/pooled.py. Or each PFFN_t is a sparse mixture of experts: nn/token_experts.py.
Filled gaps and differences: docs/models/rankmixer.md. Parity test: tests/parity/test_rankmixer.py.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, check_read, is_none
from hemix.models.backbone import AttentionMap, ModelKind, Update, mixer_updates
from hemix.models.pooled import HistoryPooling, PooledHistories, pooled_histories
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layout, Layouts, State
from hemix.nn.mixer_block import MixerBlock
from hemix.nn.mixing import HeadMixing
from hemix.nn.norm import build_norm
from hemix.nn.ragged import Ragged
from hemix.nn.token_experts import ExpertsConfig, PerTokenExperts
from hemix.nn.token_ffn import PerTokenFFN
from hemix.nn.tokenizers import ChunkTokenizer, GroupTokenizer, check_groups, feature_groups
from hemix.nn.towers import SharedBottomConfig, TowersConfig, build_towers
from hemix.refine import RefineConfig
from hemix.search_space import Draw

Count = Annotated[int, Field(ge=1)]
DEFAULT_TOKENS = 8


class RankMixerConfig(Config):
    """Sizes of RankMixer; which of them are the paper's: docs/models/rankmixer.md."""

    name: Literal["rankmixer"] = "rankmixer"
    embedding_dim: Count = 16
    """Width of every embedding whose feature sets no `dim`."""
    histories: tuple[str, ...] | None = None
    """Histories to pool into fields; None: all of the data."""
    history_pooling: HistoryPooling = "target_attention"
    attention_hidden: tuple[Count, ...] = Field(default=(64,), min_length=1)
    """Of `target_attention`: widths of the activation unit's hidden layers."""
    tokenizer: Literal["semantic_group", "auto_split"] = "semantic_group"
    """Each token from features of its own, or from one of as many equal pieces of all features side by side."""
    num_tokens: Count | None = None
    """None: as many as token_groups; else 8, or one for each feature where there are fewer."""
    token_groups: tuple[tuple[str, ...], ...] | None = None
    """Of `semantic_group`: names of the features of each token, ``history.field`` for a pooled one; None: the request's
    and the candidate's features, cut evenly and in turn."""
    token_dim: Count = 128
    num_blocks: Count = 2
    ffn_expansion: Count = 4
    norm_position: Literal["post", "pre"] = "post"
    """`pre`: in front of each part of a block, and one more after the last block."""
    experts: ExpertsConfig | None = None
    """A sparse mixture of experts in place of each token's network; null: one network."""
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the mean of the tokens and the tasks."""
    tower_hidden: tuple[Count, ...] = (128, 64)
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    @model_validator(mode="after")
    def _groups_fit(self) -> "RankMixerConfig":
        check_groups(self.token_groups, self.num_tokens, self.tokenizer)
        return self

    @model_validator(mode="after")
    def _settings_are_read(self) -> "RankMixerConfig":
        if self.history_pooling == "mean":
            check_read(self, "history_pooling", "attention_hidden")
        return self

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads. Raises ConfigError for one that is missing or cannot be compared."""
        return pooled_histories(inputs, self.histories, self.history_pooling)


class RankMixer(nn.Module):
    """Backbone. What the tokenizer's maps do with the request's fields is computed once per request."""

    def __init__(self, config: RankMixerConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        self.config = config
        self._pooled = PooledHistories(
            config.history_pooling, inputs.histories, layouts.histories, config.attention_hidden
        )
        self.attention = nn.ModuleList(self._pooled.units.values())
        self.tokenizer = _build_tokenizer(
            config, layouts.request + self._pooled.of_request, layouts.candidate + self._pooled.of_candidate
        )
        self._blocks = [_build_block(config, self.tokenizer.num_tokens) for _ in range(config.num_blocks)]
        self.blocks = nn.ModuleList(self._blocks)
        pre_norm = config.norm_position == "pre"
        self.final_norm = build_norm("layer_norm", config.token_dim) if pre_norm else nn.Identity()
        self.towers = build_towers(config.towers, config.token_dim, config.tower_hidden, len(inputs.tasks))

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        return self._pooled.encode(name, events, attended)

    def encode_request(self, request: Fields, histories: State) -> State:
        return {"tokenizer": self.tokenizer.encode(self._pooled.with_request(request, histories))}

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        x = self.tokens(state, candidate, ragged)
        if self.training:
            self._draw_routers(x)
        for block in self._blocks:
            x = block(x)
        return self.towers(self.final_norm(x).mean(dim=1))

    def tokens(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N M D"]:
        """What enters the first block."""
        fields = self._pooled.with_candidate(candidate, state, ragged)
        return self.tokenizer(fields, ragged.spread(state["tokenizer"]))

    def _draw_routers(self, x: Float[Tensor, "N M D"]) -> None:
        """Half of the rows, by chance, take the routers of training: the loss is that of both, in the mean."""
        mixtures = [mixture for mixture in self._mixtures() if mixture.dense_router is not None]
        if mixtures:
            drawn = torch.rand(len(x), device=x.device) < 0.5
            for mixture in mixtures:
                mixture.dense_rows = drawn

    def _mixtures(self) -> list[PerTokenExperts]:
        return [block.ffn for block in self._blocks if isinstance(block.ffn, PerTokenExperts)]

    def penalty(self) -> Float[Tensor, ""] | None:
        """Of the gates of all blocks, after a forward pass in training; None without experts, or in evaluation."""
        found = [penalty for mixture in self._mixtures() if (penalty := mixture.penalty()) is not None]
        return torch.stack(found).sum() if found else None

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of each candidate over each history, under `target_attention`; nothing where histories are averaged."""
        return self._pooled.maps(state, candidate, ragged)

    def updates(self, state: State, candidate: Fields, ragged: Ragged) -> list[Update]:
        """Of mixing and network of each block."""
        return mixer_updates(self.tokens(state, candidate, ragged), self._blocks)

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Attention over the histories, tokenizer, blocks and towers; experts as if every gate were open."""
        rest = sum(block.cost() for block in self._blocks) + products(self.towers)
        return self._pooled.cost(lengths) + self.tokenizer.cost() + Cost(per_candidate=rest)


def _build_tokenizer(config: RankMixerConfig, request: Layout, candidate: Layout) -> GroupTokenizer:
    num_tokens = config.num_tokens or min(DEFAULT_TOKENS, max(1, len((request + candidate).names)))
    if config.tokenizer == "auto_split":
        return ChunkTokenizer(request, candidate, num_tokens, config.token_dim)
    groups = feature_groups(config.token_groups, num_tokens, request, candidate)
    return GroupTokenizer(request, candidate, groups, config.token_dim)


def _build_block(config: RankMixerConfig, num_tokens: int) -> MixerBlock:
    width, expansion = config.token_dim, config.ffn_expansion
    if config.experts is None:
        ffn = PerTokenFFN(num_tokens, width, expansion)
    else:
        ffn = PerTokenExperts(config.experts, num_tokens, width, expansion)
    mixing = HeadMixing(num_tokens, width)
    return MixerBlock(mixing, ffn, width, "layer_norm", pre_norm=config.norm_position == "pre")


MODEL = ModelKind(
    config=RankMixerConfig,
    build=RankMixer,
    paper="arXiv 2507.15551",
    histories="read",
    space={
        "token_dim": Draw(choice=(64, 128, 256)),
        "num_blocks": Draw(integer=(1, 3)),
        "ffn_expansion": Draw(choice=(2, 4)),
    },
)
