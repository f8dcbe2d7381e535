"""Writes a world: tables, truth and experiment files, part by part, in a folder that appears whole or not at all."""

import json
import os
import shutil
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hemix.data.arrays import sync_folder
from hemix.errors import InputError
from hemix.world.experiment_files import experiment_files
from hemix.world.log import LogPart, write_part
from hemix.world.statistics import TruthFigures
from hemix.world.tables import event_table, impression_tables, poi_tables, user_tables
from hemix.world.world import WORLD_FILE, World

TRUTH = "truth"
Report = Callable[[int], None]


def write_world(world: World, out: str | Path, *, progress: Report | None = None) -> dict[str, Any]:
    """Write the log of `world` to the folder `out`; returns what `world.json` says.

    The log ends with the request that brings it to `world.impressions` rows. Users are made one after the other until
    then, so that their number grows with the rows. Memory stays flat: parts are written as they are made. `progress` is
    told the impressions done so far. Raises InputError if `out` holds anything.
    """
    out = Path(out)
    _check_free(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    for leftover in out.parent.glob(f".{out.name}.partial-*"):
        shutil.rmtree(leftover)
    folder = out.parent / f".{out.name}.partial-{uuid.uuid4().hex[:12]}"
    try:
        (folder / TRUTH).mkdir(parents=True)
        description = _write_into(folder, world, progress)
        _flush(folder)
        if out.exists():
            out.rmdir()
        folder.rename(out)
        sync_folder(out.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return description


def _check_free(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(
            f"A world is written to a new or empty folder; {out} is neither. Choose another, or remove it."
        )


def _write_into(folder: Path, world: World, progress: Report | None) -> dict[str, Any]:
    figures = TruthFigures(world.knobs)
    width = world.knobs.candidates
    wanted = -(-world.impressions // width)
    requests = number = 0
    with Tables(folder) as tables:
        tables.write("pois", *poi_tables(world.city))
        while requests < wanted:
            part = write_part(world, number, wanted - requests)
            tables.write_part(part, requests)
            figures.add(part)
            requests, number = requests + len(part.requests), number + 1
            if progress is not None:
                progress(requests * width)
        counts = tables.rows
    description = {
        "seed": world.seed,
        "impressions_asked": world.impressions,
        "counts": {**counts, "requests": requests},
        "knobs_hash": world.knobs.hash,
        "knobs": world.knobs.model_dump(mode="json"),
        "truth": figures.summary(),
    }
    (folder / WORLD_FILE).write_text(
        json.dumps(_without_nan(description), indent=2, allow_nan=False) + "\n", encoding="utf-8"
    )
    for name, text in experiment_files().items():
        (folder / name).write_text(text, encoding="utf-8")
    return description


class Tables:
    """The Parquet files of a world, open for writing."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, pq.ParquetWriter] = {}
        self._open = ExitStack()
        self.rows: dict[str, int] = {}

    def write_part(self, part: LogPart, first_request: int) -> None:
        """Append a part whose first request has this number."""
        self.write("impressions", *impression_tables(part, first_request))
        self.write("events", event_table(part))
        self.write("users", *user_tables(part.people))

    def write(self, name: str, known: pa.Table, true: pa.Table | None = None) -> None:
        """Append rows to a table, and to the truth about it."""
        self.rows[name] = self.rows.get(name, 0) + known.num_rows
        self._append(f"{name}.parquet", known)
        if true is not None:
            self._append(f"{TRUTH}/{name}.parquet", true)

    def _append(self, file: str, table: pa.Table) -> None:
        if file not in self._files:
            writer = pq.ParquetWriter(self._folder / file, table.schema, compression="zstd")
            self._files[file] = self._open.enter_context(writer)
        self._files[file].write_table(table)

    def __enter__(self) -> "Tables":
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()


def _without_nan(values: dict[str, Any]) -> dict[str, Any]:
    """The same with null for figures that are not defined, such as an AUC without clicks."""
    return {
        key: _without_nan(value) if isinstance(value, dict) else None if value != value else value
        for key, value in values.items()
    }


def _flush(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    sync_folder(folder / TRUTH)
    sync_folder(folder)
