"""Raw tables as DuckDB views: every row knows its file and its place in it.

Text files are parsed once, into Parquet in the staging folder; Parquet files are read where they are. A view
`_hemix_raw_<table>` has the table's columns and `_hemix_row`: a number that orders rows by file, then by place.
"""

import glob
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from hemix.data.text_files import header, open_quote, reject_twins, sort_out_lines, table_format
from hemix.errors import InputError, StoreError, suggestion
from hemix.schema import RESERVED_PREFIX, Table

ROW = f"{RESERVED_PREFIX}_row"
FILE = f"{RESERVED_PREFIX}_file"
ROWS_PER_FILE, MAX_FILES = 2**34, 2**18
"""A row's number has 52 bits: 18 for its Parquet file, 34 for its place in it."""
FILE_COLUMNS = ("file_index", "file_row_number")
"""Columns that DuckDB adds to a Parquet table."""
SNIFF_WHOLE_FILE_BYTES = 256 * 2**20
ORDERLESS = re.compile(r"\b(group|distinct|join|union|intersect|except|over|unnest|pivot|unpivot)\b", re.IGNORECASE)
"""SQL whose rows come in an order that depends on the threads; one thread gives the same order each time."""
REJECTIONS = {
    "INVALID ENCODING": "the text is not UTF-8",
    "MISSING COLUMNS": "too few columns",
    "TOO MANY COLUMNS": "too many columns",
    "UNQUOTED VALUE": "a quote is not closed",
    "CAST": "a value of another type than those before",
}


def quote(name: str) -> str:
    """A SQL identifier, safe for any column name."""
    return '"' + name.replace('"', '""') + '"'


def seen_from(root: Path, file: str) -> str:
    """The path of a file within `root`, where it is below: the same wherever the folder stands."""
    return Path(file).relative_to(root).as_posix() if Path(file).is_relative_to(root) else file


def literal(value: str | Path) -> str:
    """A SQL text literal."""
    return "'" + str(value).replace("'", "''") + "'"


def connect(
    staging: Path, *, memory_limit: str, threads: int | None, timezone: str | None
) -> duckdb.DuckDBPyConnection:
    """A DuckDB connection that spills to `staging` beyond `memory_limit` and reads zoneless times in `timezone`.

    Raises InputError if the time zone is not known.
    """
    config: dict[str, Any] = {
        "memory_limit": memory_limit,
        "temp_directory": str(staging / "spill"),
        "preserve_insertion_order": "false",
    }
    if threads is not None:
        config["threads"] = str(threads)
    # tables of our own are scratch: a database in memory spills them, too, and flushes nothing to the disk
    connection = duckdb.connect(":memory:", config=config)
    connection.execute("SET enable_progress_bar = false")
    try:
        connection.execute(f"SET TimeZone = {literal(timezone or 'UTC')}")
    except duckdb.Error as error:
        raise InputError(
            f"data.timezone must be an IANA name such as Europe/Berlin, got {timezone!r}: {error}"
        ) from None
    return connection


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that breaks a rule: where it stands and why."""

    table: str
    file: str
    row: int
    """1-based, without the header line; 0 if the place is not known."""
    reason: str

    def __str__(self) -> str:
        return f"table {self.table}, file {self.file}, row {self.row}: {self.reason}"


class Sources:
    """The raw tables of an experiment, opened as views of one connection.

    `root` is the folder that relative paths start at; `known` are columns of tables that are not opened again. `like`
    has the types that the columns of a table had before: a CSV column that was a text stays one, though all of its
    values look like numbers now (007 is not 7). Rows that a text parser rejects are kept in `bad_rows`.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        tables: Mapping[str, Table],
        root: Path,
        staging: Path,
        known: Mapping[str, Mapping[str, str]] | None = None,
        like: Mapping[str, Mapping[str, str]] | None = None,
    ) -> None:
        self.connection = connection
        self._like = like or {}
        self.bad_rows: list[BadRow] = []
        self._files: dict[str, list[str]] = {}
        self._staged: set[str] = set()
        self._starts: dict[str, list[tuple[int, str]]] = {}
        self._rejected: dict[tuple[str, str], list[int]] = {}
        self._root = root
        self._staging = staging
        # a SQL table may name files too: they start at the same folder
        connection.execute(f"SET file_search_path = {literal(root.resolve())}")
        self._columns: dict[str, dict[str, str]] = {name: dict(columns) for name, columns in (known or {}).items()}
        for name, table in tables.items():
            self._open(name, table)
        for name in tables:
            # only other tables' SQL needed these; now their names are free for our own
            connection.execute(f"DROP VIEW {quote(name)}")

    def columns(self, table: str) -> dict[str, str]:
        """Column names of a table with their DuckDB types."""
        return self._columns[table]

    def require(self, table: str, column: str, place: str) -> str:
        """The type of a column; InputError with the known names if the table lacks it."""
        self.require_any([table], column, place)
        return self._columns[table][column]

    def require_any(self, tables: Sequence[str], column: str, place: str) -> None:
        """Raises InputError with the known names if none of some tables has a column."""
        if any(column in self._columns[table] for table in tables):
            return
        files = {table: f" ({', '.join(self._files[table])})" if table in self._files else "" for table in tables}
        named = " and ".join(f"table {table!r}{files[table]}" for table in tables)
        known = list(dict.fromkeys(name for table in tables for name in self._columns[table]))
        raise InputError(
            f"{place} needs column {column!r}, which {named} {'does' if len(tables) == 1 else 'do'} not have; the "
            f"columns are: {', '.join(known)}.{suggestion(column, known)}"
        )

    def check_sql(self, table: str, expression: str, place: str) -> None:
        """Raises InputError if an expression over the columns of a table cannot be computed."""
        try:
            self.connection.sql(f"SELECT ({expression}) FROM _hemix_raw_{table} AS t LIMIT 0").fetchall()
        except duckdb.Error as error:
            raise InputError(
                f"{place}: the SQL {expression!r} does not work: {first_lines(error)}. The columns of table {table!r} "
                f"are: {', '.join(self._columns[table])}."
            ) from None

    def locate(self, table: str, row: int) -> tuple[str, int]:
        """File and 1-based row of a `_hemix_row`; rows that the parser rejected count too."""
        if table not in self._staged:
            return self._files[table][row // ROWS_PER_FILE], row % ROWS_PER_FILE + 1
        if table not in self._starts:
            query = f"SELECT min({ROW}), {FILE} FROM _hemix_raw_{table} GROUP BY {FILE} ORDER BY 1"
            self._starts[table] = [(int(start), str(file)) for start, file in self.connection.sql(query).fetchall()]
        start, file = self._starts[table][bisect_right(self._starts[table], row, key=lambda found: found[0]) - 1]
        place = row - start + 1
        return file, place + bisect_right(self._rejected.get((table, file), ()), place)

    def contents(self, table: str) -> dict[str, Path]:
        """The files that a table is read from, by name; of a SQL table that of its rows."""
        files = self._files[table]
        return {"sql": self._staged_file(table)} if files == ["sql"] else {file: Path(file) for file in files}

    def _open(self, name: str, table: Table) -> None:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise InputError(f"A table name must be a plain word (letters, digits, _), got {name!r}.")
        if table.sql is not None:
            self._files[name] = ["sql"]
            self._stage(name, f"SELECT *, 'sql' AS {FILE} FROM ({table.sql.rstrip().rstrip(';')})")
        else:
            files = self._find(name, table)
            self._files[name] = files
            kind = table_format(name, table, files)
            if kind == "parquet":
                self._open_parquet(name, files)
            elif kind == "csv":
                self._stage_csv(name, table, files)
            else:
                self._stage_json(name, files)
            for file in files:
                reject_twins(name, file, self._names(name, table, file, kind))
        self._columns[name] = self._describe(name)
        if table.sql is None:
            self._require_rows(name)
        hidden = ", ".join(self.hidden(name))
        self.connection.execute(
            f"CREATE OR REPLACE VIEW {quote(name)} AS SELECT * EXCLUDE ({hidden}) FROM _hemix_raw_{name}"
        )

    def _require_rows(self, name: str) -> None:
        if not self.connection.sql(f"SELECT 1 FROM _hemix_raw_{name} LIMIT 1").fetchall():
            raise InputError(
                f"Table {name!r}: {', '.join(self._files[name])} has columns but no row; a table needs at least one."
            )

    def hidden(self, name: str) -> list[str]:
        """Columns of a raw view that are not the table's own."""
        return [ROW, FILE] if name in self._staged else [ROW]

    def _find(self, name: str, table: Table) -> list[str]:
        patterns = [table.path] if isinstance(table.path, str) else list(table.path or ())
        files: list[str] = []
        for pattern in patterns:
            path = Path(pattern) if Path(pattern).is_absolute() else self._root / pattern
            found = sorted(glob.glob(str(path), recursive=True)) or ([str(path)] if path.exists() else [])
            if not found:
                raise InputError(
                    f"Table {name!r}: no file at {path}. Check tables.{name}.path; relative paths start at "
                    f"{self._root}."
                )
            files.extend(found)
        for file in files:
            if Path(file).is_dir():
                raise InputError(f"Table {name!r}: {file} is a folder; name the files, for example {file}/*.parquet.")
            if Path(file).stat().st_size == 0:
                raise InputError(
                    f"Table {name!r}: file {file} is empty (0 bytes); a table needs at least a header and a row."
                )
        return files

    def _open_parquet(self, name: str, files: list[str]) -> None:
        if len(files) > MAX_FILES:
            raise InputError(
                f"Table {name!r} may have at most {MAX_FILES} Parquet files, but {len(files)} fit "
                f"tables.{name}.path; join them into fewer."
            )
        number = f"CAST(file_index AS BIGINT) * {ROWS_PER_FILE} + file_row_number"
        self._run(
            name,
            f"CREATE OR REPLACE VIEW _hemix_raw_{name} AS SELECT *, CAST({number} AS BIGINT) AS {ROW} "
            f"FROM read_parquet({_listed(files)})",
        )
        for column in pq.read_schema(files[0]).names:
            if column.lower() in FILE_COLUMNS:
                raise InputError(
                    f"Table {name!r}, file {files[0]}: {column!r} is the name of a column that DuckDB adds itself; "
                    f"rename it in the file."
                )

    def _stage_csv(self, name: str, table: Table, files: list[str]) -> None:
        options = [
            f"filename = {literal(FILE)}",
            "store_rejects = true",
            f"rejects_table = 'rejects_{name}'",
            f"rejects_scan = 'scans_{name}'",
        ]
        if sum(Path(file).stat().st_size for file in files) <= SNIFF_WHOLE_FILE_BYTES:
            options.append("sample_size = -1")
        if table.delimiter is not None:
            options.append(f"delim = {literal(table.delimiter)}")
        if table.columns is None:
            options.append("header = true")
        else:
            options.append(f"header = false, names = [{', '.join(map(literal, table.columns))}]")
        self._read_csv(name, files, options)
        if table.columns is None and all(re.fullmatch('".*"', column) for column in self._describe(name)):
            # one quote is never closed, so that the reader took all quotes for text
            raise InputError(f"Table {name!r}, {open_quote(files)}. Close it, or write it twice if it is text.")
        known = self._like.get(name, {})
        texts = [
            column for column, kind in self._describe(name).items() if kind != known.get(column, kind) == "VARCHAR"
        ]
        if texts:
            types = ", ".join(f"{literal(column)}: 'VARCHAR'" for column in texts)
            options.append(f"types = {{{types}}}")
            self._read_csv(name, files, options)
        self._collect_rejects(name, has_header=table.columns is None)

    def _read_csv(self, name: str, files: list[str], options: list[str]) -> None:
        for record in ("rejects", "scans"):
            self.connection.execute(f"DROP TABLE IF EXISTS {record}_{name}")
        self._stage(name, f"SELECT * FROM read_csv({_listed(files)}, {', '.join(options)})")

    def _stage_json(self, name: str, files: list[str]) -> None:
        options = f"format = 'newline_delimited', filename = {literal(FILE)}"
        try:
            self._stage(name, f"SELECT * FROM read_json({_listed(files)}, {options})")
            broken = list(self._describe(name)) == ["json"]
        except InputError:
            if any(file.endswith(".zst") for file in files):
                raise
            broken = True
        if not broken:
            return
        # the reader stops at a broken line and does not say where: read what is left without such lines
        good = [self._staging / f"{name}-{number}.jsonl" for number in range(len(files))]
        for file, path in zip(files, good, strict=True):
            places = self._rejected.setdefault((name, file), [])
            for line, row, text in sort_out_lines(file, path):
                reason = f"not a JSON object, in line {line}: {text[:80]!r}"
                self.bad_rows.append(BadRow(table=name, file=file, row=row, reason=reason))
                places.append(row - len(places))
        left = [(file, str(path)) for file, path in zip(files, good, strict=True) if path.stat().st_size]
        if not left:
            raise InputError(f"Table {name!r}: no line of {', '.join(files)} is a JSON object.")
        origin = " ".join(f"WHEN {literal(path)} THEN {literal(file)}" for file, path in left)
        columns = f"* REPLACE (CASE {FILE} {origin} END AS {FILE})"
        self._stage(name, f"SELECT {columns} FROM read_json({_listed(path for _, path in left)}, {options})")

    def _describe(self, name: str) -> dict[str, str]:
        """The columns of a raw view that are the table's own, with their types."""
        found = self.connection.sql(f"DESCRIBE _hemix_raw_{name}").fetchall()
        return {str(column): str(kind) for column, kind, *_ in found if not str(column).startswith(RESERVED_PREFIX)}

    def _stage(self, name: str, query: str) -> None:
        """Write a query's result to one Parquet file, in its own order, and open that."""
        path = self._staged_file(name)
        self._staged.add(name)
        threads = self.connection.sql("SELECT current_setting('threads')").fetchall()[0][0]
        self.connection.execute("SET preserve_insertion_order = true")
        if ORDERLESS.search(query):
            self.connection.execute("SET threads = 1")
        self._run(name, f"COPY ({query}) TO {literal(path)} (FORMAT parquet, COMPRESSION lz4_raw)")
        self.connection.execute(f"SET threads = {threads}")
        self.connection.execute("SET preserve_insertion_order = false")
        self._run(
            name,
            f"CREATE OR REPLACE VIEW _hemix_raw_{name} AS SELECT * EXCLUDE (file_row_number), file_row_number AS {ROW} "
            f"FROM read_parquet({literal(path)}, file_row_number = true)",
        )

    def _staged_file(self, name: str) -> Path:
        return self._staging / f"_hemix_raw_{name}.parquet"

    def _collect_rejects(self, name: str, *, has_header: bool) -> None:
        rows = self.connection.sql(
            f"SELECT s.file_path, r.line, first(r.column_name ORDER BY r.column_idx), "
            f"first(r.error_type ORDER BY r.column_idx), first(r.csv_line) FROM rejects_{name} AS r "
            f"JOIN scans_{name} AS s USING (scan_id, file_id) GROUP BY ALL ORDER BY s.file_path, r.line"
        ).fetchall()
        for file, line, column, kind, text in rows:
            why = REJECTIONS.get(str(kind), str(kind).lower())
            reason = f"column {column}: {why}, in line {line}: {str(text)[:80]!r}"
            bad = BadRow(table=name, file=str(file), row=max(int(line) - has_header, 0), reason=reason)
            self.bad_rows.append(bad)
            # the place that it would have had among the rows that are not rejected
            places = self._rejected.setdefault((name, bad.file), [])
            places.append(bad.row - len(places))

    def _names(self, name: str, table: Table, file: str, kind: str) -> list[str]:
        """The columns as the file itself names them; none if it names them row by row."""
        if kind == "parquet":
            return list(pq.read_schema(file).names)
        if kind == "jsonl" or file.endswith(".zst"):
            return []
        if table.columns is not None:
            return list(table.columns)
        delimiter = table.delimiter
        if delimiter is None:
            # what the reader found is on record only if it rejected something; if it did not, the file can be looked at
            found = self.connection.sql(f"SELECT delimiter FROM scans_{name}").fetchall()
            found = found or self.connection.sql(f"SELECT Delimiter FROM sniff_csv({literal(file)})").fetchall()
            delimiter = str(found[0][0])
        return header(file, delimiter)

    def _run(self, name: str, statement: str) -> None:
        try:
            self.connection.execute(statement)
        except duckdb.Error as error:
            files, text = ", ".join(self._files[name][:3]), first_lines(error)
            if "No space left" in text or "could not write" in text.lower():
                raise StoreError(
                    f"The disk is full while reading table {name!r} ({files}); free space and prepare again. ({text})"
                ) from None
            raise InputError(f"Table {name!r} ({files}) cannot be read: {text}") from None


def _listed(files: Iterable[str]) -> str:
    return f"[{', '.join(map(literal, files))}]"


def first_lines(error: duckdb.Error) -> str:
    """What an error of DuckDB says, without the piece of SQL that it shows."""
    lines = str(error).split("\nLINE ")[0].splitlines()[:4]
    return " ".join(line.strip() for line in lines if line.strip()).rstrip(".")
