"""Settings of OneTrans, and which of them fit together."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, is_none
from hemix.models.histories import named_histories
from hemix.nn.towers import SharedBottomConfig, TowersConfig
from hemix.refine import RefineConfig

Count = Annotated[int, Field(ge=1)]
DEFAULT_TOKENS = 8


class OneTransConfig(Config):
    """Sizes of OneTrans; which of them are the paper's: docs/models/onetrans.md."""

    name: Literal["onetrans"] = "onetrans"
    embedding_dim: Count = 16
    """Width of every embedding whose feature sets no `dim`."""
    histories: tuple[str, ...] | None = None
    """Histories to read; None: all of the data."""
    separator: bool = True
    """Put a learned token between two histories."""
    position: Literal["none", "recency"] = "none"
    """`recency`: add a learned vector to every event and separator, by how many stand after it."""
    tokenizer: Literal["auto_split", "group"] = "auto_split"
    """Tokens of the features: from all of them by an MLP that is cut, or each from a group of its own."""
    num_tokens: Count | None = None
    """How many; None: as many as token_groups, or 8."""
    tokenizer_hidden: Count | None = None
    """Of `auto_split`: hidden width; None: twice its output, at most 4096."""
    token_groups: tuple[tuple[str, ...], ...] | None = None
    """Of `group`: names of the features of each token; None: the request's and the candidate's features, cut evenly and
    in turn."""
    token_dim: Count = 128
    num_heads: Count = 4
    num_blocks: Count = 3
    ffn_expansion: Count = 4
    attention: Literal["causal", "full"] = "causal"
    """`full`: events see later events, and tokens of the features see later ones; events still see no feature."""
    shared_parameters: bool = False
    """Tokens of the features use the maps of the events, in place of their own."""
    pyramid: bool = True
    """From block to block fewer of the latest events ask and go on; false: all do."""
    pooling: Literal["flatten", "mean"] = "flatten"
    """What a tower reads: all tokens of the features side by side, or their mean."""
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the pooled tokens and the tasks."""
    tower_hidden: tuple[Count, ...] = (128, 64)
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "OneTransConfig":
        if self.token_dim % self.num_heads:
            raise ValueError(
                f"token_dim must be a multiple of num_heads; token_dim is {self.token_dim}, num_heads is "
                f"{self.num_heads}"
            )
        return self

    @model_validator(mode="after")
    def _settings_belong_to_the_tokenizer(self) -> "OneTransConfig":
        for key, owner in (("token_groups", "group"), ("tokenizer_hidden", "auto_split")):
            if getattr(self, key) is not None and self.tokenizer != owner:
                raise ValueError(f"{key} belongs to tokenizer {owner!r}; tokenizer is {self.tokenizer!r}: change one")
        if self.token_groups is not None and self.num_tokens not in (None, len(self.token_groups)):
            raise ValueError(
                f"there is one token per group: num_tokens is {self.num_tokens}, token_groups has "
                f"{len(self.token_groups)}; leave num_tokens out"
            )
        return self

    @property
    def feature_tokens(self) -> int:
        """How many tokens the tokenizer makes."""
        if self.token_groups is not None:
            return len(self.token_groups)
        return self.num_tokens or DEFAULT_TOKENS

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads. Raises ConfigError for one that the data does not have."""
        return named_histories(inputs, self.histories)
