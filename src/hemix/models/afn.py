"""AFN and AFN+: products of fields whose orders are learned (AAAI 2020, https://arxiv.org/abs/1909.03276).

    y_jd    = prod_f |x_fd|^w_jf = exp(sum_f w_jf ln |x_fd|)      j = 1 .. L logarithmic neurons, d = 1 .. D dimensions

    log1p:    y = relu(expm1(V log1p(|x| + 1e-7)))                products of (1 + |x_fd|)^w_jf, less one
    log:      y = BN(exp(V BN(ln max(|x|, 1e-7))))                batch norm by field, then by neuron; V = (w_jf)

    AFN:      logits = W MLP([y_1 ; .. ; y_L]) + b
    AFN+:     logits = W MLP([y_1 ; .. ; y_L]) + b + W' MLP'(x) + b'

Deviations: the deep network of AFN+ reads the same embedding as the logarithmic neurons, where the paper gives it one
of its own, and both are trained by the loss of their sum alone. `log` is the form of the authors' code; `log1p`, the
default, that of the code of the feature-refinement survey (https://arxiv.org/abs/2311.04625).
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hemix.models.flat import DEEP_SPACE, DeepConfig, FieldModel, Width, flat
from hemix.nn.cost import products
from hemix.nn.deep import DeepNetwork, RowBatchNorm
from hemix.nn.fields import Fields, Layout, common_width
from hemix.search_space import Draw

Transform = Literal["log1p", "log"]
SMALLEST = 1e-7
"""Added to sizes in front of a log1p, or their lower bound in front of a logarithm."""


class AFNConfig(DeepConfig):
    """Sizes of AFN; `hidden` is the deep network beside of AFN+, and () leaves plain AFN."""

    name: Literal["afn"] = "afn"
    num_logarithmic: Width = 10
    """Logarithmic neurons: products of fields, each with orders of its own."""
    afn_hidden: tuple[Width, ...] = (400, 400, 400)
    """Widths of the network over the logarithmic neurons."""
    transform: Transform = "log1p"
    """Products of 1 + |x| less one, or of |x| with batch norm."""


class AFN(FieldModel):
    """The logarithmic neurons and, if `hidden` is given, the deep network; the first order is added by `Flat`."""

    def __init__(self, config: AFNConfig, layout: Layout, num_tasks: int) -> None:
        super().__init__()
        self.width = common_width(layout, "model.name 'afn'")
        self.streams = ("cross", "deep") if config.hidden else ("fields",)
        self.powers = LogarithmicNeurons(len(layout.widths), config.num_logarithmic, config.transform)
        inputs = config.num_logarithmic * self.width
        self.crossed = DeepNetwork(inputs, config.afn_hidden, dropout=config.dropout, batch_norm=config.batch_norm)
        self.head = nn.Linear(self.crossed.width, num_tasks)
        self.deep = None
        if config.hidden:
            deep = DeepNetwork(layout.width, config.hidden, dropout=config.dropout, batch_norm=config.batch_norm)
            self.deep = nn.Sequential(deep, nn.Linear(deep.width, num_tasks))

    def forward(self, fields: Mapping[str, Fields]) -> Float[Tensor, "N K"]:
        logits = self.head(self.crossed(self.powers(fields[self.streams[0]].tokens())))
        return logits if self.deep is None else logits + self.deep(fields["deep"].values)

    def cost(self) -> int:
        """The logarithmic neurons multiply in every dimension, all else once."""
        return products(self) + (self.width - 1) * self.powers.orders.weight.numel()


class LogarithmicNeurons(nn.Module):
    """Products of powers of the fields, dimension by dimension: (N, F, D) to (N, L D).

    The orders start in U(-1/sqrt(F), 1/sqrt(F)). For `log1p` the exponent is then at most sqrt(F) ln(1 + max |x|): 15
    for 39 fields up to 10, and near 1.4 for typical orders, which cancel; for `log` a few, of normed logarithms. In
    float32 exp overflows at 88. Nothing is clipped: learned orders that add up to 37 overflow `log1p` at values of 10.

    A value of exactly zero gets no gradient from here.
    """

    def __init__(self, num_fields: int, num_neurons: int, transform: Transform) -> None:
        super().__init__()
        self.orders = nn.Linear(num_fields, num_neurons, bias=False)
        nn.init.uniform_(self.orders.weight, -(num_fields**-0.5), num_fields**-0.5)
        self.field_norm = RowBatchNorm(num_fields) if transform == "log" else None
        self.neuron_norm = RowBatchNorm(num_neurons) if transform == "log" else None

    def forward(self, tokens: Float[Tensor, "N F D"]) -> Float[Tensor, "N W"]:
        sizes = tokens.abs().transpose(1, 2).flatten(0, 1)  # a row per dimension: the norms see fields and neurons
        if self.field_norm is None or self.neuron_norm is None:
            powers = torch.relu(torch.expm1(self.orders(torch.log1p(sizes + SMALLEST))))
        else:
            logs = self.field_norm(sizes.clamp(min=SMALLEST).log())
            powers = self.neuron_norm(torch.exp(self.orders(logs)))
        return powers.unflatten(0, (-1, tokens.shape[2])).transpose(1, 2).flatten(1)


MODEL = flat(
    AFNConfig,
    AFN,
    paper="arXiv 1909.03276",
    first_order="beside",
    space={
        **DEEP_SPACE,
        "num_logarithmic": Draw(choice=(10, 50, 200)),
        "afn_hidden": Draw(choice=((200, 200, 200), (400, 400, 400))),
    },
)
