"""Flat models: all fields of a row side by side, whichever side they come from, and a function of them.

    fields = [request ; mean of each event field over each history ; candidate]         F fields
    logits = model(fields) + sum_f w_f                                 w: first-order weights, where there are any

A model with two streams (a cross network and a deep one, say) names them in `FieldModel.streams`: a refinement module
then serves both, or each has its own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, is_empty, is_none
from hemix.errors import ConfigError, unknown_name
from hemix.models.backbone import Crossing, Gate, ModelKind
from hemix.models.histories import named_histories
from hemix.models.pooled import mean_of_events
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layout, Layouts, State
from hemix.nn.first_order import FirstOrder
from hemix.nn.ragged import Ragged
from hemix.refine import RefineConfig, Wiring
from hemix.search_space import Draw

Width = Annotated[int, Field(ge=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]


class FlatConfig(Config):
    """What all flat models have."""

    histories: tuple[str, ...] | None = None
    """Histories to average, each event field a field more; None: all of the data."""

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model averages. Raises ConfigError for one that the data does not have."""
        return named_histories(inputs, self.histories)


class VectorsConfig(FlatConfig):
    """The same for models with a vector per value."""

    embedding_dim: Width = 16
    """Width of every embedding whose feature sets no `dim`."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of every row before they interact; null: none."""
    table_dims: dict[str, Width] = Field(default={}, exclude_if=is_empty)
    """Widths of single tables, in place of those of features or of `embedding_dim`; `hemix condense` finds them."""
    align_dim: Width | None = Field(default=None, exclude_if=is_none)
    """Map every field to this width, by a matrix of its own: for models that need fields of one width."""


class DeepConfig(VectorsConfig):
    """The same for models with a deep network."""

    hidden: tuple[Width, ...] = (400, 400, 400)
    """Widths of the deep network."""
    dropout: Dropout = 0.5
    """After every layer of the deep network."""
    batch_norm: bool = True
    """In every layer of the deep network, before the activation."""


DEEP_SPACE = {
    "hidden": Draw(choice=((200, 200, 200), (400, 400, 400), (800, 400, 200))),
    "dropout": Draw(choice=(0.0, 0.1, 0.2, 0.3, 0.5)),
}
"""What a search tries of a deep network."""


class FieldModel(nn.Module):
    """A flat model: the fields of each of its streams to K logits."""

    streams: tuple[str, ...] = ("fields",)
    """Names of the inputs: a model of two streams may be given fields that were refined for each."""

    def forward(self, fields: Mapping[str, Fields]) -> Float[Tensor, "N K"]:
        raise NotImplementedError

    def gates(self, fields: Mapping[str, Fields]) -> Mapping[str, Float[Tensor, "N W"]]:
        """By layer, what it lets pass of every number of the fields; empty: it has no gates."""
        return {}

    def cross_matrices(self) -> Mapping[str, Float[Tensor, "W W"]]:
        """By layer, the matrix in front of its product with the fields; empty: it has none."""
        return {}

    def cost(self) -> int:
        """Multiply-adds per row."""
        return products(self)


class Align(nn.Module):
    """``y_f = A_f x_f``: fields of any widths to fields of one width."""

    def __init__(self, layout: Layout, width: int) -> None:
        super().__init__()
        self._maps = [nn.Linear(own, width, bias=False) for own in layout.widths]
        self.maps = nn.ModuleList(self._maps)
        self.layout = Layout(names=layout.names, widths=(width,) * len(layout.names))
        self._widths = layout.widths

    def forward(self, values: Float[Tensor, "N W"]) -> Float[Tensor, "N V"]:
        pieces = zip(self._maps, values.split(self._widths, dim=1), strict=True)
        return torch.cat([part(piece) for part, piece in pieces], dim=1)


class Flat(nn.Module):
    """A flat model as a backbone. Histories are averaged once per request; all else is per row."""

    def __init__(
        self,
        model: FieldModel,
        layout: Layout,
        *,
        histories: Sequence[str],
        first_order: FirstOrder | None,
        align: Align | None,
        wiring: Wiring,
    ) -> None:
        super().__init__()
        self._layout = layout
        self._histories = tuple(histories)
        self.first_order = first_order
        self.align = align
        self.refine = wiring
        self.model = model

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        return {f"{name}.mean": mean_of_events(events.values, attended)}

    def encode_request(self, request: Fields, histories: State) -> State:
        means = [histories[f"{name}.mean"] for name in self._histories]
        return {"fields": torch.cat([request.values, *means], dim=1)}

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        fields, weights = self._fields(state, candidate, ragged)
        logits = self.model(self.refine(fields))
        return logits if weights is None else logits + weights

    def _fields(self, state: State, candidate: Fields, ragged: Ragged) -> tuple[Fields, Float[Tensor, "N K"] | None]:
        """The fields of each row before refinement, and the first order, if there is one."""
        values = torch.cat([ragged.spread(state["fields"]), candidate.values], dim=1)
        weights = None
        if self.first_order is not None:
            weights, values = self.first_order(values)
        if self.align is not None:
            values = self.align(values)
        return Fields(values=values, widths=self._layout.widths, names=self._layout.names), weights

    def gates(self, state: State, candidate: Fields, ragged: Ragged) -> list[Gate]:
        """See `Gated`: of the refinement modules, then of the layers of the model."""
        fields, _ = self._fields(state, candidate, ragged)
        means = self.refine.kept(fields)
        for name, gate in self.model.gates(self.refine(fields)).items():
            means[name] = torch.stack([own.mean(dim=1) for own in gate.split(fields.widths, dim=1)], dim=1)
        return [Gate(name=name, fields=fields.names, values=values) for name, values in means.items()]

    def crossings(self) -> list[Crossing]:
        """See `Gated`."""
        names, widths = self._layout.names, self._layout.widths
        found = []
        for name, matrix in self.model.cross_matrices().items():
            rows = [[torch.linalg.vector_norm(b) for b in row.split(widths, dim=1)] for row in matrix.split(widths)]
            norms = torch.stack([torch.stack(row) for row in rows])
            found.append(Crossing(name=name, fields=names, norms=norms))
        return found

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """All of it per candidate: averages are sums, not products."""
        align = 0 if self.align is None else products(self.align)
        return Cost(per_candidate=align + self.refine.cost() + self.model.cost())


def flat(
    config: type[FlatConfig],
    model: Callable[[Any, Layout, int], FieldModel],
    *,
    paper: str,
    first_order: Literal["beside", "alone"] | None = None,
    space: Mapping[str, Draw] | None = None,
) -> ModelKind:
    """The kind of a flat model that ``model(config, layout of its fields, number of tasks)`` builds."""
    build = partial(_build, model, first_order=first_order == "beside")
    return ModelKind(
        config=config, build=build, paper=paper, histories="averaged", first_order=first_order, space=space or {}
    )


def _build(
    model: Callable[[Any, Layout, int], FieldModel], config: Any, inputs: Inputs, layouts: Layouts, *, first_order: bool
) -> Flat:
    layout, num_tasks, name = joined_layout(layouts), len(inputs.tasks), f"model.name {config.name!r}"
    if isinstance(config, VectorsConfig) and len(layout.names) < 2:
        raise ConfigError(
            f"{name} is a model of how fields interact, and there is "
            f"{'one: ' + layout.names[0] if layout.names else 'none'}. Declare more under data.features, or set "
            "model: {name: lr}."
        )
    split = FirstOrder(layout, num_tasks) if first_order else None
    layout = layout if split is None else split.layout
    align = None
    if isinstance(config, VectorsConfig) and config.align_dim is not None:
        align = Align(layout, config.align_dim)
        layout = align.layout
    built = model(config, layout, num_tasks)
    wiring = Wiring(config.refine, layout, built.streams, name)
    return Flat(built, layout, histories=tuple(layouts.histories), first_order=split, align=align, wiring=wiring)


def with_table_dims(inputs: Inputs, config: Any) -> Inputs:
    """The inputs with the widths of `table_dims`, for models that have it. Raises ConfigError for an unknown table."""
    dims = config.table_dims if isinstance(config, VectorsConfig) else {}
    known = [table.name for table in inputs.tables]
    for name in dims:
        if name not in known:
            raise unknown_name("table in model.table_dims", name, known)
    tables = tuple(replace(table, dim=dims.get(table.name, table.dim)) for table in inputs.tables)
    return replace(inputs, tables=tables)


def joined_layout(layouts: Layouts) -> Layout:
    """Request, history by history, candidate. The averaged field f of history s is called ``s.f``."""
    names, widths = list(layouts.request.names), list(layouts.request.widths)
    for history, events in layouts.histories.items():
        names += [f"{history}.{name}" for name in events.names]
        widths += events.widths
    names += layouts.candidate.names
    widths += layouts.candidate.widths
    return Layout(names=tuple(names), widths=tuple(widths))
