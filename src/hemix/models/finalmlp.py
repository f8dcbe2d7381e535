"""FinalMLP: two gated deep networks and a bilinear fusion (AAAI 2023, https://arxiv.org/abs/2304.00902).

    g_s    = 2 sigmoid(W MLP_g(c_s) + b)                        s in {1, 2}; c_s: some of the fields, or learned
    o_s    = MLP_s(g_s * x_s)                                   x_s: all fields side by side; g_s = 1 without selection
    logits = b + W_1 o_1 + W_2 o_2 + sum_h o_1h^T W_h o_2h      o_sh: head h of o_s; one W_h for each task

A learned c_s makes one gate for all rows, which is computed once.

Deviations: c_s are fields as the stream has them, the released code embeds them once more for the gates; a learned c_s
starts at N(0, 0.05^2) as embeddings do, there at zero, where the first matrix of the gate has no gradient.
Parity test: tests/models/test_finalmlp.py.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from hemix.errors import unknown_name
from hemix.models.flat import Dropout, FieldModel, VectorsConfig, Width, flat
from hemix.nn.cost import products
from hemix.nn.deep import DeepNetwork
from hemix.nn.fields import Fields, Layout
from hemix.nn.grouped_linear import GroupedLinear
from hemix.search_space import Draw

StreamHidden = Annotated[tuple[Width, ...], Field(min_length=1)]
Context = Annotated[tuple[str, ...], Field(min_length=1)]


class FinalMLPConfig(VectorsConfig):
    """Sizes of FinalMLP."""

    name: Literal["finalmlp"] = "finalmlp"
    first_hidden: StreamHidden = (400, 400, 400)
    """Widths of the deep network of the first stream."""
    second_hidden: StreamHidden = (400, 400, 400)
    """Widths of the deep network of the second stream."""
    first_dropout: Dropout = 0.5
    """After every layer of the first stream."""
    second_dropout: Dropout = 0.5
    """After every layer of the second stream."""
    batch_norm: bool = True
    """In every layer of both streams, before the activation; the gates have none."""
    feature_selection: bool = True
    """A gate in front of each stream."""
    gate_hidden: tuple[Width, ...] = (800,)
    """Widths of the network of each gate."""
    first_gate: Context | None = None
    """Fields that the gate of the first stream looks at (`history.field` if averaged); null: a learned vector."""
    second_gate: Context | None = None
    """The same for the second stream."""
    num_heads: Annotated[int, Field(ge=1)] = 2
    """Parts that the outputs of the streams are cut into; each is multiplied with its counterpart alone."""

    @model_validator(mode="after")
    def _heads_divide_the_streams(self) -> "FinalMLPConfig":
        first, second = self.first_hidden[-1], self.second_hidden[-1]
        if first % self.num_heads or second % self.num_heads:
            raise ValueError(
                f"num_heads must divide the last widths of first_hidden and second_hidden, {first} and {second}; "
                f"got {self.num_heads}"
            )
        return self

    @model_validator(mode="after")
    def _contexts_have_a_gate(self) -> "FinalMLPConfig":
        if not self.feature_selection and (self.first_gate or self.second_gate):
            raise ValueError(
                "first_gate and second_gate say what the gates of feature_selection look at; set it, or leave them null"
            )
        return self


class FinalMLP(FieldModel):
    """Two streams, each with its own gate and deep network, and what they make of each other."""

    streams = ("first", "second")

    def __init__(self, config: FinalMLPConfig, layout: Layout, num_tasks: int) -> None:
        super().__init__()
        first_gate = second_gate = None
        if config.feature_selection:
            first_gate = FeatureGate(config, config.first_gate, layout, "model.first_gate")
            second_gate = FeatureGate(config, config.second_gate, layout, "model.second_gate")
        width, batch_norm = layout.width, config.batch_norm
        first = DeepNetwork(width, config.first_hidden, dropout=config.first_dropout, batch_norm=batch_norm)
        second = DeepNetwork(width, config.second_hidden, dropout=config.second_dropout, batch_norm=batch_norm)
        self.first = GatedStream(first_gate, first)
        self.second = GatedStream(second_gate, second)
        self.fusion = BilinearFusion(first.width, second.width, config.num_heads, num_tasks)

    def forward(self, fields: Mapping[str, Fields]) -> Float[Tensor, "N K"]:
        return self.fusion(self.first(fields["first"]), self.second(fields["second"]))

    def cost(self) -> int:
        """The streams and the fusion; a gate that looks at a learned vector runs once for all rows and is left out."""
        return self.first.cost() + self.second.cost() + products(self.fusion)


class GatedStream(nn.Module):
    """A deep network of all fields, each of whose values is multiplied by a gate between 0 and 2."""

    def __init__(self, gate: "FeatureGate | None", deep: DeepNetwork) -> None:
        super().__init__()
        self.gate = gate
        self.deep = deep

    def forward(self, fields: Fields) -> Float[Tensor, "N O"]:
        return self.deep(fields.values if self.gate is None else fields.values * self.gate(fields))

    def cost(self) -> int:
        """Multiply-adds per row."""
        return products(self.deep) + (0 if self.gate is None else self.gate.cost())


class FeatureGate(nn.Module):
    """``2 sigmoid(W MLP(c) + b)``, one number per value of the fields; c: the named fields, or a learned vector.

    `key` is the setting that the names come from. Raises ConfigError for a name that is no field.
    """

    def __init__(self, config: FinalMLPConfig, names: Context | None, layout: Layout, key: str) -> None:
        super().__init__()
        for name in names or ():
            if name not in layout.names:
                raise unknown_name(f"field in {key}", name, layout.names)
        self._names = tuple(dict.fromkeys(names or ()))
        width = layout.select(self._names).width if names else config.embedding_dim
        # not at zero, where the first matrix would get no gradient
        self.context = None if names else nn.Parameter(torch.empty(width).normal_(std=0.05))
        self.hidden = DeepNetwork(width, config.gate_hidden, batch_norm=False)
        self.output = nn.Linear(self.hidden.width, layout.width)

    def forward(self, fields: Fields) -> Float[Tensor, "#N W"]:
        """The gate of each row; a single one for all rows if it looks at a learned vector."""
        context = fields.select(self._names).values if self.context is None else self.context[None]
        return 2 * torch.sigmoid(self.output(self.hidden(context)))

    def cost(self) -> int:
        """Multiply-adds per row: none for a gate that is the same for all rows."""
        return products(self) if self.context is None else 0


class BilinearFusion(nn.Module):
    """``b + W_1 o_1 + W_2 o_2 + sum_h o_1h^T W_h o_2h``, with a W_h per head and task."""

    def __init__(self, first: int, second: int, num_heads: int, num_tasks: int) -> None:
        super().__init__()
        self.num_heads, self.num_tasks = num_heads, num_tasks
        self.first = nn.Linear(first, num_tasks)
        self.second = nn.Linear(second, num_tasks, bias=False)
        # all products add up to a logit: Xavier over all of them as released, not over each head
        std = (2 / (first * second // num_heads + num_tasks)) ** 0.5
        self.pairs = GroupedLinear(num_heads, first // num_heads, num_tasks * second // num_heads, bias=False, std=std)

    def forward(self, first: Float[Tensor, "N A"], second: Float[Tensor, "N B"]) -> Float[Tensor, "N K"]:
        heads = first.unflatten(1, (self.num_heads, -1)).transpose(0, 1)
        mapped = self.pairs(heads).unflatten(2, (self.num_tasks, -1))
        counterparts = second.unflatten(1, (self.num_heads, 1, -1)).transpose(0, 1)
        return self.first(first) + self.second(second) + (mapped * counterparts).sum(dim=(0, 3))


MODEL = flat(
    FinalMLPConfig,
    FinalMLP,
    paper="arXiv 2304.00902",
    space={
        "first_hidden": Draw(choice=((200, 200, 200), (400, 400, 400))),
        "second_hidden": Draw(choice=((200,), (400,), (400, 400, 400))),
        "first_dropout": Draw(choice=(0.0, 0.2, 0.5)),
        "second_dropout": Draw(choice=(0.0, 0.2, 0.5)),
        "num_heads": Draw(choice=(1, 2, 5, 10)),
    },
)
