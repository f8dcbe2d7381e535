"""Published text formats to Parquet, by DuckDB: streaming, typed, in the order of the file."""

import csv
import gzip
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import duckdb

from hemix.data.public.dataset import CHUNK_BYTES
from hemix.errors import InputError

DAMAGED_GZIP = (gzip.BadGzipFile, zlib.error, EOFError)
MAX_HEADER = 10_000
"""Characters of a header line: what is longer is no header."""


def text_literal(value: str | Path) -> str:
    """A SQL text literal."""
    return "'" + str(value).replace("'", "''") + "'"


def read_text(
    path: Path,
    columns: Mapping[str, str],
    *,
    delimiter: str,
    encoding: str = "utf-8",
    header: bool = False,
    quote: str = "",
) -> str:
    """SQL that reads a text file of these columns and types; nothing is guessed."""
    struct = "{" + ", ".join(f"{text_literal(name)}: {text_literal(kind)}" for name, kind in columns.items()) + "}"
    return (
        f"read_csv({text_literal(path)}, delim = {text_literal(delimiter)}, header = {str(header).lower()}, "
        f"auto_detect = false, quote = '{quote}', escape = '{quote}', comment = '', strict_mode = true, "
        f"encoding = {text_literal(encoding)}, columns = {struct})"
    )


def check_gzip(path: Path) -> None:
    """Read a .gz file to its end and compare its checksum, which DuckDB does not. Raises InputError."""
    try:
        with gzip.open(path) as stream:
            while stream.read(CHUNK_BYTES):
                continue
    except DAMAGED_GZIP as error:
        raise _not_whole(path, error) from None


def columns_of(path: Path, columns: Mapping[str, str]) -> dict[str, str]:
    """`columns` in the order of the file's header, which must name these and no others. Raises InputError.

    The reader takes columns by their place: a column more or less would shift all others unseen.
    """
    if not path.exists() or path.stat().st_size == 0:
        return dict(columns)
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", errors="replace", newline="") as stream:
            names = [name.strip() for name in next(csv.reader([stream.readline(MAX_HEADER)]), [])]
    except DAMAGED_GZIP as error:
        raise _not_whole(path, error) from None
    missing = [name for name in columns if name not in names]
    unknown = [name for name in names if name not in columns]
    if missing or unknown or len(names) != len(columns):
        raise InputError(
            f"{path.name} is not in its published format: Line: 1: the header must name {', '.join(columns)}; "
            f"it lacks {', '.join(missing) or 'none'} and has besides {', '.join(unknown) or 'none'}."
        )
    return {name: columns[name] for name in names}


def fail(rule: str, value: str) -> str:
    """SQL that stops with the column `line`, the rule and the value that breaks it; with a null it would not stop."""
    text = f"coalesce(CAST({value} AS VARCHAR), 'empty')"
    return f"error('Line: ' || line || ': ' || {text_literal(rule + ' ')} || {text})"


def flag(column: str) -> str:
    """SQL of a column of 0 and 1 that was read as text."""
    refused = fail(f"{column} must be 0 or 1, it is", column)
    return f"CAST(CASE {column} WHEN '0' THEN 0 WHEN '1' THEN 1 ELSE {refused} END AS TINYINT) AS {column}"


class Converter:
    """Writes tables into a folder; names the file when a row breaks the published format."""

    def __init__(self, out: Path, *, memory_limit: str = "1GB") -> None:
        self.out = out
        self.connection = duckdb.connect(config={"memory_limit": memory_limit, "preserve_insertion_order": "true"})
        self.connection.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
        self.connection.execute(f"SET temp_directory = {text_literal(out / 'spill')}")

    def write(self, table: str, query: str, raw: Path) -> None:
        """Write the result of `query`, which reads the file `raw`, to `<table>.parquet`.

        Raises InputError with the file and, where DuckDB knows it, the line; also where the disk is full.
        """
        if not raw.exists():
            raise InputError(f"{raw.name} is missing: the published data set has this file.")
        if raw.stat().st_size == 0:
            raise InputError(f"{raw.name} is empty (0 bytes).")
        target = self.out / f"{table}.parquet"
        try:
            self.connection.execute(f"COPY ({query}) TO {text_literal(target)} (FORMAT parquet, COMPRESSION zstd)")
        except (duckdb.InvalidInputException, duckdb.ConversionException) as error:
            raise InputError(f"{raw.name} is not in its published format: {_explain(error)}") from None
        except (duckdb.IOException, duckdb.OutOfMemoryException) as error:
            raise InputError(
                f"{raw.name} could not be written as the table {table}: {str(error).splitlines()[0]}. Nothing was "
                "kept: see whether the disk has space, then run the same command again."
            ) from None

    def drop(self, *tables: str) -> None:
        """Remove tables that others were made from."""
        for table in tables:
            (self.out / f"{table}.parquet").unlink()

    def count(self, table: str) -> int:
        """Rows of a table that was written."""
        path = text_literal(self.out / f"{table}.parquet")
        return int(self.connection.execute(f"SELECT count(*) FROM {path}").fetchall()[0][0])


def _not_whole(path: Path, error: Exception) -> InputError:
    return InputError(
        f"{path.name} is not a whole gzip file ({str(error).splitlines()[0]}): remove it and get it again."
    )


def _explain(error: duckdb.Error) -> str:
    """Line, its text and what is wrong with it; without DuckDB's advice on options that the user cannot set here."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if re.search(r"CSV Error on|^(Original Line|Error when|Expected Number)", line)]
    return "; ".join(line.split(": CSV Error on ")[-1] for line in kept or lines[:2])
