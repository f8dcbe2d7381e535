"""Embeddings with a first-order weight beside each vector: field f has the columns [w_f ; v_f]."""

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


class FirstOrderEmbedding(nn.Module):
    """A `FeatureEmbedding` of vectors beside one of `num_weights` weights per value: one weight for each task.

    The weights have tables of their own, so that the rate of one does not depend on the gradients of the other.
    """

    def __init__(self, inputs: Inputs, embedding_dim: int, num_weights: int) -> None:
        super().__init__()
        self.vectors = FeatureEmbedding(inputs, embedding_dim)
        tables = tuple(replace(table, dim=None) for table in inputs.tables)
        self.weights = FeatureEmbedding(replace(inputs, tables=tables), num_weights)
        layouts = self.vectors.layouts
        self.layouts = Layouts(
            request=_widened(layouts.request, num_weights),
            candidate=_widened(layouts.candidate, num_weights),
            histories={name: _widened(layout, num_weights) for name, layout in layouts.histories.items()},
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


def split_first_order(fields: Fields, num_weights: int) -> tuple[Float[Tensor, "*rows K"], Fields]:
    """The sum of the first-order weights of all fields, and the fields without them."""
    pieces = fields.values.split(fields.widths, dim=-1)
    weights = torch.stack([piece[..., :num_weights] for piece in pieces], dim=-2).sum(dim=-2)
    vectors = torch.cat([piece[..., num_weights:] for piece in pieces], dim=-1)
    return weights, Fields(values=vectors, widths=narrowed(fields.widths, num_weights), names=fields.names)


def narrowed(widths: tuple[int, ...], num_weights: int) -> tuple[int, ...]:
    """Widths of the vectors alone."""
    return tuple(width - num_weights for width in widths)


def _widened(layout: Layout, num_weights: int) -> Layout:
    return Layout(names=layout.names, widths=tuple(width + num_weights for width in layout.widths))


def _beside(weights: Fields, vectors: Fields) -> Fields:
    """[w_f ; v_f] for each field, in the order of the vectors."""
    first = weights.select(vectors.names).values.split(weights.widths, dim=-1)
    pieces = [part for pair in zip(first, vectors.values.split(vectors.widths, dim=-1), strict=True) for part in pair]
    values = torch.cat(pieces, dim=-1) if pieces else vectors.values
    widths = tuple(one + other for one, other in zip(weights.widths, vectors.widths, strict=True))
    return Fields(values=values, widths=widths, names=vectors.names)
