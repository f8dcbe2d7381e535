"""Parts of a split by the value of a feature: what is gathered while predicting, and how rows are then cut.

Only the columns that are asked for are kept, one value (or one small set) per row.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int

from hemix.batch import NULL_ID, PADDING_ID, UNKNOWN_ID, Batch, FieldSpec, Inputs
from hemix.errors import ConfigError, unknown_name
from hemix.evaluate.predictions import SliceColumn

HISTORY_LENGTH, KNOWN_USER, ITEM_FREQUENCY = "history length", "user in training", "item frequency"
HISTORY_BOUNDS = (0.0, 1.0, 10.0, 50.0, 200.0)
FREQUENCY_BOUNDS = (0.0, 1.0, 10.0, 100.0, 1000.0)
KNOWN_USER_VALUES = ("no user", "new", "seen")
HISTORY_VALUES = ("empty", "has events")
RESERVED = {PADDING_ID: "(none)", UNKNOWN_ID: "(unknown)", NULL_ID: "(null)"}

Names = Callable[[str, list[int]], list[str]]
"""Readable values of ids of a vocabulary: (table, ids) -> values."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """What the training split held: its users, and how often each id of the item field was a candidate."""

    users: Int[np.ndarray, " U"]
    item: str | None = None
    item_counts: Int[np.ndarray, " I"] | None = None

    @classmethod
    def scan(cls, batches: Iterable[Batch], inputs: Inputs, item: str | None = None) -> "Training":
        """One pass over the training split.

        `item`: the candidate's id field that names the item; None: the one with the largest table.
        """
        field = _item_field(inputs, item)
        size = 0 if field is None else next(t.num_ids for t in inputs.tables if t.name == field.table)
        seen, counts = [np.zeros(0, dtype=np.int64)], np.zeros(size, dtype=np.int64)
        for batch in batches:
            seen.append(np.unique(batch.requests.users.numpy()))
            if field is not None:
                counts += np.bincount(batch.candidates.ids[:, field.start].numpy(), minlength=size)
        users = np.unique(np.concatenate(seen))
        return cls(
            users=users[users >= 0], item=None if field is None else field.name, item_counts=counts if size else None
        )


def _item_field(inputs: Inputs, name: str | None) -> FieldSpec | None:
    known = {field.name: field for field in inputs.candidate if field.kind == "id"}
    if name is not None:
        if name not in known:
            raise unknown_name("categorical candidate feature", name, known)
        return known[name]
    sizes = {table.name: table.num_ids for table in inputs.tables}
    return max(known.values(), key=lambda field: sizes.get(field.table or "", 0), default=None)


class SliceReader:
    """Reads from each batch the columns by which rows will be cut.

    Raises ConfigError for a name that is no feature, or a feature that has no values to cut by (a vector).
    """

    def __init__(self, inputs: Inputs, features: tuple[str, ...] = (), training: Training | None = None) -> None:
        self._requests = {field.name: field for field in inputs.request}
        self._candidates = {field.name: field for field in inputs.candidate}
        self._training = training
        self._features = features
        self._item = None
        if training is not None and training.item is not None:
            self._item = self._candidates[training.item]
        self._has_history = bool(inputs.histories)
        # one history is empty where the length of all is 0
        several = inputs.histories if len(inputs.histories) > 1 else ()
        self._histories = {f"history {spec.name}": spec.name for spec in several}
        for name in features:
            if self._field(name).kind == "vector":
                raise ConfigError(f"evaluate.slices: {name!r} is a vector; slices need a category or a number.")

    def _field(self, name: str) -> FieldSpec:
        fields = self._requests | self._candidates
        if name not in fields:
            raise unknown_name("feature in evaluate.slices", name, fields)
        return fields[name]

    def read(self, batch: Batch, request_of_row: Int[np.ndarray, " N"]) -> dict[str, np.ndarray]:
        """Values per row of a batch on the CPU, by slice name."""
        found = {name: self._values(name, batch, request_of_row) for name in self._features}
        if self._has_history:
            lengths = sum(history.lengths.numpy() for history in batch.requests.histories.values())
            found[HISTORY_LENGTH] = np.asarray(lengths, dtype=np.float32)[request_of_row]
        for name, history in self._histories.items():
            lengths = batch.requests.histories[history].lengths.numpy()
            found[name] = (lengths > 0).astype(np.int8)[request_of_row]
        if self._training is not None:
            users = batch.requests.users.numpy()
            known = np.where(users < 0, 0, 1 + np.isin(users, self._training.users)).astype(np.int8)
            found[KNOWN_USER] = known[request_of_row]
        if self._training is not None and self._training.item_counts is not None and self._item is not None:
            ids = batch.candidates.ids[:, self._item.start].numpy()
            counts = np.where(ids == UNKNOWN_ID, 0, self._training.item_counts[ids])
            found[ITEM_FREQUENCY] = counts.astype(np.float32)
        return found

    def _values(self, name: str, batch: Batch, request_of_row: Int[np.ndarray, " N"]) -> np.ndarray:
        field = self._field(name)
        of_request = name in self._requests
        columns = batch.requests.columns if of_request else batch.candidates
        matrix = columns.ids if field.kind in ("id", "ids") else columns.numbers
        values = matrix[:, field.start : field.start + field.width].numpy()
        values = values[request_of_row] if of_request else values
        return values if field.kind == "ids" else values[:, 0]

    def column(self, name: str, values: np.ndarray) -> SliceColumn:
        """Gathered values of one slice, with what their numbers mean."""
        if name in self._features:
            return SliceColumn(values=values, table=self._field(name).table)
        if name in self._histories:
            return SliceColumn(values=values, names=HISTORY_VALUES)
        if name == KNOWN_USER:
            return SliceColumn(values=values, names=KNOWN_USER_VALUES)
        return SliceColumn(values=values, bounds=HISTORY_BOUNDS if name == HISTORY_LENGTH else FREQUENCY_BOUNDS)


def parts(column: SliceColumn, *, max_values: int, names: Names | None) -> Iterator[tuple[str, Bool[np.ndarray, " N"]]]:
    """Readable value and rows of each part of a split; parts of a set may overlap."""
    if column.table is not None or column.names:
        return _by_id(column, max_values, names)
    return _by_number(column)


def _by_id(column: SliceColumn, max_values: int, names: Names | None) -> Iterator[tuple[str, Bool[np.ndarray, " N"]]]:
    values = column.values.reshape(len(column.values), -1)
    present = values[values != PADDING_ID] if column.table is not None and values.shape[1] > 1 else values
    ids, counts = np.unique(present, return_counts=True)
    ranked = ids[np.lexsort((ids, -counts))]
    shown, rest = ranked[:max_values], ranked[max_values:]
    for value, label in zip(shown, _labels(column, shown.tolist(), names), strict=True):
        yield label, np.any(values == value, axis=1)
    if len(rest):
        yield f"({len(rest)} other values)", np.any(np.isin(values, rest), axis=1)


def _labels(column: SliceColumn, ids: list[int], names: Names | None) -> list[str]:
    if column.names:
        return [column.names[value] for value in ids]
    learnt = [value for value in ids if value not in RESERVED]
    readable = names(column.table or "", learnt) if names is not None else [f"id {value}" for value in learnt]
    known = RESERVED | dict(zip(learnt, readable, strict=True))
    return [known[value] for value in ids]


def _by_number(column: SliceColumn) -> Iterator[tuple[str, Bool[np.ndarray, " N"]]]:
    values = column.values.astype(np.float64)
    present = values[~np.isnan(values)]
    if column.bounds is not None:
        bounds, label = np.array(column.bounds), _range_label
    else:
        bounds = np.unique(np.quantile(present, (0, 0.25, 0.5, 0.75))) if len(present) else np.zeros(0)
        label = _quartile_label
    for i, low in enumerate(bounds):
        high = bounds[i + 1] if i + 1 < len(bounds) else np.inf
        rows = (values >= low) & (values < high)
        if rows.any():
            yield label(float(low), float(high)), rows
    if len(present) < len(values):
        yield "(missing)", np.isnan(values)


def _range_label(low: float, high: float) -> str:
    if high == np.inf:
        return f"{low:,.0f} or more"
    return f"{low:,.0f}" if high == low + 1 else f"{low:,.0f} to {high - 1:,.0f}"


def _quartile_label(low: float, high: float) -> str:
    return f"from {low:.4g}" if high == np.inf else f"{low:.4g} to {high:.4g}"
