"""Published text formats to Parquet, by DuckDB: streaming, typed, in the order of the file."""

import re
from collections.abc import Mapping
from pathlib import Path

import duckdb

from hemix.errors import InputError


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


class Converter:
    """Writes tables into a folder; names the file when a row breaks the published format."""

    def __init__(self, out: Path, *, memory_limit: str = "1GB") -> None:
        self.out = out
        self.connection = duckdb.connect(config={"memory_limit": memory_limit, "preserve_insertion_order": "true"})
        self.connection.execute("SET enable_progress_bar = false; SET TimeZone = 'UTC'")
        self.connection.execute(f"SET temp_directory = {text_literal(out / 'spill')}")

    def write(self, table: str, query: str, raw: Path) -> None:
        """Write the result of `query`, which reads the file `raw`, to `<table>.parquet`.

        Raises InputError with the file and, where DuckDB knows it, the line.
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

    def count(self, table: str) -> int:
        """Rows of a table that was written."""
        path = text_literal(self.out / f"{table}.parquet")
        return int(self.connection.execute(f"SELECT count(*) FROM {path}").fetchall()[0][0])


def _explain(error: duckdb.Error) -> str:
    """Line, its text and what is wrong with it; without DuckDB's advice on options that the user cannot set here."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    kept = [line for line in lines if re.search(r"CSV Error on|^(Original Line|Error when|Expected Number)", line)]
    return "; ".join(line.split(": CSV Error on ")[-1] for line in kept or lines[:2])
