"""Settings of InterFormer."""

from typing import Annotated, Literal

from pydantic import Field

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, is_none
from hemix.models.histories import named_histories
from hemix.nn.activation import Activation
from hemix.nn.towers import SharedBottomConfig, TowersConfig
from hemix.refine import RefineConfig

Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Gating = Literal["product", "literal", "swish", "none"]
InteractionKind = Literal["dot", "dcnv2", "dhen"]


class InterFormerConfig(Config):
    """Sizes and switches of InterFormer; which of them are the paper's: docs/models/interformer.md."""

    name: Literal["interformer"] = "interformer"
    embedding_dim: Count = 16
    """Width d of every embedding and token; a feature's `dim` must be the same or unset."""
    histories: tuple[str, ...] | None = None
    """Histories to read; None: all of the data."""
    fusion: Literal["masknet", "merge"] = "masknet"
    """Several histories: side by side, the latest events of all in one place (the paper), or one behind the other."""
    num_layers: Count = 2
    num_summaries: Count = 4
    """Tokens of the summary of the non-sequence side; as many stand in front of the events (CLS)."""
    num_pooled: CountOrNone = 2
    """Learned queries over the sequence (PMA) in its summary."""
    num_recent: CountOrNone = 2
    """Latest events in the summary of the sequence."""
    num_heads: Count = 2
    """Of both attentions."""
    interaction: InteractionKind = "dhen"
    """How non-sequence tokens meet each other and the summary of the sequence; `dhen`: an ensemble of both others."""
    interaction_hidden: Annotated[tuple[Count, ...], Field(min_length=1)] = (256,)
    """Widths of the networks inside an interaction."""
    dhen_layers: Count = 1
    """Of `dhen`, inside each layer of the model."""
    cross_layers: Count = 2
    """Cross layers of `dcnv2`, alone or in the ensemble."""
    cross_rank: Count = 32
    """Rank of their matrices."""
    flow: Literal["both", "n2s", "s2n", "sep", "sole"] = "both"
    """What is exchanged: both summaries, that of the non-sequence side alone, that of the sequence alone, none before
    the head; `sole`: no sequence network, the mean of the events is one more token."""
    aggregation: Literal["selective", "mean", "mlp", "attention"] = "selective"
    """Summary of the sequence: CLS, PMA and recent tokens; the mean of the events; linear maps over the places of
    events; or learned queries alone, as many as the selective one has tokens."""
    gating: Gating = "product"
    """Of summaries z: z * sigmoid(W z), the printed sigmoid(z * W z), silu(z * W z), or none."""
    personal: Literal["linear", "mlp", "none"] = "linear"
    """PFFN: the map of events is linear in the summary (appendix of the paper), made by a network of one hidden layer,
    or left out."""
    self_attention: bool = True
    """MHA among the events."""
    residual: bool = True
    """Pre-norm and residual around PFFN and MHA; false: neither, as printed."""
    hidden: tuple[Count, ...] = Field(default=(256, 128), min_length=1)
    """Widths of the classifier's hidden layers."""
    activation: Activation = "swish"
    """Of the classifier and the networks inside an interaction."""
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the classifier and the tasks."""
    tower_hidden: tuple[Count, ...] = ()
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    @property
    def guides_events(self) -> bool:
        """Whether the non-sequence side reaches the sequence."""
        return self.flow in ("both", "n2s")

    @property
    def guides_fields(self) -> bool:
        """Whether the sequence reaches the non-sequence side before the head."""
        return self.flow in ("both", "s2n")

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads. Raises ConfigError for one that the data does not have."""
        return named_histories(inputs, self.histories)
