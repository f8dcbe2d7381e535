"""First-order weights: one number per value and task, alone or beside the vector of the value."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hemix.batch import Columns, History, Inputs
from hemix.nn.cost import Cost
from hemix.nn.embedding import FeatureEmbedding
from hemix.nn.fields import Fields, Layout, Layouts


def first_order_weights(inputs: Inputs) -> FeatureEmbedding:
    """As many weights per value as there are tasks, in place of a vector; the `dim` of a feature does not count."""
    tables = tuple(replace(table, dim=None) for table in inputs.tables)
    return FeatureEmbedding(replace(inputs, tables=tables), len(inputs.tasks))


class FirstOrderEmbedding(nn.Module):
    """A `FeatureEmbedding` with first-order weights: field f has the columns [w_f ; v_f], w_f one number per task.

    The weights have tables of their own, so that the rate of neither depends on the gradients of the other.
    """

    def __init__(self, inputs: Inputs, embedding_dim: int) -> None:
        super().__init__()
        self.vectors = FeatureEmbedding(inputs, embedding_dim)
        self.weights = first_order_weights(inputs)
        layouts, count = self.vectors.layouts, len(inputs.tasks)
        self.layouts = Layouts(
            request=_widened(layouts.request, count),
            candidate=_widened(layouts.candidate, count),
            histories={name: _widened(layout, count) for name, layout in layouts.histories.items()},
        )

    @property
    def tables(self) -> list[nn.Parameter]:
        """The parameters with sparse gradients."""
        return [*self.vectors.tables, *self.weights.tables]

    def request(self, columns: Columns) -> Fields:
        """Fields of R requests."""
        return _beside(self.weights.request(columns), self.vectors.request(columns))

    def candidate(self, columns: Columns) -> Fields:
        """Fields of N candidates."""
        return _beside(self.weights.candidate(columns), self.vectors.candidate(columns))

    def history(self, name: str, history: History) -> tuple[Fields, Bool[Tensor, "R T"]]:
        """Fields (R, T, ...) of the events of the history `name`, and which events are there."""
        vectors, attended = self.vectors.history(name, history)
        return _beside(self.weights.history(name, history)[0], vectors), attended

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Multiply-adds of the maps of vector fields; `lengths` are the events of each history that is read."""
        return self.vectors.cost(lengths) + self.weights.cost(lengths)

    def locate(self, index: int, row: int) -> tuple[str, int]:
        """Name of the table, and the id in it, that row `row` of ``tables[index]`` is of."""
        own = len(self.vectors.tables)
        return self.vectors.locate(index, row) if index < own else self.weights.locate(index - own, row)

    def load_pretrained(self, table: str, vectors: np.ndarray) -> None:
        """Set the start values of a table's vectors: see `FeatureEmbedding.load_pretrained`."""
        self.vectors.load_pretrained(table, vectors)


class FirstOrder(nn.Module):
    """Takes the first-order weights out of fields [w_f ; v_f]: their sum by task, and the fields without them."""

    weights: Tensor
    vectors: Tensor

    def __init__(self, layout: Layout, num_tasks: int) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.layout = Layout(names=layout.names, widths=tuple(width - num_tasks for width in layout.widths))
        is_weight = [place < num_tasks for width in layout.widths for place in range(width)]
        weights = [column for column, weight in enumerate(is_weight) if weight]
        vectors = [column for column, weight in enumerate(is_weight) if not weight]
        self.register_buffer("weights", torch.tensor(weights), persistent=False)
        self.register_buffer("vectors", torch.tensor(vectors), persistent=False)

    def forward(self, values: Float[Tensor, "N W"]) -> tuple[Float[Tensor, "N K"], Float[Tensor, "N V"]]:
        weights = values.index_select(1, self.weights).unflatten(1, (-1, self.num_tasks))
        return weights.sum(dim=1), values.index_select(1, self.vectors)


def _widened(layout: Layout, count: int) -> Layout:
    return Layout(names=layout.names, widths=tuple(width + count for width in layout.widths))


def _beside(weights: Fields, vectors: Fields) -> Fields:
    """[w_f ; v_f] for each field, in the order of the vectors."""
    if not vectors.names:
        return vectors
    first = weights.select(vectors.names)
    pairs = zip(first.values.split(first.widths, dim=-1), vectors.values.split(vectors.widths, dim=-1), strict=True)
    widths = tuple(one + other for one, other in zip(first.widths, vectors.widths, strict=True))
    return Fields(
        values=torch.cat([part for pair in pairs for part in pair], dim=-1), widths=widths, names=vectors.names
    )
