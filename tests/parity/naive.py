"""What the naive scorers share: fields looked up one by one, for one row at a time, from a model's named parameters.

Written apart from the package: it knows the shape of a batch and the order of fields that nn/embedding.py promises, and
uses no code of it. Every scorer below repeats a request's history for each of its candidates.
"""

import torch
from torch import Tensor

from hemix.batch import Batch, Columns, FieldSpec, Inputs

Parameters = dict[str, Tensor]
Named = list[tuple[str, Tensor]]


class NaiveFields:
    """Vectors of the fields of one request, candidate or event."""

    def __init__(
        self,
        parameters: Parameters,
        inputs: Inputs,
        dim: int,
        *,
        raw_numbers: bool = False,
        embedding: str = "embedding",
    ) -> None:
        self.parameters = parameters
        self.embedding = embedding
        self.inputs = inputs
        self.raw = raw_numbers
        self.widths = {table.name: table.dim or dim for table in inputs.tables}
        self.numbers: list[tuple[str, str]] = []
        self.vectors: list[tuple[str, str]] = []
        sides = [("request", inputs.request, ()), ("candidate", inputs.candidate, ())]
        sides += [(history.name, history.fields, history.shared) for history in inputs.histories]
        for side, fields, shared in sides:
            kept_raw = raw_numbers and side in ("request", "candidate")
            for field in fields:
                owned = [("candidate", name) for name in shared if name == field.name]
                if field.kind == "vector" and not any(owner in self.vectors for owner in owned):
                    self.vectors.append((side, field.name))
                if field.kind == "number" and not kept_raw and not any(owner in self.numbers for owner in owned):
                    self.numbers.append((side, field.name))

    def request(self, batch: Batch, r: int) -> Named:
        return self.row("request", self.inputs.request, batch.requests.columns, (r,))

    def candidate(self, batch: Batch, n: int) -> Named:
        return self.row("candidate", self.inputs.candidate, batch.candidates, (n,))

    def events(self, batch: Batch, name: str, r: int) -> list[Named]:
        history = batch.requests.histories[name]
        fields = next(history.fields for history in self.inputs.histories if history.name == name)
        return [self.row(name, fields, history.events, (r, t)) for t in range(int(history.lengths[r]))]

    def row(self, side: str, fields: tuple[FieldSpec, ...], columns: Columns, at: tuple[int, ...]) -> Named:
        ids, numbers = columns.ids[at], columns.numbers[at]
        found: Named = []
        for width in sorted(set(self.widths.values())):
            for kind in ("id", "ids"):
                for field in fields:
                    if field.kind == kind and self.widths[field.table or ""] == width:
                        found.append((field.name, self.mean_of_rows(field, ids)))
        for field in fields:
            if field.kind == "number":
                found.append((field.name, self.number(side, field, numbers)))
        for field in fields:
            if field.kind == "vector":
                found.append((field.name, self.vector(side, field, numbers)))
        return found

    def mean_of_rows(self, field: FieldSpec, ids: Tensor) -> Tensor:
        width = self.widths[field.table or ""]
        start = 0
        for table in self.inputs.tables:
            if table.name == field.table:
                break
            if self.widths[table.name] == width:
                start += table.num_ids
        weight = self.parameters[f"{self.embedding}.tables.{sorted(set(self.widths.values())).index(width)}"]
        chosen = [int(ids[field.start + slot]) for slot in range(field.width)]
        rows = [weight[start + value] for value in chosen if value != 0]
        return sum(rows) / len(rows) if rows else torch.zeros(width, dtype=weight.dtype)

    def number(self, side: str, field: FieldSpec, numbers: Tensor) -> Tensor:
        value = numbers[field.start]
        if self.raw and side in ("request", "candidate"):
            return torch.stack([torch.nan_to_num(value), value.isnan().to(value.dtype)])
        owner = (side, field.name) if (side, field.name) in self.numbers else ("candidate", field.name)
        slot = self.numbers.index(owner)
        if value.isnan():
            return self.parameters[f"{self.embedding}.numbers.missing"][slot]
        return value * self.parameters[f"{self.embedding}.numbers.weight"][slot]

    def vector(self, side: str, field: FieldSpec, numbers: Tensor) -> Tensor:
        value = numbers[field.start : field.start + field.width]
        owner = (side, field.name) if (side, field.name) in self.vectors else ("candidate", field.name)
        slot = self.vectors.index(owner)
        if value.isnan().any():
            return self.parameters[f"{self.embedding}.vectors.{slot}.missing"]
        return self.parameters[f"{self.embedding}.vectors.{slot}.linear.weight"] @ value


def joined(fields: Named) -> Tensor:
    return torch.cat([value for _, value in fields])


def request_of(batch: Batch, n: int) -> int:
    """The request of row n, by counting."""
    for r in range(len(batch.offsets) - 1):
        if int(batch.offsets[r]) <= n < int(batch.offsets[r + 1]):
            return r
    raise AssertionError(n)


def linear(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    y = parameters[f"{name}.weight"] @ x
    return y + parameters[f"{name}.bias"] if f"{name}.bias" in parameters else y
