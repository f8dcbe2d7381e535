"""The stores of a study: given on the command line, or prepared once from raw tables."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hemix.data.manifest import MANIFEST
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.errors import ConfigError, unknown_name
from hemix.experiment import differing_keys
from hemix.schema import DataConfig
from hemix.study.cells import Cell, Study


def parse_places(study: Study, given: Sequence[str]) -> dict[str, Path]:
    """``NAME=PATH`` or ``PATH`` (of the only store) as a mapping from names of stores.

    Raises ConfigError for a store that the study does not name, for a name given twice and for a path that is missing.
    """
    names = list(dict.fromkeys(cell.store for cell in study.cells))
    places: dict[str, Path] = {}
    for text in given:
        name, equals, place = text.partition("=")
        if not equals:
            if len(names) > 1:
                raise ConfigError(f"--data reads NAME=PATH where a study has several stores: {', '.join(names)}.")
            name, place = names[0], text
        if name not in names:
            raise unknown_name("store", name, names)
        if name in places:
            raise ConfigError(f"--data gives each store once; {name!r} is given twice.")
        if not Path(place).exists():
            raise ConfigError(
                f"--data {text}: there is nothing at {place}. Name a store, or the folder that holds "
                f"{', '.join(_raw_files(study, name))}."
            )
        places[name] = Path(place)
    return places


def _raw_files(study: Study, store: str) -> list[str]:
    """The files that the tables of a store are read from, each once."""
    tables = [table for cell in study.cells if cell.store == store for table in cell.experiment.data.tables.values()]
    paths = [path for table in tables for path in ([table.path] if isinstance(table.path, str) else table.path or [])]
    return list(dict.fromkeys(paths))


def open_stores(
    study: Study, out: Path, places: Mapping[str, Path] | None = None, *, say: Callable[[str], None] = lambda _: None
) -> dict[str, Store]:
    """The store of every cell, by the cell's name.

    A place is a store, or a folder of raw tables; stores that are not there yet are prepared into ``out/stores``, one
    for each data section. `say` is told what is prepared. Raises ConfigError if a given store is of another data
    section or one that is there was prepared from other rows, and all that `prepare` raises.
    """
    places = places or {}
    found: dict[str, Store] = {}
    opened: dict[Path, Store] = {}
    for cell in study.cells:
        given = places.get(cell.store)
        if given is not None and (given / MANIFEST).is_file():
            folder = given
        else:
            folder = out / "stores" / f"{cell.store}-{data_hash(cell.experiment.data)[:8]}"
        if folder not in opened:
            root = cell.root if given is None else given
            if not (folder / MANIFEST).is_file():
                say(f"Preparing {folder}")
                prepare(cell.experiment.data, folder, root=root)
            opened[folder] = Store.open(folder)
            if folder != given:
                _check_rows(opened[folder], root)
        found[cell.name] = _fitting(opened[folder], cell)
    return found


def _check_rows(store: Store, root: Path) -> None:
    """Raises ConfigError if a file of examples or events under `root` is not the one that the store was made of."""
    for file in store.manifest.raw_files:
        path = root / file.name
        if not path.is_file():  # gone, or the rows of a SQL table: nothing to compare with
            continue
        with path.open("rb") as content:
            same = (
                path.stat().st_size == file.bytes and hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
            )
        if not same:
            raise ConfigError(
                f"A store is prepared once, and {path} is not the file that {store.path} was prepared from (table "
                f"{file.table!r}: {file.bytes:,} bytes then, {path.stat().st_size:,} now). Choose another --out for "
                "other data, or remove that folder to prepare it again."
            )


def _fitting(store: Store, cell: Cell) -> Store:
    asked = cell.experiment.data.model_dump(mode="json")
    differing = list(differing_keys(store.config.model_dump(mode="json"), asked, "data."))
    if differing:
        raise ConfigError(
            f"A cell's data section must be the one its store was prepared from; {store.path} differs from cell "
            f"{cell.name!r} in {', '.join(differing[:5])}. Give a store of this section, or the folder of its raw "
            "tables: --data NAME=FOLDER."
        )
    return store


def data_hash(data: DataConfig) -> str:
    """Names a data section; says nothing of the rows."""
    return hashlib.sha256(json.dumps(data.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
