"""What can be seen of raw tables without knowing what they mean."""

import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb

from hemix.data.sources import Sources, connect, literal, quote
from hemix.errors import InputError
from hemix.schema import Table

SAMPLE_ROWS = 1_000_000
"""Rows of a table that are looked at; a larger table is sampled."""
NUM_SHOWN = 3
DELIMITERS = ("|", ";", ",")

ColumnType = Literal["text", "integer", "float", "boolean", "date", "time", "list", "vector", "other"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnFacts:
    """One column, as its values look."""

    name: str
    type: ColumnType
    distinct: int
    nulls: float
    """Share of rows."""
    unique: bool
    """No value stands twice, none is null."""
    low: float | None = None
    high: float | None = None
    """Of numbers; of dates and times not set."""
    shown: tuple[str, ...] = ()
    """Some of its values, most frequent first."""
    length: float = 0.0
    """Mean characters of a text, entries of a list."""
    delimiter: str | None = None
    """A text that is a list of values which come back."""

    @property
    def words(self) -> tuple[str, ...]:
        """The words in the name: ``customerId`` and ``customer_id`` have the same."""
        return tuple(word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", self.name))

    @property
    def is_number(self) -> bool:
        return self.type in ("integer", "float")


@dataclass(frozen=True, kw_only=True, slots=True)
class TableFacts:
    """One raw table."""

    name: str
    path: Path
    rows: int
    columns: dict[str, ColumnFacts]


class Look:
    """Raw tables opened for questions. `tables` are in the order of the files."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
        self._connection = connection
        staging = Path(tempfile.mkdtemp(dir=connection.sql("SELECT current_setting('temp_directory')").fetchall()[0][0]))
        paths = dict(zip(table_names(files), files, strict=True))
        tables = {name: Table(path=str(path.resolve())) for name, path in paths.items()}
        self._sources = Sources(connection, tables, Path.cwd(), staging)
        for name in paths:
            connection.execute(
                f"CREATE TABLE {self._view(name)} AS SELECT * FROM _hemix_raw_{name} "
                f"USING SAMPLE reservoir({SAMPLE_ROWS} ROWS) REPEATABLE (0)"
            )
        self.tables = {name: self._table(name, path) for name, path in paths.items()}

    def ask(self, query: str) -> tuple[Any, ...]:
        """The first row of a query's result."""
        return self._connection.sql(query).fetchall()[0]

    @staticmethod
    def _view(table: str) -> str:
        return f"_hemix_look_{table}"

    def overlap(self, table: str, column: str, other: str, key: str) -> float:
        """Share of the values of a column that stand among the keys of another table."""
        mine, theirs = quote(column), quote(key)
        return self.ask(
            f"SELECT avg(CASE WHEN k.v IS NULL THEN 0 ELSE 1 END) FROM "
            f"(SELECT DISTINCT CAST({mine} AS VARCHAR) AS v FROM {self._view(table)} WHERE {mine} IS NOT NULL) AS t "
            f"LEFT JOIN (SELECT DISTINCT CAST({theirs} AS VARCHAR) AS v FROM {self._view(other)}) AS k ON t.v = k.v"
        )[0]

    def determines(self, table: str, keys: Sequence[str], column: str) -> bool:
        """Whether rows with equal keys always have the same value in a column, and some keys stand in several rows."""
        listed = ", ".join(quote(key) for key in keys)
        most, repeated = self.ask(
            f"SELECT max(n), max(r) FROM (SELECT count(DISTINCT {quote(column)}) AS n, count(*) AS r "
            f"FROM {self._view(table)} GROUP BY {listed})"
        )
        return most <= 1 and repeated > 1

    def is_unique(self, table: str, columns: Sequence[str]) -> bool:
        """Whether no two rows agree in all of some columns."""
        listed = ", ".join(quote(column) for column in columns)
        counts = f"SELECT count(*) AS n FROM {self._view(table)} GROUP BY {listed}"
        return self.ask(f"SELECT max(n) FROM ({counts})")[0] == 1

    def events_per_user(self, table: str, user: str) -> int:
        """Rows of a user: the value that nine of ten users stay below."""
        counts = f"SELECT count(*) AS n FROM {self._view(table)} GROUP BY {quote(user)}"
        return int(self.ask(f"SELECT quantile_cont(n, 0.9) FROM ({counts})")[0])

    def _table(self, name: str, path: Path) -> TableFacts:
        rows = self.ask(f"SELECT count(*) FROM _hemix_raw_{name}")[0]
        columns = {column: self._column(name, column, kind) for column, kind in self._sources.columns(name).items()}
        return TableFacts(name=name, path=path, rows=rows, columns=columns)

    def _column(self, table: str, column: str, kind: str) -> ColumnFacts:
        view, name, found = self._view(table), quote(column), column_type(kind)
        length = f"avg(length({name}))" if found == "text" else f"avg(len({name}))" if found in ("list", "vector") else "0"
        ends = f"min({name}), max({name})" if found in ("integer", "float") else "NULL, NULL"
        rows, known, distinct, low, high, size = self.ask(
            f"SELECT count(*), count({name}), count(DISTINCT {name}), {ends}, {length} FROM {view}"
        )
        shown = self._connection.sql(
            f"SELECT CAST({name} AS VARCHAR) FROM {view} WHERE {name} IS NOT NULL GROUP BY {name} "
            f"ORDER BY count(*) DESC, 1 LIMIT {NUM_SHOWN}"
        ).fetchall()
        return ColumnFacts(
            name=column,
            type=found,
            distinct=distinct,
            nulls=1 - known / rows,
            unique=distinct == rows,
            low=None if low is None else float(low),
            high=None if high is None else float(high),
            shown=tuple(str(value) for (value,) in shown),
            length=float(size or 0),
            delimiter=self._delimiter(view, name, distinct) if found == "text" else None,
        )

    def _delimiter(self, view: str, name: str, distinct: int) -> str | None:
        """The sign between values of a list written as text: it is frequent, and most values come back."""
        for sign in DELIMITERS:
            share, parts, values, size = self.ask(
                f"SELECT avg(CAST(contains({name}, {literal(sign)}) AS INTEGER)), count(v), count(DISTINCT trim(v)), "
                f"avg(length(v)) FROM (SELECT {name}, unnest(string_split({name}, {literal(sign)})) AS v FROM "
                f"(SELECT DISTINCT {name} FROM {view} WHERE {name} IS NOT NULL))"
            )
            if share is not None and share > 0.3 and distinct > 2 and values <= 0.7 * parts and size <= 25:
                return sign
        return None


def table_names(files: Sequence[Path]) -> list[str]:
    """A plain word for each file, from its name.

    >>> table_names([Path("a/order-items.csv"), Path("b/2024.parquet"), Path("b/order_items.csv.gz")])
    ['order_items', 'table_2024', 'order_items_2']
    """
    names: list[str] = []
    for file in files:
        word = re.sub(r"\W+", "_", file.name.split(".")[0]).strip("_").lower() or "table"
        word = word if not word[0].isdigit() else f"table_{word}"
        taken = sum(name == word or re.fullmatch(rf"{word}_\d+", name) is not None for name in names)
        names.append(f"{word}_{taken + 1}" if taken else word)
    return names


def column_type(kind: str) -> ColumnType:
    """The sort of a DuckDB type.

    >>> column_type("DECIMAL(18,3)"), column_type("VARCHAR[]"), column_type("TIMESTAMP WITH TIME ZONE")
    ('float', 'list', 'time')
    """
    if kind.endswith("]"):
        return "vector" if kind.startswith(("DOUBLE", "FLOAT", "DECIMAL")) else "list"
    if kind.startswith("TIMESTAMP"):
        return "time"
    if "INT" in kind:
        return "integer"
    if kind.startswith(("DOUBLE", "FLOAT", "DECIMAL", "REAL")):
        return "float"
    return {"VARCHAR": "text", "BOOLEAN": "boolean", "DATE": "date"}.get(kind, "other")  # pyright: ignore


def look_at(files: Sequence[Path], staging: Path) -> Look:
    """Open and count raw tables. Raises InputError for a file that is missing, empty or not a table."""
    if not files:
        raise InputError("A draft needs at least one file.")
    return Look(connect(staging, memory_limit="1GB", threads=None, timezone=None), files)
