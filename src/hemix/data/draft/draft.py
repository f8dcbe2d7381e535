"""`hemix init`: from a user's files to a commented experiment file that runs as it stands."""

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb
import yaml

from hemix.config import parse_config
from hemix.data.draft.compose import compose
from hemix.data.draft.features import draft_features
from hemix.data.draft.histories import guess_history
from hemix.data.draft.profile import Table, profile_table
from hemix.data.draft.roles import guess_roles
from hemix.data.draft.splits import guess_split
from hemix.data.draft.words import stems
from hemix.data.sources import Sources, connect
from hemix.errors import InputError
from hemix.schema import DataConfig
from hemix.schema import Table as TableConfig

FAR = 2
"""So many folders up, a path is better written from the top."""
PARTS = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


def draft(files: Sequence[Path], *, root: Path | None = None, name: str = "experiment") -> str:
    """The text of an experiment file for tables that nobody has described yet.

    Paths in it start at `root` (None: the current folder), where the file must be put; `name` is the experiment's.
    Every guess has a comment. Raises InputError if a file is missing, empty or unreadable, or if no column could be a
    label.
    """
    root = (root or Path.cwd()).resolve()
    groups = _tables(files)
    with tempfile.TemporaryDirectory(prefix="hemix-draft-") as folder:
        staging = Path(folder)
        with connect(staging, memory_limit="1GB", threads=None, timezone="UTC") as connection:
            tables = _profile(connection, groups, staging)
            tables, parts = _split_parts(tables)
            roles = guess_roles(connection, tables, parts)
            split = guess_split(connection, roles)
            sides = draft_features(connection, roles)
            history = guess_history(connection, roles)
    paths = {table.name: [_relative(Path(file), root) for file in table.files] for table in tables}
    text = compose(name, roles, sides, history, split, paths)
    parse_config(DataConfig, yaml.safe_load(text)["data"], "the drafted file")
    return text


def write_draft(files: Sequence[Path], out: Path, *, force: bool = False) -> Path:
    """Write the draft to `out`, and return it. Raises InputError if the file exists, unless `force` is set."""
    if out.exists() and not force:
        raise InputError(
            f"{out} exists already and may have been edited; choose another name, or overwrite with --force."
        )
    text = draft(files, root=out.resolve().parent, name=out.stem)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = out.with_name(f".{out.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(out)
    return out


def _tables(files: Sequence[Path]) -> dict[str, Path]:
    """A name for each file: its own, made a plain word."""
    if not files:
        raise InputError("A draft needs at least one file: CSV, Parquet or JSON lines.")
    named: dict[str, Path] = {}
    for file in files:
        if not file.exists():
            raise InputError(f"There is no file {file}.")
        word = re.sub(r"\W+", "_", file.name.split(".")[0], flags=re.ASCII).strip("_").lower() or "table"
        word = f"table_{word}" if word[0].isdigit() else word
        name, number = word, 2
        while name in named:
            name, number = f"{word}_{number}", number + 1
        named[name] = file.resolve()
    if len(set(named.values())) < len(named):
        raise InputError("The same file is named twice; name each file once.")
    return named


def _profile(connection: duckdb.DuckDBPyConnection, files: dict[str, Path], staging: Path) -> list[Table]:
    """Open and look at every file; files of the same columns and types become one table, in the given order."""
    opened = Sources(
        connection, {name: TableConfig(path=str(file)) for name, file in files.items()}, Path("/"), staging
    )
    groups: dict[tuple[object, ...], list[str]] = {}
    for name in files:
        part = _part(name)
        groups.setdefault((part, *opened.columns(name).items()), []).append(name)
    tables: list[Table] = []
    for names in groups.values():
        sources = opened
        if len(names) > 1:
            listed = TableConfig(path=tuple(str(files[name]) for name in names))
            sources = Sources(connection, {names[0]: listed}, Path("/"), staging)
        tables.append(profile_table(sources, names[0], [str(files[name]) for name in names]))
    return tables


def _part(name: str) -> str | None:
    return next((PARTS[word] for word in stems(name) if word in PARTS), None)


def _split_parts(tables: list[Table]) -> tuple[list[Table], dict[str, Table]]:
    """Tables that hold one split each: the same columns, and names that say train and test."""
    for train in (table for table in tables if _part(table.name) == "train"):
        columns = {column.name for column in train.columns}
        alike = [table for table in tables if {column.name for column in table.columns} == columns]
        parts = {part: table for table in alike if (part := _part(table.name)) is not None}
        if "train" in parts and len(parts) > 1 and len(parts) == len(alike):
            return tables, parts
    return tables, {}


def _relative(file: Path, root: Path) -> str:
    """The path from `root` with forward slashes; absolute if it lies far off or on another drive."""
    try:
        path = Path(os.path.relpath(file, root))
    except ValueError:
        path = file
    return (file if path.parts.count("..") > FAR else path).as_posix()
