"""From raw keys to numbers and back: which user, item or request of a store is meant by a name."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hemix.data.queries import FROM, INDEX, KEY
from hemix.data.store import MICROS, Store
from hemix.errors import InputError
from hemix.features import TimeColumn

MAX_COMPARED = 20_000
"""Keys that are compared with an unknown one to find those that look like it."""
_MICROSECOND = timedelta(microseconds=1)
NO_ITEM = "(not in the catalog)"


class Keys:
    """The raw keys of a store's users and items. Read when first asked for; memory grows with users and items."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def user(self, key: str) -> int:
        """Number of a user. Raises InputError if the store knows none by that key; it names keys that look like it."""
        if self._store.config.examples.user is None:
            raise InputError(
                "A request can be named by its user only where the data has users; this store was prepared without "
                "examples.user. Name it by row=NUMBER."
            )
        found = _places(self._users["key"], key)
        if not len(found):
            raise InputError(_unknown("user", key, self._users["key"], self._store))
        return int(np.asarray(self._users["number"])[found[0]])

    def user_key(self, number: int) -> str | None:
        """Raw key of a user; None for -1, a row without a user."""
        found = np.flatnonzero(np.asarray(self._users["number"]) == number) if number >= 0 else []
        return str(self._users["key"][int(found[0])].as_py()) if len(found) else None

    def item(self, key: str, time: int) -> int:
        """Catalog row of an item as of a time (microseconds).

        Raises InputError if the catalog has no item of that key, or had none yet; it names keys that look like it.
        """
        if self._store.config.examples.item is None:
            raise InputError(
                "A candidate can be named only where the data has items; this store was prepared without "
                "examples.item. Name the request by row=NUMBER: its row is the candidate."
            )
        table = self._catalog
        found = _places(table[KEY], key)
        if not len(found):
            raise InputError(_unknown("item", key, table[KEY], self._store))
        starts, rows = np.asarray(table[FROM])[found], np.asarray(table[INDEX])[found]
        catalog = self._store.config.catalog
        if catalog is not None and catalog.valid_from is not None:
            known = starts <= time
            if not known.any():
                raise InputError(
                    f"Item {key!r} is in the catalog from {self.time_text(int(starts.min()))} on, which is after the "
                    f"request ({self.time_text(time)}); choose another candidate or a later request."
                )
            return int(rows[known][np.argmax(starts[known])])
        return int(rows.max())

    def items(self, rows: Sequence[int] | np.ndarray) -> list[str]:
        """Raw keys of catalog rows; `NO_ITEM` for row 0."""
        rows = np.asarray(rows, np.int64)
        if self._store.config.examples.item is None or not len(rows):
            return [NO_ITEM] * len(rows)
        found = np.searchsorted(np.asarray(self._catalog[INDEX]), rows)
        keys = self._catalog[KEY].take(pa.array(np.minimum(found, len(self._catalog) - 1))).to_pylist()
        return [str(key) if row else NO_ITEM for key, row in zip(keys, rows, strict=True)]

    def time(self, text: str) -> tuple[int, bool]:
        """Microseconds of a time, and whether it is exact; a time without fractions means any moment of its second.

        A number counts the unit of `examples.time`; a text is ISO 8601, without a zone in `data.timezone`. Raises
        InputError for anything else.
        """
        column = self._store.config.examples.time or TimeColumn(column="")
        unit = {"s": MICROS, "ms": 1_000, "us": 1, "ns": 0.001}[column.unit]
        if re.fullmatch(r"-?\d+(\.\d+)?", text):
            return round(float(text) * unit) if "." in text else int(int(text) * unit), unit != MICROS or "." in text
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise InputError(
                f"A time is ISO 8601 (2024-01-31T12:00:00) or a number as in the data (in {column.unit} since 1970), "
                f"got {text!r}."
            ) from None
        moment = moment if moment.tzinfo else moment.replace(tzinfo=self._zone)
        return (moment - datetime.fromtimestamp(0, UTC)) // _MICROSECOND, moment.microsecond != 0

    def time_text(self, micros: int) -> str:
        """ISO 8601 in `data.timezone` (UTC without one), which `time` reads back."""
        moment = datetime.fromtimestamp(micros // MICROS, self._zone).replace(microsecond=micros % MICROS)
        return moment.replace(tzinfo=None).isoformat()

    @cached_property
    def _zone(self) -> ZoneInfo:
        return ZoneInfo(self._store.config.timezone or "UTC")

    @cached_property
    def _users(self) -> pa.Table:
        return self._read("users", ["key", "number"])

    @cached_property
    def _catalog(self) -> pa.Table:
        """In the order of its rows."""
        return self._read("catalog", [KEY, FROM, INDEX])

    def _read(self, name: str, columns: list[str]) -> pa.Table:
        segments = self._store.manifest.segments
        paths = [self._store.path / segment.folder / "keys" / f"{name}.parquet" for segment in segments]
        return pa.concat_tables([pq.read_table(path, columns=columns) for path in paths if path.exists()])


def _places(keys: pa.ChunkedArray, key: str) -> np.ndarray:
    return np.flatnonzero(np.asarray(pc.call_function("equal", [keys, pa.scalar(key)])))


def _unknown(kind: str, key: str, known: pa.ChunkedArray, store: Store) -> str:
    """The error for a key that is not there, with up to three that look like it."""
    near = known.filter(pc.call_function("starts_with", [known], pc.MatchSubstringOptions(key[:1])))
    pool = (near if len(near) else known).slice(0, MAX_COMPARED).to_pylist()
    close = get_close_matches(key, pool, n=3, cutoff=0.3) or pool[:3]
    return f"There is no {kind} {key!r} in the store at {store.path}. Of its {len(known):,}, nearest are: " + ", ".join(
        repr(name) for name in close
    )
