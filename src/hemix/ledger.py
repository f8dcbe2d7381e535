"""The ledger: one JSON line per finished run or evaluation, from which every table in the documentation is made.

Lines are only ever appended, under a lock and flushed to the disk. A line that a crash cut short is reported and
skipped, and is not glued to the next one.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from hemix.config import Config, is_empty
from hemix.errors import RunError
from hemix.evaluate.report import Number


class Entry(Config):
    """What one run came to on one split, and everything needed to judge or repeat it."""

    study: str
    """The question that the run belongs to; one table is made per study."""
    cell: str
    """Name of the system: its row of the table. Seeds of one system share it."""
    split: Literal["train", "valid", "test"]
    config_hash: str
    """Of the experiment without its seed."""
    data_hash: str
    """Of the store's manifest."""
    commit: str | None
    """Of the code; ends in ``+changes`` if files differed from it."""
    seed: int
    budget: dict[str, int | float | str | None]
    """What training was allowed to use: epochs, steps, rows, trials."""
    seconds: float
    """Of training."""
    figures: dict[str, Number]
    intervals: dict[str, tuple[Number, Number]] = Field(default_factory=dict)
    """95 % intervals of the figures over users, where they were made."""
    parameters: int
    test_reads: int = 0
    """How often the test split was read for this configuration and data, this time included."""
    hardware: str = ""
    date: datetime
    """With its zone."""
    run: str = ""
    """Folder name of the run."""
    trial: int | None = None
    """Number of a search's trial: it trained on a share of the users, and is no row of a table."""
    curve: tuple[Number, ...] = Field(default=(), exclude_if=is_empty)
    """On the line of the validation split: the metric that chooses weights, validation by validation."""
    pruned: bool = Field(default=False, exclude_if=is_empty)
    """A trial that was stopped because it was behind earlier ones."""


class Damaged(Config):
    """A line that is not whole: written when the process or the machine went down."""

    line: int
    text: str


class Ledger(Config):
    """All lines of a ledger."""

    entries: tuple[Entry, ...]
    damaged: tuple[Damaged, ...] = ()


def append(path: Path, entry: Entry) -> None:
    """Add one line; it is on the disk when this returns. Makes the file and its folder if there is none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file, _locked(file.fileno()):
        if _torn(file.fileno()):
            file.write(b"\n")
        file.write(entry.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _torn(descriptor: int) -> bool:
    """The file does not end with a line break."""
    size = os.lseek(descriptor, 0, os.SEEK_END)
    if size == 0:
        return False
    os.lseek(descriptor, size - 1, os.SEEK_SET)
    return os.read(descriptor, 1) != b"\n"


@contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Hold the file for this process alone."""
    if os.name == "nt":
        import msvcrt

        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
        try:
            yield
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
        return
    import fcntl

    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def read(path: Path) -> Ledger:
    """All entries in order, and the lines that a crash damaged; an absent file is an empty ledger.

    Raises RunError for a line that is whole but no entry of this version.
    """
    if not path.is_file():
        return Ledger(entries=())
    entries, damaged = [], []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except ValueError:
            damaged.append(Damaged(line=number, text=line.decode(errors="replace")))
            continue
        entries.append(_entry(values, path, number))
    return Ledger(entries=tuple(entries), damaged=tuple(damaged))


def _entry(values: Mapping[str, object], path: Path, number: int) -> Entry:
    try:
        return Entry.model_validate(values)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in problem["loc"])
        raise RunError(
            f"{path}, line {number} is not a ledger entry of this version: {place}: {problem['msg']}. "
            "Ledgers are written by runs; take the line out or restore it."
        ) from None


def test_reads(path: Path, config_hash: str, data_hash: str) -> int:
    """How often the ledger says that the test split was read for a configuration on some data, all seeds together."""
    return sum(
        entry.split == "test" and entry.config_hash == config_hash and entry.data_hash == data_hash
        for entry in read(path).entries
    )
