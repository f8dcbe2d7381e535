"""From encoded values back to what the raw tables said, for people to read.

Ids of a vocabulary give their value, standardised numbers their own unit; what encoding drops stays a range (buckets of
time and quantiles) or a number (hash buckets).
"""

from collections.abc import Callable, Mapping
from functools import cached_property

import numpy as np
import pyarrow as pa

from hemix.batch import FIRST_ID, NULL_ID, PADDING_ID, UNKNOWN_ID, FieldSpec, HistorySpec
from hemix.data.store import Store
from hemix.features import Timestamp, feature_name

Value = str | float | tuple[str, ...] | None
"""A raw value; None where it is missing."""
UNKNOWN = "(unknown)"
"""A value that training did not see, or too rarely."""
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
          "December")  # fmt: skip
SECONDS_OF = {"d": 86_400, "h": 3_600, "min": 60, "s": 1}
DIGITS = 6
"""Significant digits of a number that was kept as float32."""


class Decoder:
    """Turns columns of a store's fields into raw values."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._encoder = store.encoder

    def request(self, field: FieldSpec, values: np.ndarray) -> list[Value]:
        """Values of a request field from its columns (n, width)."""
        return self._decode(field, values, ("request", "profiles"))

    def candidate(self, field: FieldSpec, values: np.ndarray) -> list[Value]:
        """Values of a candidate field from its columns (n, width)."""
        return self._decode(field, values, ("row", "catalog"))

    def event(self, history: HistorySpec, field: FieldSpec, values: np.ndarray) -> list[Value]:
        """Values of a field of a history's events from its columns (n, width)."""
        own = f"events.{self._store.config.histories[history.name].events}"
        return self._decode(field, values, ("catalog", own) if field.name in history.shared else (own, "catalog"))

    def _decode(self, field: FieldSpec, values: np.ndarray, blocks: tuple[str, ...]) -> list[Value]:
        if field.kind in ("id", "ids"):
            name = self._namer(field, blocks)
            rows = [[_of_id(value, name) for value in row if value != PADDING_ID] for row in values.tolist()]
            if field.kind == "id":
                return [row[0] if row else None for row in rows]
            return [None if row == [None] else tuple(str(value) for value in row) for row in rows]
        if field.kind == "vector":
            return [None if np.isnan(row).any() else f"length {np.linalg.norm(row):.3g}" for row in values]
        return self._numbers(field, values[:, 0].astype(np.float64), blocks)

    def _numbers(self, field: FieldSpec, values: np.ndarray, blocks: tuple[str, ...]) -> list[Value]:
        scalers = self._encoder.scalers
        scaler = next((scalers[key] for block in blocks if (key := f"{block}.{field.name}") in scalers), None)
        if scaler is not None:
            values = values * scaler.std + scaler.mean
            values = np.sign(values) * np.expm1(np.abs(values)) if scaler.log else values
        return [None if np.isnan(value) else float(f"{value:.{DIGITS}g}") for value in values.tolist()]

    def _namer(self, field: FieldSpec, blocks: tuple[str, ...]) -> Callable[[int], str]:
        """What says the raw value of the i-th learnt id of a field."""
        table = field.table or ""
        vocabulary = self._encoder.vocabularies.get(table)
        if vocabulary is not None:
            known = vocabulary.values
            return _cell_namer(known) if pa.types.is_integer(known.type) else lambda i: str(known[i].as_py())
        quantiles = self._encoder.quantiles
        for block in blocks:
            if (key := f"{block}.{field.name}") in quantiles:
                edges = quantiles[key].edges
                return lambda i: _range_name(edges, i)
        return self._calendar.get(table, lambda i: f"bucket {i}")

    @cached_property
    def _calendar(self) -> Mapping[str, Callable[[int], str]]:
        """Names of the ids of times, by table."""
        features, found = self._store.config.features, {}
        for feature in (*features.request, *features.candidate, *features.pair):
            if isinstance(feature, Timestamp):
                name = feature_name(feature)
                found[f"{name}_hour"] = lambda i: f"{i}:00"
                found[f"{name}_weekday"] = lambda i: WEEKDAYS[i]
                found[f"{name}_month"] = lambda i: MONTHS[i]
                found[f"{name}_since"] = _seconds_name
        for name, history in self._store.config.histories.items():
            found[f"{name}.gap"] = _days_name if history.part == "older" else _seconds_name
        return found


def _of_id(value: int, name: Callable[[int], str]) -> str | None:
    if value == NULL_ID:
        return None
    return UNKNOWN if value == UNKNOWN_ID else name(value - FIRST_ID)


def _cell_namer(cells: pa.Array) -> Callable[[int], str]:
    """H3 cells as the hexadecimal text by which maps know them."""
    return lambda i: f"{cells[i].as_py():x}"


def _range_name(edges: tuple[float, ...], place: int) -> str:
    """The values between two neighbouring edges."""
    if not edges:
        return "any value"
    if place == 0:
        return f"below {edges[0]:.{DIGITS}g}"
    if place >= len(edges):
        return f"from {edges[-1]:.{DIGITS}g}"
    return f"{edges[place - 1]:.{DIGITS}g} to {edges[place]:.{DIGITS}g}"


def _seconds_name(bucket: int) -> str:
    """The range of a base-2 logarithm of 1 + seconds.

    >>> _seconds_name(0), _seconds_name(6), _seconds_name(12)
    ('0 s', '1.1 to 2.1 min', '1.1 to 2.3 h')
    """
    low, high = 2**bucket - 1, 2 ** (bucket + 1) - 1
    if bucket == 0:
        return "0 s"
    unit = next(name for name, seconds in SECONDS_OF.items() if high - 1 >= seconds)
    size = SECONDS_OF[unit]
    return f"{_short(low / size)} to {_short(high / size)} {unit}"


def _days_name(bucket: int) -> str:
    """The range of a base-2 logarithm of 1 + whole days.

    >>> _days_name(0), _days_name(1), _days_name(3)
    ('0 days', '1 to 2 days', '7 to 14 days')
    """
    low, high = 2**bucket - 1, 2 ** (bucket + 1) - 2
    return f"{low} days" if low == high else f"{low} to {high} days"


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"
