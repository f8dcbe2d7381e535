"""Which raw files a store has taken in, so that no day is appended twice."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from hemix.data.manifest import Manifest, RawFile
from hemix.data.queries import example_tables
from hemix.data.sources import Sources, seen_from
from hemix.errors import InputError
from hemix.schema import DataConfig


def take_in(sources: Sources, config: DataConfig, root: Path, existing: Manifest | None) -> tuple[RawFile, ...]:
    """The files of examples and events, those of the store first; of a SQL table its rows as they were staged.

    Catalog and profiles are no part of it: they may come again, as they are. Raises InputError for a file with the
    content of one that the store has.
    """
    # a file of yesterday's test split must not come back as one of training either
    roles = dict.fromkeys(example_tables(config).values(), "examples")
    for events in config.events.values():
        roles.setdefault(events.table, events.table)
    taken = existing.raw_files if existing is not None else ()
    known = {_content(roles, file): file for file in taken}
    found: list[RawFile] = []
    for table in roles:
        for name, path in sources.contents(table).items():
            with path.open("rb") as content:
                digest = hashlib.file_digest(content, "sha256").hexdigest()
            file = RawFile(table=table, name=seen_from(root, name), bytes=path.stat().st_size, sha256=digest)
            if (before := known.get(_content(roles, file))) is not None:
                raise InputError(
                    f"Rows may be appended once, but {_shown(file)} holds what the store has from {_shown(before)}. "
                    f"Give only new rows under tables.{table}."
                )
            found.append(file)
    return (*taken, *found)


def _shown(file: RawFile) -> str:
    return f"table {file.table!r} ({'its SQL' if file.name == 'sql' else file.name})"


def _content(roles: Mapping[str, str], file: RawFile) -> tuple[str, int, str]:
    return roles[file.table], file.bytes, file.sha256
