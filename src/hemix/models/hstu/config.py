"""Settings of HSTU."""

from typing import Annotated, Literal

from pydantic import Field

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, is_none
from hemix.models.histories import named_histories, oldest_first
from hemix.nn.towers import SharedBottomConfig, TowersConfig
from hemix.refine import RefineConfig

Count = Annotated[int, Field(ge=1)]


class HSTUConfig(Config):
    """Sizes and switches of HSTU; which of them are the paper's: docs/models/hstu.md."""

    name: Literal["hstu"] = "hstu"
    embedding_dim: Count = 16
    """Width of every embedding whose feature sets no `dim`."""
    histories: tuple[str, ...] | None = None
    """Histories that make the sequence; None: all of the data. The older side of a cut comes before the recent one."""
    token_dim: Count = 64
    """Width of the tokens."""
    num_layers: Count = 2
    num_heads: Count = 2
    attention_dim: Count = 16
    """Width of queries and keys, of each head."""
    linear_dim: Count = 32
    """Width of values and gates, of each head."""
    position_bias: bool = True
    """A learned number for every distance between two places, in every layer."""
    time_bias: bool = True
    """A learned number for every order of magnitude of the time between two tokens, in every layer."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Of the gated answers, before the second linear map of a layer."""
    hidden: tuple[Count, ...] = (64,)
    """Widths of the hidden layers behind the candidate's last row."""
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the hidden layers and the tasks."""
    tower_hidden: tuple[Count, ...] = ()
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads, oldest first. Raises ConfigError for one that is missing."""
        return oldest_first(named_histories(inputs, self.histories))
