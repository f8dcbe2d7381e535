"""What the DCN family has in common: a cross network alone, in front of a deep network, or beside it.

cross:     logits = W cross(x) + b
stacked:   logits = W MLP(cross(x)) + b
parallel:  logits = W [cross(x) ; MLP(x)] + b                      x: all fields side by side
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from hemix.config import check_read
from hemix.models.flat import DeepConfig, FieldModel
from hemix.nn.deep import DeepNetwork
from hemix.nn.fields import Fields, Layout


class CrossingConfig(DeepConfig):
    """Sizes of a cross network and the deep network that it stands with."""

    structure: Literal["cross", "stacked", "parallel"] = "parallel"
    """The cross network alone, in front of the deep network, or beside it."""
    num_layers: Annotated[int, Field(ge=1)] = 3
    """Of the cross network: after l layers products of up to l + 1 fields are there."""

    @model_validator(mode="after")
    def _settings_are_read(self) -> "CrossingConfig":
        if self.structure == "cross":
            check_read(self, "structure", "hidden", "dropout", "batch_norm")
        return self


class CrossingModel(FieldModel):
    """`cross` keeps the width of its input. Only `parallel` has two streams."""

    def __init__(self, config: CrossingConfig, cross: nn.Module, layout: Layout, num_tasks: int) -> None:
        super().__init__()
        self.streams = ("cross", "deep") if config.structure == "parallel" else ("fields",)
        self.cross = cross
        width = layout.width
        self.deep = None
        if config.structure != "cross":
            self.deep = DeepNetwork(width, config.hidden, dropout=config.dropout, batch_norm=config.batch_norm)
            width = self.deep.width + (width if config.structure == "parallel" else 0)
        self.head = nn.Linear(width, num_tasks)

    def forward(self, fields: Mapping[str, Fields]) -> Float[Tensor, "N K"]:
        crossed = self.cross(fields[self.streams[0]].values)
        if self.deep is None:
            return self.head(crossed)
        if self.streams == ("fields",):
            return self.head(self.deep(crossed))
        return self.head(torch.cat([crossed, self.deep(fields["deep"].values)], dim=1))
