"""What the columns of a raw table look like: types, nulls, distinct values, shape of texts and numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from hemix.data.expressions import NUMBERS as NUMERIC_TYPES
from hemix.data.sources import Sources, quote
from hemix.schema import RESERVED_PREFIX

SAMPLE_ROWS = 100_000
EXACT_ROWS = 200_000
MAYBE_KEY = 0.8
DELIMITERS = ("|", ";", ",")


def raw_view(table: str) -> str:
    """The view under which `Sources` opens a table."""
    return f"{RESERVED_PREFIX}_raw_{table}"


def sample_view(table: str) -> str:
    """Where a sample of a table is kept."""
    return f"{RESERVED_PREFIX}_sample_{table}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Column:
    """One column of a raw table. Counts are of all rows; text and number shapes are of a sample."""

    table: str
    name: str
    kind: str
    """DuckDB's type."""
    rows: int
    nulls: int
    distinct: int
    """Values that are not null; approximate in large tables."""
    low: Any
    high: Any
    not_finite: int = 0
    whole: bool = False
    """All numbers are whole."""
    median: float = 0.0
    length: float = 0.0
    """Mean characters of a text."""
    words: float = 0.0
    sizes: tuple[int, int] = (0, 0)
    """Smallest and greatest length of a list."""

    @property
    def sql(self) -> str:
        return f"t.{quote(self.name)}"

    @property
    def view(self) -> str:
        """All rows of its table."""
        return raw_view(self.table)

    @property
    def sample(self) -> str:
        """At most SAMPLE_ROWS rows of its table."""
        return sample_view(self.table)

    @property
    def is_number(self) -> bool:
        return (
            self.kind.startswith(NUMERIC_TYPES) and not self.is_list and self.kind != "BOOLEAN" and self.kind != "UUID"
        )

    @property
    def is_text(self) -> bool:
        return self.kind == "VARCHAR" or self.kind.startswith("ENUM") or self.kind == "UUID"

    @property
    def is_list(self) -> bool:
        return self.kind.endswith("]")

    @property
    def is_time(self) -> bool:
        return self.kind == "DATE" or self.kind.startswith("TIMESTAMP")

    @property
    def is_key(self) -> bool:
        """Every row has a value of its own."""
        return self.rows > 1 and self.nulls == 0 and self.distinct == self.rows


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A raw table: its files and columns."""

    name: str
    files: tuple[str, ...]
    rows: int
    columns: tuple[Column, ...]
    bad_rows: int = 0
    """Lines that do not parse."""

    @property
    def view(self) -> str:
        return raw_view(self.name)

    def column(self, name: str) -> Column:
        return next(column for column in self.columns if column.name == name)

    def has(self, name: str) -> bool:
        return any(column.name == name for column in self.columns)


def profile_table(sources: Sources, name: str, files: Sequence[str]) -> Table:
    """Look at every column of a table that `sources` has opened; leaves a sample as a table of its own."""
    connection, kinds = sources.connection, sources.columns(name)
    names = ", ".join(quote(column) for column in kinds)
    view, sample = raw_view(name), sample_view(name)
    rows = int(one_row(connection, f"SELECT count(*) FROM {view}")[0])
    some = f" USING SAMPLE reservoir({SAMPLE_ROWS} ROWS) REPEATABLE (0)" if rows > SAMPLE_ROWS else ""
    connection.execute(f"CREATE OR REPLACE TABLE {sample} AS SELECT {names} FROM {view}{some}")
    columns = tuple(_profile(connection, name, column, kind, rows) for column, kind in kinds.items())
    bad = sum(row.table == name for row in sources.bad_rows)
    return Table(name=name, files=tuple(files), rows=rows, columns=columns, bad_rows=bad)


def _profile(connection: duckdb.DuckDBPyConnection, table: str, name: str, kind: str, rows: int) -> Column:
    value, view = f"t.{quote(name)}", raw_view(table)
    scalar = not kind.endswith("]") and not kind.startswith(("STRUCT", "MAP", "BLOB", "JSON"))
    distinct = f"count(DISTINCT {value})" if rows <= EXACT_ROWS else f"approx_count_distinct({value})"
    # a time would reach Python through a package that need not be there
    shown = f"CAST({value} AS VARCHAR)" if kind.startswith(("TIME", "DATE")) else value
    edges = f"min({shown}), max({shown})" if scalar else "NULL, NULL"
    broken = f"count(*) FILTER (NOT isfinite({value}))" if kind in ("DOUBLE", "FLOAT") else "0"
    query = f"SELECT count({value}), {distinct if scalar else 'count(*)'}, {edges}, {broken} FROM {view} AS t"
    filled, different, low, high, not_finite = one_row(connection, query)
    if scalar and rows > EXACT_ROWS and different > MAYBE_KEY * filled:
        different = one_row(connection, f"SELECT count(DISTINCT {value}) FROM {view} AS t")[0]
    column = Column(
        table=table, name=name, kind=kind, rows=rows, nulls=rows - int(filled), distinct=int(different), low=low,
        high=high, not_finite=int(not_finite),
    )  # fmt: skip
    shape: dict[str, Any] = {}
    if column.is_number:
        finite = f"FILTER (isfinite(CAST({value} AS DOUBLE)))"
        found = _sampled(
            connection, column, f"median(CAST({value} AS DOUBLE)) {finite}, bool_and({value} = round({value})) {finite}"
        )
        shape = {"median": float(found[0] or 0.0), "whole": bool(found[1])}
    elif kind == "VARCHAR":
        found = _sampled(
            connection, column, f"avg(length({value})), avg(len(string_split_regex(trim({value}), '\\s+')))"
        )
        shape = {"length": float(found[0] or 0.0), "words": float(found[1] or 0.0)}
    elif column.is_list:
        found = _sampled(connection, column, f"min(len({value})), max(len({value}))")
        shape = {"sizes": (int(found[0] or 0), int(found[1] or 0))}
    return Column(**{key: getattr(column, key) for key in _BASIC}, **shape)


_BASIC = ("table", "name", "kind", "rows", "nulls", "distinct", "low", "high", "not_finite")


def _sampled(connection: duckdb.DuckDBPyConnection, column: Column, expressions: str) -> tuple[Any, ...]:
    return one_row(connection, f"SELECT {expressions} FROM {column.sample} AS t")


def one_row(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    """The only row of a query's result."""
    return connection.execute(query).fetchall()[0]


def delimiter_of(connection: duckdb.DuckDBPyConnection, column: Column) -> tuple[str, int] | None:
    """The character at which a text column is a list of values that recur, and the length that covers 99 % of rows."""
    if column.kind != "VARCHAR" or column.distinct < 3:
        return None
    source = column.sample
    for mark in DELIMITERS:
        cut = f"list_transform(string_split({column.sql}, '{mark}'), lambda part: trim(part))"
        rows, values, mean, longest, width = one_row(
            connection,
            f"SELECT count(*), count(DISTINCT part), avg(size), max(length(part)), quantile_disc(size, 0.99) FROM "
            f"(SELECT unnest(parts) AS part, len(parts) AS size FROM (SELECT {cut} AS parts FROM {source} AS t "
            f"WHERE {column.sql} IS NOT NULL))",
        )
        if rows and mean > 1.2 and longest <= 40 and values < column.distinct and values <= rows / 4:
            return mark, max(2, int(width))
    return None
