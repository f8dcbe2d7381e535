"""Settings of InterFormer, and which of them fit together."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, check_read, is_none
from hemix.models.histories import named_histories
from hemix.nn.towers import SharedBottomConfig, TowersConfig
from hemix.refine import RefineConfig

Count = Annotated[int, Field(ge=1)]
CountOrNone = Annotated[int, Field(ge=0)]
Gating = Literal["product", "literal", "swish", "none"]
InteractionKind = Literal["dot", "dcnv2", "dhen"]
SEQUENCE = ("aggregation", "num_pooled", "num_recent", "num_heads", "personal", "self_attention", "residual")
"""Settings of the sequence network and its summaries."""


class InterFormerConfig(Config):
    """Sizes and switches of InterFormer; which of them are the paper's: docs/models/interformer.md.

    A setting that nothing reads, beside the others, must have its default.
    """

    name: Literal["interformer"] = "interformer"
    embedding_dim: Count = 16
    """Width of every embedding whose feature sets no `dim`; those of request and candidate must have one width d."""
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
    activation: Literal["relu", "prelu", "swish"] = "swish"
    """Of the classifier and the networks inside an interaction. Not Dice: its statistics are of a whole batch, and rows
    are worked on in chunks of like length."""
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the classifier and the tasks."""
    tower_hidden: tuple[Count, ...] = ()
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    @model_validator(mode="after")
    def _settings_are_read(self) -> "InterFormerConfig":
        if self.histories == ():
            check_read(self, "histories", "fusion", "flow", *SEQUENCE)
        if self.flow == "sole":
            check_read(self, "flow", *SEQUENCE)
        if self.aggregation == "mean":
            check_read(self, "aggregation", "num_pooled", "num_recent")
        if self.interaction == "dot":
            check_read(self, "interaction", "cross_layers", "cross_rank", "dhen_layers")
        if self.interaction == "dcnv2":
            check_read(self, "interaction", "dhen_layers")
        if self.personal == "mlp" and not self.guides_events:
            raise ValueError(
                f"personal 'mlp' needs a summary of the fields that reaches the events; flow is {self.flow!r}: leave "
                "personal out, or change flow to 'both' or 'n2s'"
            )
        return self

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
