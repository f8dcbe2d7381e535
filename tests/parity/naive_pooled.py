"""Histories as fields of one row: means, or sums weighed by the candidate."""

from typing import Protocol

import torch
from torch import Tensor

from hemix.batch import Batch, Columns, HistorySpec
from parity.naive import NaiveFields, Named, Parameters
from parity.naive_attention import pooled


class Pooling(Protocol):
    """The settings that are read here."""

    history_pooling: str


def row_fields(parameters: Parameters, config: Pooling, fields: NaiveFields, batch: Batch, r: int, n: int) -> Named:
    """Request, means of the histories, candidate, weighed sums of the histories."""
    request, candidate = fields.request(batch, r), fields.candidate(batch, n)
    averaged: Named = []
    attended: Named = []
    known = {history.name: history for history in fields.inputs.histories}
    for index, name in enumerate(known):
        events, names = fields.events(batch, name, r), event_names(fields, known[name])
        zeros = [torch.zeros_like(value) for _, value in blank(fields, known[name])]
        if config.history_pooling == "mean":
            means = [sum(event[f][1] for event in events) / len(events) for f in range(len(names))] if events else zeros
            averaged += [(f"{name}.{field}", mean) for field, mean in zip(names, means, strict=True)]
        else:
            shared = known[name].shared
            order = [*shared, *(field for field in names if field not in shared)]
            unit = f"backbone.attention.{index}"
            sums = pooled(parameters, unit, candidate, events, shared, softmax=True) or zeros
            attended += [(f"{name}.{field}", value) for field, value in zip(order, sums, strict=True)]
    return [*request, *averaged, *candidate, *attended]


def event_names(fields: NaiveFields, history: HistorySpec) -> list[str]:
    return [name for name, _ in blank(fields, history)]


def blank(fields: NaiveFields, history: HistorySpec) -> list[tuple[str, Tensor]]:
    """An event without values, for its fields in their order."""
    columns = Columns(ids=torch.zeros(1, 99, dtype=torch.int32), numbers=torch.zeros(1, 99, dtype=torch.float64))
    return fields.row(history.name, history.fields, columns, (0,))
