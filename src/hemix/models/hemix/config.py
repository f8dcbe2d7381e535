"""Settings of HeMix, its presets, and which of its settings fit together."""

from typing import Annotated, Any, Literal, get_args

from pydantic import Field, model_validator

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, is_none
from hemix.models.histories import find_history
from hemix.nn.mixing import MixerKind
from hemix.nn.norm import NormKind
from hemix.nn.token_ffn import FFNKind
from hemix.nn.tokenizers import check_groups
from hemix.nn.towers import SharedBottomConfig, TowersConfig
from hemix.refine import RefineConfig

MAX_POST_NORM_BLOCKS = 3
Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
PresetName = Literal["tiny", "public", "unirank", "small", "mid", "large"]


def _sizes(queries: int, width: int, blocks: int, heads: int, rank: int, attention_heads: int) -> dict[str, Any]:
    kinds = ("num_dynamic_global", "num_dynamic_real_time", "num_fixed_global", "num_fixed_real_time")
    return {
        **dict.fromkeys(kinds, queries),
        "token_dim": width,
        "num_attention_heads": attention_heads,
        "num_blocks": blocks,
        "num_mixing_heads": heads,
        "mixing_rank": rank,
    }


PRESET_VALUES: dict[str, dict[str, Any]] = {
    "tiny": {**_sizes(2, 32, 2, 4, 16, 4), "ffn_expansion": 2, "tower_hidden": (64, 32)},
    "public": _sizes(4, 128, 3, 4, 32, 4),
    "unirank": {
        **_sizes(2, 256, 3, 2, 16, 2),
        "tokenizer": "per_token_linear",
        "event_projection": "shared",
        "attention_norm": False,
        "empty_history": "zero",
        "norm_position": "pre",
        "norm": "layer_norm",
        "final_norm": False,
    },
    "small": _sizes(4, 512, 2, 8, 64, 8),
    "mid": _sizes(4, 768, 4, 8, 96, 8),
    "large": _sizes(4, 1024, 7, 8, 128, 8),
}
"""What a preset sets; all the rest has its default."""
assert set(PRESET_VALUES) == set(get_args(PresetName))


class HeMixConfig(Config):
    """Sizes and switches of HeMix; the defaults are the `public` preset. Evidence for each: docs/models/hemix.md."""

    name: Literal["hemix"] = "hemix"
    preset: PresetName | None = Field(default=None, exclude=True)
    """Sizes by name, for all that is not set here. They replace the name: a resolved configuration has no preset."""
    embedding_dim: Count = 16
    """Width of every embedding whose feature sets no `dim`."""
    global_history: str | None = "global"
    """The long-term history; null: the model has none."""
    real_time_history: str | None = "real_time"
    """The history of today, or of the last events; null: the model has none."""
    merge_histories: bool = False
    """Put both histories into one sequence, which all queries attend to."""
    num_tokens: Count | None = None
    """Tokens of the features; all enter the mixer, whether they query or not. None: as many as dynamic queries, or as
    token_groups."""
    num_dynamic_global: CountOrNone = 4
    """So many of the first tokens query the global history."""
    num_dynamic_real_time: CountOrNone = 4
    """So many of the last tokens query the real-time history."""
    num_fixed_global: CountOrNone = 4
    """Learned queries, the same for every request, over the global history."""
    num_fixed_real_time: CountOrNone = 4
    user_only_dynamic: bool = False
    """Dynamic queries see the request's features only: attention is computed once per request."""
    query_residual: bool = False
    """Add each query to its answer."""
    attention_norm: bool = True
    """Norms on queries and events in front of the attention."""
    empty_history: Literal["learned", "zero"] = "learned"
    """What queries get from a history without events."""
    event_projection: Literal["per_history", "shared"] = "per_history"
    """`shared`: one map for the events of both histories, which must have the same fields."""
    token_dim: Count = 128
    num_attention_heads: Count = 4
    history_crosses: bool = False
    """Give the tokenizer the products of the candidate's fields with their mean over each history: explicit matches."""
    tokenizer: Literal["auto_split_mlp", "per_token_linear", "semantic_group"] = "auto_split_mlp"
    """From all features by an MLP that is cut, by a linear map per token, or each token from features of its own."""
    tokenizer_hidden: Count | None = None
    """Of `auto_split_mlp`: hidden width; None: twice its output, at most 4096."""
    token_groups: tuple[tuple[str, ...], ...] | None = None
    """Of `semantic_group`: names of the features of each token; None: the request's and the candidate's features, cut
    evenly and in turn."""
    num_blocks: Count = 3
    mixer: MixerKind = "hetero"
    """How tokens learn from each other; `identity`: not at all."""
    num_mixing_heads: Count = 4
    """Of `hetero` and `self_attention`."""
    mixing_rank: Count = 32
    """Of `hetero`."""
    ffn: FFNKind = "per_token"
    ffn_expansion: Count = 4
    norm_position: Literal["auto", "post", "pre"] = "auto"
    """`auto`: post up to 3 blocks, pre (and one final norm) above."""
    norm: Literal["auto", "layer_norm", "rms_norm"] = "auto"
    """`auto`: layer_norm where norms are post, rms_norm where they are pre."""
    final_norm: bool | None = None
    """A norm after the last block; None: where norms are pre."""
    pooling: Literal["mean", "flatten", "task_token"] = "mean"
    """What a tower reads: the mean of all tokens, all of them, or a learned token of its task that was mixed in."""
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the pooled tokens and the tasks."""
    tower_hidden: tuple[Count, ...] = (128, 64)
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    @model_validator(mode="before")
    @classmethod
    def _fill_in_preset(cls, values: Any) -> Any:
        preset = values.get("preset") if isinstance(values, dict) else None
        if not isinstance(preset, str) or preset not in PRESET_VALUES:
            return values
        given = {key: value for key, value in values.items() if key != "preset"}
        return {**PRESET_VALUES[preset], **given}

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "HeMixConfig":
        heads = {"num_attention_heads": self.num_attention_heads}
        if self.mixer in ("hetero", "self_attention"):
            heads["num_mixing_heads"] = self.num_mixing_heads
        for key, count in heads.items():
            if self.token_dim % count:
                raise ValueError(
                    f"token_dim must be a multiple of {key}; token_dim is {self.token_dim}, {key} is {count}"
                )
        return self

    @model_validator(mode="after")
    def _histories_are_queried(self) -> "HeMixConfig":
        if self.global_history is not None and self.global_history == self.real_time_history:
            raise ValueError(
                f"global_history and real_time_history are both {self.global_history!r}; set one of them to null"
            )
        for key, history, dynamic, fixed in (
            ("global", self.global_history, self.num_dynamic_global, self.num_fixed_global),
            ("real_time", self.real_time_history, self.num_dynamic_real_time, self.num_fixed_real_time),
        ):
            if history is not None and dynamic + fixed == 0:
                raise ValueError(
                    f"a history that is read needs a query; num_dynamic_{key} and num_fixed_{key} are both 0: set one "
                    f"of them, or {key}_history to null"
                )
        if self.merge_histories and (self.global_history is None or self.real_time_history is None):
            missing = "global_history" if self.global_history is None else "real_time_history"
            raise ValueError(f"merge_histories needs two histories, and {missing} is null; name it, or do not merge")
        return self

    @model_validator(mode="after")
    def _refined_fields_are_the_candidates(self) -> "HeMixConfig":
        if self.refine is not None and self.user_only_dynamic:
            raise ValueError(
                "user_only_dynamic makes queries of the request's fields alone, and refine mixes them with the "
                "candidate's; set one of them to false or null"
            )
        return self

    @model_validator(mode="after")
    def _tokens_are_enough(self) -> "HeMixConfig":
        check_groups(self.token_groups, self.num_tokens, self.tokenizer)
        num_dynamic = (self.num_dynamic_global, self.num_dynamic_real_time)
        if self.token_groups is None and self.num_tokens is None and 0 in num_dynamic:
            raise ValueError(
                "where a num_dynamic is 0, set num_tokens: how many tokens of the features enter the mixer does not "
                "follow from the queries then"
            )
        most = max(num_dynamic)
        if most > self.feature_tokens:
            raise ValueError(
                f"a dynamic query is a token of the features: {most} are asked for, there are "
                f"{self.feature_tokens} tokens; lower num_dynamic_global and num_dynamic_real_time, or raise num_tokens"
            )
        return self

    @model_validator(mode="after")
    def _switches_do_something(self) -> "HeMixConfig":
        if self.pooling == "task_token" and self.mixer == "identity":
            raise ValueError(
                "a task token reads the features through the mixer; with mixer 'identity' it would see nothing: "
                "set pooling to mean or flatten, or another mixer"
            )
        if self.pooling == "task_token" and not isinstance(self.towers, SharedBottomConfig):
            raise ValueError(
                f"towers {self.towers.name!r} are experts over one vector; with pooling 'task_token' each task has a "
                "vector of its own: set towers to shared_bottom, or pooling to mean or flatten"
            )
        if self.history_crosses and self.global_history is None and self.real_time_history is None:
            raise ValueError("history_crosses needs a history, and both are null; name one, or set it to false")
        if self.user_only_dynamic and not self.num_dynamic_global + self.num_dynamic_real_time:
            raise ValueError("user_only_dynamic is about dynamic queries, and there are none; set it to false")
        return self

    @property
    def feature_tokens(self) -> int:
        """How many tokens the tokenizer makes."""
        if self.token_groups is not None:
            return len(self.token_groups)
        return self.num_tokens or self.num_dynamic_global + self.num_dynamic_real_time

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

    @property
    def has_final_norm(self) -> bool:
        return self.pre_norm if self.final_norm is None else self.final_norm

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads. Raises ConfigError for one that the data does not have."""
        named = (("model.global_history", self.global_history), ("model.real_time_history", self.real_time_history))
        return tuple(find_history(inputs, name, key) for key, name in named if name is not None)


PRESETS = {name: HeMixConfig.model_validate(values) for name, values in PRESET_VALUES.items()}
"""Configurations by name, from 0.15 M to 1.5 G parameters beside tokenizer and towers."""
