"""Which column is a time, and how it is written."""

from collections.abc import Iterable
from dataclasses import dataclass

import duckdb

from hemix.data.draft.profile import Column, Table, one_row
from hemix.data.draft.words import SNAPSHOT_WORDS, TIME_WORDS, has_word, is_id
from hemix.data.expressions import time_sql
from hemix.data.sources import literal, quote
from hemix.features import TimeColumn

UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
EARLIEST, LATEST = 631_152_000, 4_102_444_800
"""Seconds since 1970 of the years 1990 and 2100: what a column of times may hold."""
FORMATS = (
    "%d/%m/%Y %H:%M:%S",
    "%d/%m/%Y %H:%M",
    "%m/%d/%Y %H:%M:%S",
    "%m/%d/%Y %H:%M",
    "%d.%m.%Y %H:%M:%S",
    "%d.%m.%Y %H:%M",
    "%Y/%m/%d %H:%M:%S",
    "%Y%m%d%H%M%S",
    "%a %b %d %H:%M:%S %z %Y",
    "%b %d, %Y %H:%M:%S",
    "%d.%m.%Y",
    "%d/%m/%Y",
    "%m/%d/%Y",
    "%b %d, %Y",
)
READABLE = 0.9
"""Share of texts that a way of reading must understand."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TimeGuess:
    """A time column and how to read it."""

    column: Column
    unit: str | None = None
    format: str | None = None
    packed: bool = False
    """Whole numbers like 20240131: the table's SQL must turn them into dates."""
    unread: int = 0
    """Rows without a readable time."""
    daily: bool = False
    """Days only: all times are midnight."""
    zoned: bool = True
    how: str = ""

    @property
    def sql(self) -> str:
        """Microseconds since 1970 in a query whose table is `t`."""
        if self.packed:
            return f"epoch_us(try_strptime(CAST({self.column.sql} AS VARCHAR), '%Y%m%d'))"
        column = TimeColumn.model_validate(
            {"column": self.column.name, "unit": self.unit or "s", "format": self.format}
        )
        return time_sql(column, self.column.kind, "t")

    @property
    def readable_sql(self) -> str:
        """Condition of the rows whose time can be read, in the words of the raw table."""
        name = quote(self.column.name)
        if self.format is not None:
            return f"try_strptime({name}, {literal(self.format)}) IS NOT NULL"
        return f"TRY_CAST({name} AS TIMESTAMPTZ) IS NOT NULL" if self.column.is_text else f"{name} IS NOT NULL"


def find_times(connection: duckdb.DuckDBPyConnection, table: Table, taken: Iterable[str] = ()) -> list[TimeGuess]:
    """The time columns of a table, the likeliest time of the event first."""
    guesses = [guess for column in table.columns if column.name not in taken and (guess := _guess(connection, column))]
    return sorted(guesses, key=lambda guess: (has_word(guess.column.name, SNAPSHOT_WORDS), guess.daily, guess.unread))


def _guess(connection: duckdb.DuckDBPyConnection, column: Column) -> TimeGuess | None:
    if column.nulls == column.rows:
        return None
    found: TimeGuess | None = None
    if column.is_time:
        zoned = column.kind == "TIMESTAMP WITH TIME ZONE"
        found = TimeGuess(column=column, zoned=zoned, how="dates" if column.kind == "DATE" else "timestamps")
    elif column.is_number:
        found = _number(column)
    elif column.kind == "VARCHAR" and column.length < 40:
        found = _text(connection, column)
    return None if found is None else _measure(connection, found)


def _number(column: Column) -> TimeGuess | None:
    """A number that has a time's size in some unit; its name decides if several columns do."""
    named = has_word(column.name, TIME_WORDS)
    if column.low is None or column.not_finite:
        return None
    low, high = float(column.low), float(column.high)
    if named and column.whole and 19_900_101 <= low <= high <= 21_000_101 and low % 100 <= 31:
        return TimeGuess(column=column, packed=True, zoned=False, how="numbers like 20240131")
    for unit, factor in UNITS.items():
        fits = EARLIEST * factor <= low <= high <= LATEST * factor
        if fits and (named or (column.distinct > 100 and not is_id(column.name))):
            return TimeGuess(column=column, unit=unit, how=f"their size fits {unit} since 1970")
    return None


def _text(connection: duckdb.DuckDBPyConnection, column: Column) -> TimeGuess | None:
    ways = ["TRY_CAST({} AS TIMESTAMPTZ)", *(f"try_strptime({{}}, '{form}')" for form in FORMATS)]
    counts = ", ".join(f"count({way.format(column.sql)})" for way in ways)
    found = one_row(connection, f"SELECT count({column.sql}), {counts} FROM {column.sample} AS t")
    filled, readable = found[0], found[1:]
    if not filled or max(readable) < READABLE * filled:
        return None
    best = readable.index(max(readable))
    if best == 0:
        zone = f"count(*) FILTER (regexp_matches({column.sql}, '([+-][0-9]{{2}}:?([0-9]{{2}})?|Z|UTC)$'))"
        zoned = one_row(connection, f"SELECT {zone} FROM {column.sample} AS t")[0] >= READABLE * filled
        return TimeGuess(column=column, zoned=bool(zoned), how="ISO 8601 texts")
    form = FORMATS[best - 1]
    return TimeGuess(column=column, format=form, zoned="%z" in form, how="texts of this format")


def _measure(connection: duckdb.DuckDBPyConnection, guess: TimeGuess) -> TimeGuess:
    midnight = f"count(*) FILTER ({guess.sql} % 86400000000 <> 0)"
    read, odd = one_row(connection, f"SELECT count({guess.sql}), {midnight} FROM {guess.column.view} AS t")
    return TimeGuess(
        column=guess.column, unit=guess.unit, format=guess.format, packed=guess.packed, zoned=guess.zoned,
        how=guess.how, unread=guess.column.rows - int(read), daily=odd == 0,
    )  # fmt: skip
