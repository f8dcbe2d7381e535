"""Wukong: stacked factorization machines beside linear compression (ICML 2024, https://arxiv.org/abs/2403.02545).

    X_0     = one embedding per field                                          (F, d); X_i: (n, d), n_F + n_L for i > 0
    X_(i+1) = LN([FMB_i(X_i) ; LCB_i(X_i)] + R_i X_i)                           i = 0 .. L - 1
    FMB(X)  = reshape(W MLP(LN(flatten(X X^T Y))) + b)                         n_F embeddings; Y: (n, k)
    LCB(X)  = W_L X                                                            n_L embeddings
    logits  = W MLP(flatten(X_L)) + b

R_i is the identity where X_i has as many embeddings as X_(i+1), and a learned matrix where not. The outer LN is over
the d numbers of each embedding, with one scale and shift for all embeddings; that of FMB is over all n k numbers.

Deviation: Y is a learned matrix; the paper also has one that is made from X. Parity test: tests/models/test_wukong.py.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hemix.models.flat import Dropout, FieldModel, VectorsConfig, Width, flat
from hemix.nn.cost import products
from hemix.nn.deep import DeepNetwork
from hemix.nn.fields import Fields, Layout, common_width
from hemix.search_space import Draw


class WukongConfig(VectorsConfig):
    """Sizes of Wukong."""

    name: Literal["wukong"] = "wukong"
    num_layers: Annotated[int, Field(ge=1)] = 3
    """After l layers products of up to 2^l fields are there."""
    num_fm: Width = 16
    """Embeddings that a layer makes of products (n_F)."""
    num_linear: Width = 16
    """Embeddings that a layer makes by linear compression (n_L)."""
    rank: Width = 24
    """Columns that the products of all pairs of embeddings are compressed to (k)."""
    fm_hidden: tuple[Width, ...] = (256,)
    """Widths of the network between the products and the embeddings that are made of them."""
    hidden: tuple[Width, ...] = (256, 128)
    """Widths of the deep network behind the last layer."""
    dropout: Dropout = 0.0
    """After every layer of the deep network behind the last layer."""


class Wukong(FieldModel):
    """Layers of embeddings, and a deep network of the last."""

    def __init__(self, config: WukongConfig, layout: Layout, num_tasks: int) -> None:
        super().__init__()
        width = common_width(layout, "model.name 'wukong'")
        made = config.num_fm + config.num_linear
        read = [len(layout.names)] + [made] * (config.num_layers - 1)
        self.layers = nn.Sequential(*[WukongLayer(config, count, width) for count in read])
        self.deep = DeepNetwork(made * width, config.hidden, dropout=config.dropout, batch_norm=False)
        self.head = nn.Linear(self.deep.width, num_tasks)

    def forward(self, fields: Mapping[str, Fields]) -> Float[Tensor, "N K"]:
        return self.head(self.deep(self.layers(fields["fields"].tokens()).flatten(1)))

    def cost(self) -> int:
        """The layers, the deep network and the head."""
        layers = sum(part.cost() for part in self.layers if isinstance(part, WukongLayer))
        return layers + products(self.deep) + products(self.head)


class WukongLayer(nn.Module):
    """``LN([FMB(X) ; LCB(X)] + R X)`` of `count` embeddings."""

    def __init__(self, config: WukongConfig, count: int, width: int) -> None:
        super().__init__()
        made = config.num_fm + config.num_linear
        self.width = width
        self.products = FactorizationMachineBlock(config, count, width)
        self.linear = Compression(count, config.num_linear)
        self.residual = Compression(count, made) if count != made else nn.Identity()
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N M D"]:
        return self.norm(torch.cat([self.products(x), self.linear(x)], dim=1) + self.residual(x))

    def cost(self) -> int:
        """Multiply-adds per row; the matrices over embeddings are applied to every column of X."""
        return self.products.cost() + self.width * (products(self.linear) + products(self.residual))


class FactorizationMachineBlock(nn.Module):
    """``reshape(W MLP(LN(flatten(X X^T Y))) + b)``; X^T Y comes first, so that nothing grows with the pairs."""

    def __init__(self, config: WukongConfig, count: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.compress = Compression(count, config.rank)
        self.norm = nn.LayerNorm(count * config.rank)
        self.hidden = DeepNetwork(count * config.rank, config.fm_hidden, batch_norm=False)
        self.output = nn.Linear(self.hidden.width, config.num_fm * width)

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N M D"]:
        pairs = x @ self.compress(x).transpose(1, 2)
        return self.output(self.hidden(self.norm(pairs.flatten(1)))).unflatten(1, (-1, self.width))

    def cost(self) -> int:
        """Multiply-adds per row: n k d for X^T Y, as many for X times that, and the network."""
        return 2 * self.width * products(self.compress) + products(self.hidden) + products(self.output)


class Compression(nn.Linear):
    """``W X``: linear mixtures of the embeddings of a row; W starts Xavier-uniform."""

    def __init__(self, count: int, made: int) -> None:
        super().__init__(count, made, bias=False)
        nn.init.xavier_uniform_(self.weight)

    def forward(self, input: Float[Tensor, "N F D"]) -> Float[Tensor, "N M D"]:
        return self.weight @ input


MODEL = flat(
    WukongConfig,
    Wukong,
    paper="arXiv 2403.02545",
    space={
        "num_layers": Draw(integer=(1, 4)),
        "num_fm": Draw(choice=(8, 16, 32)),
        "num_linear": Draw(choice=(8, 16, 32)),
        "dropout": Draw(choice=(0.0, 0.1, 0.2)),
    },
)
