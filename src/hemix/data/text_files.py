"""What files say of themselves before they are parsed: their column names, quotes that are never closed."""

import csv
import gzip
from collections.abc import Iterable, Sequence
from io import TextIOWrapper
from pathlib import Path

from hemix.errors import InputError


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
