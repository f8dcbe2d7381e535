"""AutoInt: layers of multi-head self-attention over fields (CIKM 2019, https://arxiv.org/abs/1810.11921).

    a^h_mk = softmax_k(<Q^h e_m, K^h e_k>)                                    e_m: field m, a vector; h: a head
    e_m    <- relu( concat_h sum_k a^h_mk V^h e_k + R e_m )                   once per layer; all maps without bias
    logits = sum_f w_f + W [e_1 ; ... ; e_F] + b                              AutoInt
             + U MLP([fields side by side])                                   AutoInt+: where `hidden` is not empty

These are the equations of the paper. The code of its authors has biases and ReLU in Q, K, V and R, divides the products
by sqrt(head_dim), as `scale` does, ends every layer with a layer norm, and has no w_f. Deviations and settings:
docs/models/flat.md. Parity test: tests/models/test_autoint.py.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from hemix.config import check_read
from hemix.models.flat import DeepConfig, FieldModel, Width, flat
from hemix.nn.attention import split_heads
from hemix.nn.cost import pair_products, products
from hemix.nn.deep import DeepNetwork
from hemix.nn.fields import Fields, Layout, common_width
from hemix.search_space import Draw


class AutoIntConfig(DeepConfig):
    """Sizes of AutoInt."""

    name: Literal["autoint"] = "autoint"
    num_layers: Annotated[int, Field(ge=1)] = 3
    """Of attention."""
    num_heads: Annotated[int, Field(ge=1)] = 2
    head_dim: Width = 32
    """Of each head: every layer returns num_heads * head_dim numbers per field."""
    scale: bool = False
    """Divide the products by sqrt(head_dim)."""
    residual: bool = True
    """Add R e_m in every layer."""
    hidden: tuple[Width, ...] = ()
    """Widths of a deep network beside the attention, which makes it AutoInt+; empty: none."""

    @model_validator(mode="after")
    def _settings_are_read(self) -> "AutoIntConfig":
        if not self.hidden:
            check_read(self, "hidden", "dropout", "batch_norm")
        return self


class AutoInt(FieldModel):
    """The attention, and the deep network if there is one; the first order is added by `Flat`."""

    def __init__(self, config: AutoIntConfig, layout: Layout, num_tasks: int) -> None:
        super().__init__()
        self.streams = ("cross", "deep") if config.hidden else ("fields",)
        self.num_fields = len(layout.names)
        width = common_width(layout, "model.name 'autoint'")
        self.layer_width = config.num_heads * config.head_dim
        before = [width, *[self.layer_width] * (config.num_layers - 1)]
        self.attention = nn.Sequential(*[AttentionLayer(config, features) for features in before])
        self.head = nn.Linear(self.num_fields * self.layer_width, num_tasks)
        self.deep = DeepNetwork(layout.width, config.hidden, dropout=config.dropout, batch_norm=config.batch_norm)
        # the one bias of the logits is that of `head`
        self.head_deep = nn.Linear(self.deep.width, num_tasks, bias=False) if config.hidden else None

    def forward(self, fields: Mapping[str, Fields]) -> Float[Tensor, "N K"]:
        logits = self.head(self.attention(fields[self.streams[0]].tokens()).flatten(1))
        return logits if self.head_deep is None else logits + self.head_deep(self.deep(fields["deep"].values))

    def cost(self) -> int:
        """The maps of a layer for every field and its attention; the heads and the deep network once."""
        pairs = len(self.attention) * pair_products(self.num_fields, self.layer_width)
        return products(self) + (self.num_fields - 1) * products(self.attention) + pairs


class AttentionLayer(nn.Module):
    """Every field attends to all. Maps start Xavier-uniform."""

    def __init__(self, config: AutoIntConfig, in_features: int) -> None:
        super().__init__()
        total = config.num_heads * config.head_dim
        self.num_heads = config.num_heads
        self.divisor = config.head_dim**0.5 if config.scale else None
        self.query, self.key, self.value = (nn.Linear(in_features, total, bias=False) for _ in range(3))
        self.residual = nn.Linear(in_features, total, bias=False) if config.residual else None
        for part in (self.query, self.key, self.value, self.residual):
            if part is not None:
                nn.init.xavier_uniform_(part.weight)

    def forward(self, x: Float[Tensor, "N F I"]) -> Float[Tensor, "N F O"]:
        query, key, value = (split_heads(part(x), self.num_heads) for part in (self.query, self.key, self.value))
        scores = query @ key.transpose(2, 3)
        weights = (scores if self.divisor is None else scores / self.divisor).softmax(dim=3)
        found = (weights @ value).transpose(1, 2).flatten(2)
        return torch.relu(found if self.residual is None else found + self.residual(x))


MODEL = flat(
    AutoIntConfig,
    AutoInt,
    paper="arXiv 1810.11921",
    first_order="beside",
    space={
        "num_layers": Draw(integer=(1, 4)),
        "num_heads": Draw(choice=(1, 2, 4)),
        "head_dim": Draw(choice=(16, 32, 64)),
    },
)
