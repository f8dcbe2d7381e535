"""Settings of LONGER, and which of them fit together."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, is_none
from hemix.errors import ConfigError
from hemix.models.histories import named_histories
from hemix.nn.towers import SharedBottomConfig, TowersConfig
from hemix.refine import RefineConfig

Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]


class LONGERConfig(Config):
    """Sizes and switches of LONGER. Evidence for each: docs/models/longer.md."""

    name: Literal["longer"] = "longer"
    embedding_dim: Count = 16
    """Width of every embedding whose feature sets no `dim`."""
    histories: tuple[str, ...] | None = None
    """Histories that make the sequence, the older before the recent; None: all of the data."""
    token_dim: Count = 128
    """Width of a token: that of `merge_size` events side by side."""
    num_heads: Count = 4
    merge_size: Count = 4
    """So many adjacent events become one token, counted from the newest backwards; 1: none are merged."""
    inner_layers: CountOrNone = 1
    """Layers of the transformer among the events of a group; 0: they are put side by side as they are.

    There are none under `merge_size` 1, whatever is set: a group is one event then, which would see itself alone.
    """
    query_kind: Literal["recent", "learnable"] = "recent"
    """What reads the sequence for the request: its newest tokens, or learned vectors in their place."""
    recent_queries: Count = 20
    """How many of these there are; of `recent`, all tokens where there are fewer."""
    num_layers: Count = 2
    """Layers of self-attention behind the first layer, which reads the whole sequence."""
    num_request_globals: CountOrNone = 2
    """Tokens made of the request's fields; there are none where it has no fields, as behind `refine`."""
    num_candidate_globals: Count = 2
    """Tokens made of the fields of request and candidate."""
    ffn_expansion: Count = 4
    pooling: Literal["concat", "mean"] = "concat"
    """What becomes of the candidate's tokens behind the last layer."""
    query_mean: bool = False
    """Read out the mean of the query tokens too, which is of the request."""
    hidden: tuple[Count, ...] = Field(default=(128, 64), min_length=1)
    """Widths of the hidden layers over all fields and what is read out."""
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the hidden layers and the tasks."""
    tower_hidden: tuple[Count, ...] = ()
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    @model_validator(mode="after")
    def _parts_divide_width(self) -> "LONGERConfig":
        for key, count in {"num_heads": self.num_heads, "merge_size": self.merge_size}.items():
            if self.token_dim % count:
                raise ValueError(
                    f"token_dim must be a multiple of {key}; token_dim is {self.token_dim}, {key} is {count}: "
                    "change one of them"
                )
        return self

    @property
    def event_dim(self) -> int:
        """Width of an event: a token is `merge_size` of them side by side."""
        return self.token_dim // self.merge_size

    @property
    def layers_in_group(self) -> int:
        """Layers among the events of a group: `inner_layers` where events are merged."""
        return self.inner_layers if self.merge_size > 1 else 0

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads. Raises ConfigError for one that is missing, and if there are none."""
        found = named_histories(inputs, self.histories)
        if not found:
            reason = "the data has none" if self.histories is None else "model.histories is empty"
            raise ConfigError(
                f"model.name 'longer' reads a history, and {reason}. Declare one under data.histories and read it, or "
                "choose a model of a row's fields."
            )
        return found
