"""MaskNet: fields and hidden layers times a mask that the row itself makes (DLP-KDD 2021, arXiv 2102.07619).

    mask(x)     = W_2 relu(W_1 x + b_1) + b_2                     x: all fields side by side, as they are
    block(x, h) = relu(LN(W (h * mask(x))))                       W_1, b_1, W_2, b_2, W and LN of each block
    v           = [LN(x_1) ; .. ; LN(x_F)]                        each field with a scale and a shift of its own

    serial:     h_1 = block_1(x, v),  h_(i+1) = block_(i+1)(x, h_i),  logits = W h_B + b
    parallel:   logits = W MLP([block_1(x, v) ; .. ; block_B(x, v)]) + b           MLP: relu(W h + b) per layer

https://arxiv.org/abs/2102.07619. The first layer of a mask is `reduction` times as wide as what is masked. The paper
has one width for all fields; here they may differ.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from hemix.config import check_read
from hemix.errors import ConfigError
from hemix.models.flat import Dropout, FieldModel, VectorsConfig, Width, flat
from hemix.nn.deep import DeepNetwork
from hemix.nn.dropout import FastDropout
from hemix.nn.fields import Fields, Layout
from hemix.search_space import Draw


class MaskNetConfig(VectorsConfig):
    """Sizes of MaskNet."""

    name: Literal["masknet"] = "masknet"
    structure: Literal["serial", "parallel"] = "parallel"
    """Each block masks what the one before returns, or all of them mask the fields."""
    num_blocks: Annotated[int, Field(ge=1)] = 3
    block_dim: Width = 64
    """Width of what a block returns."""
    reduction: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0
    """Width of the first layer of a mask, in widths of what is masked."""
    hidden: tuple[Width, ...] = (400, 400)
    """Widths of the network over parallel blocks; serial blocks have none."""
    dropout: Dropout = 0.5
    """After every block and every layer of the network over them."""

    @model_validator(mode="after")
    def _settings_are_read(self) -> "MaskNetConfig":
        if self.structure == "serial":
            check_read(self, "structure", "hidden")
        return self


class MaskNet(FieldModel):
    """Fields may have any widths; one of width 1 counts in the masks alone, as its norm is always zero."""

    def __init__(self, config: MaskNetConfig, layout: Layout, num_tasks: int) -> None:
        super().__init__()
        self.norm = FieldNorm(layout.widths)
        self.deep = None
        masked, width = [layout.width] * config.num_blocks, config.block_dim
        if config.structure == "serial":
            masked[1:] = [config.block_dim] * (config.num_blocks - 1)
        else:
            blocks_width = config.num_blocks * config.block_dim
            self.deep = DeepNetwork(blocks_width, config.hidden, dropout=config.dropout, batch_norm=False)
            width = self.deep.width
        self.blocks = nn.ModuleList([MaskBlock(config, layout.width, in_features) for in_features in masked])
        self.head = nn.Linear(width, num_tasks)

    def forward(self, fields: Mapping[str, Fields]) -> Float[Tensor, "N K"]:
        x = fields["fields"].values
        hidden = self.norm(x)
        if self.deep is not None:
            return self.head(self.deep(torch.cat([block(x, hidden) for block in self.blocks], dim=1)))
        for block in self.blocks:
            hidden = block(x, hidden)
        return self.head(hidden)


class FieldNorm(nn.Module):
    """Layer norm of each field by itself, with a scale and a shift for every column."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.weight = nn.Parameter(torch.ones(sum(widths)))
        self.bias = nn.Parameter(torch.zeros(sum(widths)))

    def forward(self, x: Float[Tensor, "N W"]) -> Float[Tensor, "N W"]:
        if len(set(self.widths)) == 1:  # all fields at once
            normed = layer_norm(x.unflatten(1, (-1, self.widths[0])), self.widths[:1]).flatten(1)
        else:
            normed = torch.cat([layer_norm(field, field.shape[1:]) for field in x.split(self.widths, dim=1)], dim=1)
        return torch.addcmul(self.bias, normed, self.weight)


class MaskBlock(nn.Module):
    """``relu(LN(W (h * mask(x))))``, with dropout. Start values are torch's; W has no bias."""

    def __init__(self, config: MaskNetConfig, width: int, masked: int) -> None:
        super().__init__()
        aggregation = int(config.reduction * masked)
        if aggregation < 1:
            raise ConfigError(
                f"model.reduction times the width of what is masked must be at least 1, got {config.reduction} times "
                f"{masked}; raise model.reduction."
            )
        self.mask = nn.Sequential(nn.Linear(width, aggregation), nn.ReLU(), nn.Linear(aggregation, masked))
        self.map = nn.Linear(masked, config.block_dim, bias=False)
        self.norm = nn.LayerNorm(config.block_dim)
        self.dropout = FastDropout(config.dropout)

    def forward(self, x: Float[Tensor, "N W"], hidden: Float[Tensor, "N M"]) -> Float[Tensor, "N B"]:
        return self.dropout(torch.relu(self.norm(self.map(hidden * self.mask(x)))))


MODEL = flat(
    MaskNetConfig,
    MaskNet,
    paper="arXiv 2102.07619",
    space={
        "structure": Draw(choice=("parallel", "serial")),
        "num_blocks": Draw(integer=(1, 5)),
        "block_dim": Draw(choice=(64, 128, 256)),
        "dropout": Draw(choice=(0.0, 0.2, 0.5)),
    },
)
