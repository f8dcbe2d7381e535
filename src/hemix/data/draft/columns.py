"""From a column to the feature that it becomes, or to the reason why it is left out."""

from dataclasses import dataclass
from typing import Any

import duckdb

from hemix.data.draft.profile import Column, Table, delimiter_of, one_row
from hemix.data.draft.words import LATITUDES, LONGITUDES, POSITION_WORDS, has_word, is_id, tokens

FEW_VALUES = 30
"""Whole numbers with at most so many values are codes rather than quantities."""
LONG_TEXT, MANY_WORDS = 60.0, 6.0
MANY_VALUES = 1_000
TOO_MANY_VALUES = 2_000_000
HASH_BUCKETS = 1_000_000
SKEWED = 20.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Drafted:
    """A feature (`values` as in the file) or, if `values` is None, a column that is left out; and why."""

    column: str
    values: dict[str, Any] | None
    why: str
    side: str = ""


def draft_column(connection: duckdb.DuckDBPyConnection, column: Column) -> Drafted:
    """The kind of feature that fits a column's values."""
    unfit = _unfit(column)
    if unfit:
        return Drafted(column=column.name, values=None, why=unfit)
    base = {"column": column.name}
    if column.is_list:
        return _list(column, base)
    if column.is_number:
        return _number(column, base)
    cut = delimiter_of(connection, column)
    if cut is not None:
        mark, length = cut
        values = {"kind": "multi_categorical", **base, "delimiter": mark, "max_length": length}
        return Drafted(column=column.name, values=values, why=f"texts cut at {mark!r}")
    if column.is_text and (column.length > LONG_TEXT or column.words > MANY_WORDS):
        return Drafted(column=column.name, values=None, why=f"free text, {column.words:.0f} words on average")
    return _categorical(column, base)


def _unfit(column: Column) -> str | None:
    if column.nulls == column.rows:
        return "null in every row"
    if column.not_finite:
        return f"{column.not_finite} rows hold NaN or Inf; replace them by null in the table's SQL to use it"
    if column.kind.startswith(("STRUCT", "MAP", "BLOB", "JSON")):
        return f"type {column.kind[:30]}; take out what you need in the table's SQL"
    if not column.is_list and column.distinct == 1 and not column.nulls:
        return f"the same value in every row ({str(column.low)[:40]})"
    if column.is_time:
        return "a time: declare it `kind: timestamp` if it is known at the request"
    return None


def _list(column: Column, base: dict[str, Any]) -> Drafted:
    low, high = column.sizes
    real = column.kind.startswith(("FLOAT", "DOUBLE", "DECIMAL"))
    if high == 0:
        return Drafted(column=column.name, values=None, why="only empty lists")
    if column.kind.count("[") > 1 or column.kind.startswith("STRUCT"):
        return Drafted(column=column.name, values=None, why=f"type {column.kind[:30]} has no kind of feature")
    if real and low == high:
        return Drafted(column=column.name, values={"kind": "vector", **base, "size": high}, why="lists of one length")
    if real:
        return Drafted(column=column.name, values=None, why=f"lists of {low} to {high} numbers, not a vector")
    values = {"kind": "multi_categorical", **base, "max_length": min(max(high, 1), 20)}
    return Drafted(column=column.name, values=values, why=f"lists of up to {high} values")


def _number(column: Column, base: dict[str, Any]) -> Drafted:
    if has_word(column.name, POSITION_WORDS) and column.whole and column.distinct <= MANY_VALUES:
        values = {"kind": "categorical", **base, "served_as": str(column.low)}
        return Drafted(column=column.name, values=values, why="a position: known in training, served as the first one")
    if column.whole and (is_id(column.name) or column.distinct <= FEW_VALUES):
        return _categorical(column, base)
    low, high = float(column.low), float(column.high)
    skewed = low >= 0 and high > SKEWED * max(column.median, 1e-12)
    values = {"kind": "numeric", **base, "transform": "log" if skewed else "standard"}
    return Drafted(column=column.name, values=values, why=f"{low:g} to {high:g}, median {column.median:g}")


def _categorical(column: Column, base: dict[str, Any]) -> Drafted:
    if column.distinct > max(100, column.rows / 2):
        return Drafted(column=column.name, values=None, why="nearly every row has a value of its own")
    values: dict[str, Any] = {"kind": "categorical", **base}
    if column.distinct > TOO_MANY_VALUES:
        values["hash_buckets"] = HASH_BUCKETS
    elif column.distinct > MANY_VALUES:
        values["min_count"] = 2
    nulls = f", {column.nulls} nulls" if column.nulls else ""
    return Drafted(column=column.name, values=values, why=f"{column.distinct} values{nulls}")


def find_places(table: Table, taken: set[str]) -> list[tuple[str, Column, Column]]:
    """Pairs of columns that are degrees of latitude and longitude, with a name for each place."""
    found: list[tuple[str, Column, Column]] = []
    for latitude in table.columns:
        rest = [part for part in tokens(latitude.name) if part not in LATITUDES]
        if len(rest) == len(tokens(latitude.name)) or not _degrees(latitude, 90, taken):
            continue
        for longitude in table.columns:
            other = tokens(longitude.name)
            if [part for part in other if part not in LONGITUDES] == rest and len(other) > len(rest):
                if _degrees(longitude, 180, taken):
                    found.append(("_".join([*rest, "place"]), latitude, longitude))
                break
    return found


def _degrees(column: Column, limit: int, taken: set[str]) -> bool:
    if column.name in taken or not column.is_number or column.low is None or column.not_finite:
        return False
    return -limit <= float(column.low) <= float(column.high) <= limit


def side_of(
    connection: duckdb.DuckDBPyConnection, column: Column, user: Column | None, item: Column | None, moment: str | None
) -> str:
    """Whether a column of the examples belongs to the item, the request, or the pair of both.

    It belongs to the item if the item decides it, to the pair if it differs within a request (`moment` is the SQL of
    its time), else to the request.
    """
    if item is not None and _decided_by(connection, column, item.sql, at_least=10):
        return "candidate"
    if user is None or moment is None:
        return "request"
    _, varying = _groups(connection, column, f"{user.sql}, {moment}")
    return "pair" if varying else "request"


def _decided_by(connection: duckdb.DuckDBPyConnection, column: Column, key: str, at_least: int) -> bool:
    groups, varying = _groups(connection, column, key)
    return groups >= at_least and varying == 0 and column.distinct > 1


def _groups(connection: duckdb.DuckDBPyConnection, column: Column, key: str) -> tuple[int, int]:
    """Groups of several rows with one key, and in how many of them the column varies."""
    kinds = f"count(DISTINCT coalesce(CAST({column.sql} AS VARCHAR), ''))"
    groups = f"SELECT {kinds} AS kinds FROM {column.view} AS t GROUP BY {key} HAVING count(*) > 1"
    found = one_row(connection, f"SELECT count(*), count(*) FILTER (kinds > 1) FROM ({groups})")
    return int(found[0]), int(found[1])
