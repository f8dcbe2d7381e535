"""Encoded columns to vectors: one concatenated table per width, read by one lookup per side.

    id       a row of its table
    ids      mean of the rows of its non-padding slots; zero if there are none
    number   x * w, a learned vector where x is missing
    vector   W x, a learned vector where any coordinate is missing

Padding (id 0 of any table) reads row 0 of the concatenated table, which is zero and never has a gradient: a padded
event or slot adds nothing, and no row to the sparse gradient. "Unknown" and "null" start at zero too, every learnt
value at N(0, 0.05^2). Ids must be smaller than their table's `num_ids`: this is not checked here.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.batch import FIRST_ID, PADDING_ID, Columns, FieldSpec, History, Inputs
from hemix.errors import ConfigError, unknown_name
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layout, Layouts

INITIAL_STD = 0.05

NumberForm = Literal["embedded", "raw"]
Places = dict[str, tuple[int, int]]
"""Of each table: index of its concatenated table, and its first row there."""


class FeatureEmbedding(nn.Module):
    """Embeds request fields, candidate fields and the events of each history.

    `tables` are the parameters with sparse gradients: one per width, the tables of that width below each other.
    Number and vector fields have width `embedding_dim`. An event field that the candidate shares has the candidate's
    weights. Under ``numbers="raw"`` the numbers of requests and candidates stay as they are, as fields of width 2:
    the value (0 if missing) and 1 if it is missing.
    """

    def __init__(self, inputs: Inputs, embedding_dim: int, *, numbers: NumberForm = "embedded") -> None:
        super().__init__()
        self._places, sizes = _place_tables(inputs, embedding_dim)
        self._num_ids = {table.name: table.num_ids for table in inputs.tables}
        self.tables = nn.ParameterList([nn.Parameter(torch.empty(rows, width)) for width, rows in sizes])
        slots = _Slots(inputs, raw_numbers=numbers == "raw")
        self.numbers = _Numbers(slots.num_numbers, embedding_dim) if slots.num_numbers else None
        self.vectors = nn.ModuleList([_Vector(size, embedding_dim) for size in slots.vector_sizes])
        self._sides = {
            name: _Side(fields, self._places, [width for width, _ in sizes], slots.of[name], embedding_dim)
            for name, fields in _sides(inputs).items()
        }
        self.sides = nn.ModuleList(self._sides.values())
        self.layouts = Layouts(
            request=self._sides["request"].layout,
            candidate=self._sides["candidate"].layout,
            histories={history.name: self._sides[_side_of(history.name)].layout for history in inputs.histories},
        )
        self._reset()

    @torch.no_grad()
    def _reset(self) -> None:
        for table in self.tables:
            table.normal_(std=INITIAL_STD)
        for index, start in self._places.values():
            self.tables[index][start : start + FIRST_ID] = 0.0

    def request(self, columns: Columns) -> Fields:
        """Fields of R requests."""
        return self._embed("request", columns)

    def candidate(self, columns: Columns) -> Fields:
        """Fields of N candidates."""
        return self._embed("candidate", columns)

    def history(self, name: str, history: History) -> tuple[Fields, Bool[Tensor, "R T"]]:
        """Fields (R, T, ...) of the events of the history `name`, and which events are there."""
        side = _side_of(name)
        if side not in self._sides:
            raise unknown_name("history", name, self.layouts.histories)
        steps = torch.arange(history.events.ids.shape[1], device=history.lengths.device)
        return self._embed(side, history.events), steps < history.lengths[:, None]

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Multiply-adds of the maps of vector fields; `lengths` are the events of each history that is read."""
        sides = {name: side.vector_products(self.vectors) for name, side in self._sides.items()}
        events = sum(lengths[name] * sides[_side_of(name)] for name in self.layouts.histories)
        return Cost(per_request=sides["request"] + events, per_candidate=sides["candidate"])

    def locate(self, index: int, row: int) -> tuple[str, int]:
        """Name of the table, and the id in it, that row `row` of ``tables[index]`` is of."""
        starts = {start: name for name, (place, start) in self._places.items() if place == index}
        start = max(start for start in starts if start <= row)
        return starts[start], row - start

    def learnt(self, table: str) -> Float[Tensor, "_ D"]:
        """The vectors of all learnt values of a table: without padding, unknown and null. Gradients are dense."""
        index, start = self._places[table]
        return self.tables[index][start + FIRST_ID : start + self._num_ids[table]]

    def _embed(self, name: str, columns: Columns) -> Fields:
        side = self._sides[name]
        parts = side.look_up(columns.ids, self.tables)
        parts += side.embed_numbers(columns.numbers, self.numbers, self.vectors)
        if not parts:
            parts = [columns.numbers[..., :0]]
        values = torch.cat(parts, dim=-1) if len(parts) > 1 else parts[0]
        return Fields(values=values, widths=side.layout.widths, names=side.layout.names)

    @torch.no_grad()
    def load_pretrained(self, table: str, vectors: np.ndarray) -> None:
        """Set the start values of a table: one row per id; a row with a NaN keeps its own, padding stays zero.

        Raises ConfigError if there is no such table or the shape is not (num_ids, width).
        """
        if table not in self._places:
            raise unknown_name("table", table, self._places)
        index, start = self._places[table]
        weight = self.tables[index]
        expected = (self._num_ids[table], weight.shape[1])
        if vectors.shape != expected:
            raise ConfigError(
                f"Pretrained vectors of table {table!r} must have the shape {expected} (ids, width), got "
                f"{vectors.shape}; set 'dim' of its features, or model.embedding_dim, to the width of the vectors."
            )
        given = torch.as_tensor(vectors, dtype=weight.dtype, device=weight.device)
        known = ~given.isnan().any(dim=1)
        known[PADDING_ID] = False
        weight[start : start + len(given)][known] = given[known]


def _side_of(history: str) -> str:
    return f"history {history}"


def _sides(inputs: Inputs) -> dict[str, tuple[FieldSpec, ...]]:
    histories = {_side_of(history.name): history.fields for history in inputs.histories}
    return {"request": inputs.request, "candidate": inputs.candidate, **histories}


def _place_tables(inputs: Inputs, embedding_dim: int) -> tuple[Places, list[tuple[int, int]]]:
    """Where each table stands, and (width, rows) of each concatenated table."""
    widths = sorted({table.dim or embedding_dim for table in inputs.tables})
    rows = dict.fromkeys(widths, 0)
    places = {}
    for table in inputs.tables:
        width = table.dim or embedding_dim
        places[table.name] = (widths.index(width), rows[width])
        rows[width] += table.num_ids
    return places, list(rows.items())


class _Slots:
    """Deals out the learned weights of number and vector fields: by side, the slot of each field that has one."""

    def __init__(self, inputs: Inputs, *, raw_numbers: bool) -> None:
        self.num_numbers = 0
        self.vector_sizes: list[int] = []
        self.of: dict[str, dict[str, int]] = {}
        shared = {_side_of(history.name): history.shared for history in inputs.histories}
        for side, fields in _sides(inputs).items():
            of_candidate = self.of.get("candidate", {})
            slots = {name: of_candidate[name] for name in shared.get(side, ()) if name in of_candidate}
            for field in fields:
                if field.name in slots:
                    continue
                if field.kind == "vector":
                    slots[field.name] = len(self.vector_sizes)
                    self.vector_sizes.append(field.width)
                elif field.kind == "number" and (side in shared or not raw_numbers):
                    slots[field.name] = self.num_numbers
                    self.num_numbers += 1
            self.of[side] = slots


class _Numbers(nn.Module):
    """Weights of all number fields: a number of slot s scales row s."""

    no_decay = ("weight", "missing")

    def __init__(self, num_slots: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_slots, width).normal_(std=INITIAL_STD))
        self.missing = nn.Parameter(torch.zeros(num_slots, width))

    def forward(self, numbers: Float[Tensor, "*rows F"], slots: Int[Tensor, " F"]) -> Float[Tensor, "*rows W"]:
        scaled = torch.nan_to_num(numbers)[..., None] * self.weight[slots]
        return torch.where(numbers.isnan()[..., None], self.missing[slots], scaled).flatten(-2)


class _Vector(nn.Module):
    """A linear map without bias; a learned vector where any coordinate is missing."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, width, bias=False)
        self.missing = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "*rows S"]) -> Float[Tensor, "*rows D"]:
        mapped = self.linear(torch.nan_to_num(x))
        return torch.where(x.isnan().any(dim=-1, keepdim=True), self.missing, mapped)


class _Lookup(nn.Module):
    """The columns of one side that read one concatenated table: those of single ids first, then those of sets."""

    columns: Tensor
    starts: Tensor

    def __init__(self, fields: Sequence[FieldSpec], starts: Sequence[int], table: int, width: int) -> None:
        super().__init__()
        pairs = list(zip(fields, starts, strict=True))
        singles = [(field, start) for field, start in pairs if field.kind == "id"]
        sets = [(field, start) for field, start in pairs if field.kind == "ids"]
        columns = [field.start + slot for field, _ in singles + sets for slot in range(field.width)]
        rows = [start for field, start in singles + sets for _ in range(field.width)]
        self.table = table
        self.num_singles = len(singles)
        self.set_sizes = [field.width for field, _ in sets]
        self.names = tuple(field.name for field, _ in singles + sets)
        self.width = width
        self.first = columns[0] if columns == list(range(columns[0], columns[0] + len(columns))) else None
        kind = torch.int32 if max(rows, default=0) < 2**30 else torch.int64
        self.register_buffer("columns", torch.tensor(columns), persistent=False)
        self.register_buffer("starts", torch.tensor(rows, dtype=kind), persistent=False)

    def forward(self, ids: Int[Tensor, "*rows I"], table: Float[Tensor, "V D"]) -> list[Tensor]:
        count = len(self.starts)
        chosen = ids.index_select(-1, self.columns) if self.first is None else ids.narrow(-1, self.first, count)
        rows = torch.where(chosen != PADDING_ID, chosen + self.starts, PADDING_ID)
        vectors = F.embedding(rows, table, padding_idx=PADDING_ID, sparse=True)
        singles, *sets = vectors.split([self.num_singles, *self.set_sizes], dim=-2)
        _, *set_ids = chosen.split([self.num_singles, *self.set_sizes], dim=-1)
        found = [singles.flatten(-2)] if self.num_singles else []
        for slots, slot_ids in zip(sets, set_ids, strict=True):
            present = (slot_ids != PADDING_ID).sum(dim=-1, keepdim=True)
            found.append(slots.sum(dim=-2) / present.clamp(min=1))
        return found


class _Side(nn.Module):
    """The fields of one side, in the order of their vectors: ids by width, single before sets; numbers; vectors.

    A number field without a slot stays raw.
    """

    columns: Tensor
    slots: Tensor

    def __init__(
        self,
        fields: Sequence[FieldSpec],
        places: Places,
        table_widths: Sequence[int],
        slots: dict[str, int],
        width: int,
    ) -> None:
        super().__init__()
        by_table: dict[int, list[FieldSpec]] = {}
        for field in fields:
            if field.table is not None:
                by_table.setdefault(places[field.table][0], []).append(field)
        self._lookups: list[_Lookup] = []
        names: list[str] = []
        widths: list[int] = []
        for table, found in sorted(by_table.items()):
            starts = [places[field.table or ""][1] for field in found]
            lookup = _Lookup(found, starts, table, table_widths[table])
            self._lookups.append(lookup)
            names += lookup.names
            widths += [lookup.width] * len(found)
        self.lookups = nn.ModuleList(self._lookups)
        numbers = [field for field in fields if field.kind == "number"]
        self.raw = any(field.name not in slots for field in numbers)
        vectors = [field for field in fields if field.kind == "vector"]
        self.vector_fields = [(field.start, field.width, slots[field.name]) for field in vectors]
        names += [field.name for field in numbers + vectors]
        widths += [2 if self.raw else width] * len(numbers) + [width] * len(self.vector_fields)
        self.layout = Layout(names=tuple(names), widths=tuple(widths))
        self.register_buffer("columns", torch.tensor([f.start for f in numbers], dtype=torch.int64), persistent=False)
        known = [slots.get(field.name, 0) for field in numbers]
        self.register_buffer("slots", torch.tensor(known, dtype=torch.int64), persistent=False)

    def look_up(self, ids: Int[Tensor, "*rows I"], tables: nn.ParameterList) -> list[Tensor]:
        return [part for lookup in self._lookups for part in lookup(ids, tables[lookup.table])]

    def vector_products(self, vectors: nn.ModuleList) -> int:
        """Multiply-adds of one row's vector fields."""
        return sum(products(vectors[slot]) for _, _, slot in self.vector_fields)

    def embed_numbers(
        self, columns: Float[Tensor, "*rows F"], numbers: _Numbers | None, vectors: nn.ModuleList
    ) -> list[Tensor]:
        parts = []
        if len(self.columns):
            chosen = columns.index_select(-1, self.columns)
            if self.raw or numbers is None:
                flagged = torch.stack([torch.nan_to_num(chosen), chosen.isnan().to(chosen.dtype)], dim=-1)
                parts.append(flagged.flatten(-2))
            else:
                parts.append(numbers(chosen, self.slots))
        for start, size, slot in self.vector_fields:
            parts.append(vectors[slot](columns.narrow(-1, start, size)))
        return parts
