"""xDeepFM: compressed interaction network (CIN) beside a deep network (KDD 2018, https://arxiv.org/abs/1803.05170).

    X^k_h  = g( sum_ij W^(k,h)_ij (X^(k-1)_i * X^0_j) + b^k_h )      h = 1 .. H_k;  X^0: the fields, vectors of width d
    logits = sum_f w_f + V [sum_d X^k_h of all pooled maps] + W MLP(x) + b

g is the identity, as in the paper and its authors' code as configured; later code (DeepCTR) has ReLU. The bias b^k,
which starts at zero, is from later code too. Deviations and settings: docs/models/flat.md. Parity test:
tests/models/test_xdeepfm.py.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from hemix.models.flat import DEEP_SPACE, DeepConfig, FieldModel, Width, flat
from hemix.nn.cost import products
from hemix.nn.deep import DeepNetwork
from hemix.nn.fields import Fields, Layout, common_width
from hemix.search_space import Draw


class XDeepFMConfig(DeepConfig):
    """Sizes of xDeepFM."""

    name: Literal["xdeepfm"] = "xdeepfm"
    cin_sizes: Annotated[tuple[Width, ...], Field(min_length=1)] = (100, 100)
    """Feature maps of each layer of the CIN: after l layers products of l + 1 fields are there."""
    split_half: bool = True
    """Of every layer of the CIN but the last, one half goes on and the other is pooled; false: all of it does both."""
    cin_activation: Literal["identity", "relu"] = "identity"
    """Of the CIN."""

    @model_validator(mode="after")
    def _halves_are_whole(self) -> "XDeepFMConfig":
        odd = [size for size in self.cin_sizes[:-1] if size % 2]
        if self.split_half and odd:
            raise ValueError(
                f"split_half cuts every layer of the CIN but the last in two, and cin_sizes has {odd[0]} there; "
                "make it even, or set split_half to false"
            )
        return self


class XDeepFM(FieldModel):
    """The CIN and the deep network; the first order is added by `Flat`."""

    streams = ("cross", "deep")

    def __init__(self, config: XDeepFMConfig, layout: Layout, num_tasks: int) -> None:
        super().__init__()
        self.width = common_width(layout, "model.name 'xdeepfm'")
        self.cin = CompressedInteraction(config, len(layout.names))
        self.head_cin = nn.Linear(self.cin.num_pooled, num_tasks, bias=False)
        self.deep = DeepNetwork(layout.width, config.hidden, dropout=config.dropout, batch_norm=config.batch_norm)
        self.head_deep = nn.Linear(self.deep.width, num_tasks)

    def forward(self, fields: Mapping[str, Fields]) -> Float[Tensor, "N K"]:
        crossed = self.head_cin(self.cin(fields["cross"].tokens()))
        return crossed + self.head_deep(self.deep(fields["deep"].values))

    def cost(self) -> int:
        """The maps of the CIN are applied at each of the d positions, all else once."""
        return products(self) + (self.width - 1) * products(self.cin)


class CompressedInteraction(nn.Module):
    """The CIN: the sum over d of every pooled feature map. Maps start Xavier-uniform, biases at zero.

    A layer keeps the product of each of its G F pairs, N d G F numbers, for the backward pass.
    """

    def __init__(self, config: XDeepFMConfig, num_fields: int) -> None:
        super().__init__()
        sizes, self.split_half = config.cin_sizes, config.split_half
        onward = [size // 2 if self.split_half else size for size in sizes[:-1]]
        pairs = [num_maps * num_fields for num_maps in (num_fields, *onward)]
        layers = [nn.Linear(before, after) for before, after in zip(pairs, sizes, strict=True)]
        for layer in layers:
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        self.layers = nn.ModuleList(layers)
        self.activation = nn.ReLU() if config.cin_activation == "relu" else nn.Identity()
        self.num_pooled = sum(onward) + sizes[-1]

    def forward(self, tokens: Float[Tensor, "N F D"]) -> Float[Tensor, "N P"]:
        # with d in front of the fields the products come out as the linear map reads them: they are never copied
        fields = tokens.transpose(1, 2).contiguous()
        onward, pooled = fields, []
        for place, layer in enumerate(self.layers, start=1):
            pairs = onward[:, :, :, None] * fields[:, :, None, :]
            onward = kept = self.activation(layer(pairs.flatten(2)))
            if self.split_half and place < len(self.layers):
                onward, kept = onward.chunk(2, dim=2)
            pooled.append(kept.sum(dim=1))
        return torch.cat(pooled, dim=1)


MODEL = flat(
    XDeepFMConfig,
    XDeepFM,
    paper="arXiv 1803.05170",
    first_order="beside",
    space={
        **DEEP_SPACE,
        "cin_sizes": Draw(choice=((50, 50), (100, 100), (100, 100, 100))),
    },
)
