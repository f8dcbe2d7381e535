"""What files say of themselves before they are parsed: their column names, quotes that are never closed."""

import csv
import gzip
import json
from collections.abc import Iterable, Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path

from hemix.errors import InputError
from hemix.schema import Table

FORMATS = {
    ".csv": "csv",
    ".tsv": "csv",
    ".txt": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
}


def header(file: str, delimiter: str) -> list[str]:
    """The cells of the first line of a CSV file."""
    with _open_text(file) as lines:
        return next(csv.reader(lines, delimiter=delimiter), [])


def reject_twins(name: str, file: str, names: Sequence[str]) -> None:
    """DuckDB renames a repeated column to `x_1`; a table with one would be read wrongly in silence."""
    seen: set[str] = set()
    for column in names:
        if column.strip().lower() in seen:
            raise InputError(
                f"Table {name!r}, file {file}: column {column!r} is named twice; column names must be unique (SQL "
                f"ignores case)."
            )
        seen.add(column.strip().lower())


def _open_text(file: str) -> TextIOWrapper:
    """A text file to be read, compressed or not."""
    if file.endswith(".gz"):
        return gzip.open(file, "rt", encoding="utf-8-sig", errors="replace")
    return Path(file).open(encoding="utf-8-sig", errors="replace")


def open_quote(files: Iterable[str]) -> str:
    """The first line of some files with a quote that is opened and not closed."""
    for file in files:
        with _open_text(file) as lines:
            for number, line in enumerate(lines):
                if line.count('"') % 2:
                    return f"file {file}, row {number}: a quote is not closed, in line {number + 1}: {line[:80]!r}"
    return f"file {next(iter(files))}: a quote is not closed"


def sort_out_lines(file: str, good: Path) -> Iterator[tuple[int, int, str]]:
    """Copy the lines of a file that are JSON objects to `good`; the others: line, row (blank lines have none), text."""
    row = 0
    with gzip.open(file) if file.endswith(".gz") else Path(file).open("rb") as lines, good.open("wb") as out:
        for number, line in enumerate(lines):
            if not line.strip():
                continue
            row += 1
            try:
                is_good = isinstance(json.loads(line), dict)
            except ValueError:
                is_good = False
            if is_good:
                out.write(line if line.endswith(b"\n") else line + b"\n")
            else:
                yield number + 1, row, line.decode(errors="replace").rstrip()


def table_format(name: str, table: Table, files: Iterable[str]) -> str:
    """What format the files of a table have. Raises InputError if their endings do not say, or differ."""
    if table.format is not None:
        return table.format
    kinds: set[str] = set()
    for file in files:
        suffix = Path(file.removesuffix(".gz").removesuffix(".zst")).suffix.lower()
        if suffix not in FORMATS:
            raise InputError(
                f"Table {name!r}: the ending of {file} says no format; set tables.{name}.format to csv, parquet or "
                f"jsonl."
            )
        kinds.add(FORMATS[suffix])
    if len(kinds) > 1:
        raise InputError(f"Table {name!r} mixes formats ({', '.join(sorted(kinds))}); declare one table for each.")
    return kinds.pop()
