"""Raw tables to store: check, join, sort, encode, write. Memory does not grow with the number of rows.

One pass over each sorted stream stages it half encoded; the encoder is then fitted on what training saw, and a second
pass over the staged chunks writes the final matrices. Nothing of an existing store changes before the new manifest is
in place.
"""

import errno
import shutil
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from hemix.data.ahead import ahead
from hemix.data.arrays import Allowance, in_chunks, one_array, sync_folder
from hemix.data.checks import OnBadRows
from hemix.data.compact import make_room
from hemix.data.drawing_tables import check_drawn, fit_drawn, keep_served, write_drawing
from hemix.data.encode import Encoder, Stager, fit_encoder
from hemix.data.fields import Plan, make_plan
from hemix.data.inputs import check_histories, make_inputs, write_pretrained
from hemix.data.keys import known_tables, write_keys, write_quarantine
from hemix.data.manifest import MANIFEST, FileEntry, Manifest, Segment, entry, moves_on, new_folder
from hemix.data.queries import (
    Preparing,
    create_entity_rows,
    create_train_end,
    create_user_cuts,
    create_users,
    create_windows,
    event_query,
    example_queries,
    example_tables,
    split_sql,
)
from hemix.data.rules import check_tables
from hemix.data.segment import EventRows, ExampleRows, Files, write_entities, write_events, write_examples
from hemix.data.sources import BadRow, Sources, connect, first_lines
from hemix.data.splits import check_splits
from hemix.data.store import Store
from hemix.data.taken import take_in
from hemix.data.vocabulary import VocabularyBuilder
from hemix.errors import InputError, StoreError
from hemix.schema import DataConfig

CHUNK_ROWS = 65_536
STAGED_BYTES = 128 * 2**20
"""Half encoded rows that are kept in memory; more go to the disk."""
DISK_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
DISK_FULL_WORDS = ("No space left", "File too large", "Disk quota exceeded", "max_temp_directory_size")


def prepare(
    config: DataConfig,
    out: Path,
    *,
    root: Path,
    append: bool = False,
    on_bad_rows: OnBadRows = "error",
    memory_limit: str = "1GB",
    threads: int | None = None,
) -> Store:
    """Encode the raw tables of `config` into a store at `out`, or add them as a new segment with `append`.

    Appended tables may be other files (the next day's), but must mean the same: all else in `config` is as it was.
    `root` is the folder that relative paths of tables start at; `memory_limit` holds for DuckDB, which spills to the
    disk beyond it. Raises InputError for bad tables, rows or splits, StoreError for a store that cannot be extended or
    a full disk. On any error the store at `out` stays as it was.
    """
    existing = Manifest.read(out) if append else None
    if existing is not None:
        _check_appended(existing.config, config, out)
    is_new = not out.exists()
    if out.exists() and not (out / MANIFEST).exists() and any(not _is_leftover(path) for path in out.iterdir()):
        raise StoreError(f"{out} is not empty and holds no store; choose a new folder.")
    out.mkdir(parents=True, exist_ok=True)
    for leftover in out.glob(".partial-*"):
        shutil.rmtree(leftover)
    (out / f".{MANIFEST}.partial").unlink(missing_ok=True)
    folder = out / f".partial-{uuid.uuid4().hex[:12]}"
    try:
        manifest = _prepare_segment(config, out, folder, existing, root, on_bad_rows, memory_limit, threads)
        _commit(out, folder, manifest)
    except (OSError, duckdb.Error) as error:
        raise disk_error(error, out) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if is_new and not any(out.iterdir()):
            out.rmdir()
    return Store.open(out)


def _is_leftover(path: Path) -> bool:
    """Whether a process that was killed while preparing left this behind."""
    return path.name.startswith((".partial-", "segment-")) or path.name == f".{MANIFEST}.partial"


def _check_appended(old: DataConfig, new: DataConfig, out: Path) -> None:
    for section in DataConfig.model_fields:
        same = getattr(old, section) == getattr(new, section)
        if section == "tables":
            same = old.tables.keys() == new.tables.keys()
        if not same:
            raise StoreError(
                f"The store at {out} was prepared with another data section: {section} differs. Append with the same "
                f"one (only the files of its tables may differ), or prepare into a new folder."
            )
    if new.negatives is not None:
        raise StoreError(
            f"The store at {out} draws its negatives from lists of all its items, which --append does not extend; "
            f"prepare all days again, into a new folder."
        )
    if new.downsample is not None and moves_on(new):
        raise StoreError(
            f"The training rows of {out} are down-sampled and split by {new.split.by!r}: its validation and test rows "
            f"would become training rows without being so; prepare all days again, or split by 'user'."
        )


def disk_error(error: Exception, out: Path) -> Exception:
    """What an error of the disk or of DuckDB means to the user."""
    text = str(error)
    if getattr(error, "errno", None) in DISK_FULL or any(words in text for words in DISK_FULL_WORDS):
        return StoreError(
            f"The disk is full while preparing {out}; nothing was changed. Free space and prepare again. "
            f"({text.splitlines()[0]})"
        )
    if "Out of Memory" in text or isinstance(error, duckdb.OutOfMemoryException):
        return StoreError(
            f"Preparing {out} needs more than its memory limit; raise it with --memory-limit. ({text.splitlines()[0]})"
        )
    if "file" in text and isinstance(error, duckdb.IOException | duckdb.InvalidInputException):
        return InputError(f"A raw table cannot be read: {first_lines(error)}")
    if isinstance(error, duckdb.Error):
        return InputError(f"A SQL expression of the data section does not work: {first_lines(error)}")
    return error


def _commit(out: Path, folder: Path, manifest: Manifest) -> None:
    """Move the finished segments into place, then replace the manifest, then drop what it no longer names."""
    for segment in manifest.segments:
        if (folder / segment.folder).exists():
            (folder / segment.folder).rename(out / segment.folder)
    sync_folder(out)
    manifest.write(out)
    kept = {segment.folder for segment in manifest.segments} | {MANIFEST}
    for path in out.iterdir():
        if path.name not in kept and path.name.startswith("segment-"):
            shutil.rmtree(path)


def _prepare_segment(
    config: DataConfig,
    out: Path,
    folder: Path,
    existing: Manifest | None,
    root: Path,
    on_bad_rows: OnBadRows,
    memory_limit: str,
    threads: int | None,
) -> Manifest:
    staging = folder / "staging"
    staging.mkdir(parents=True)
    with connect(staging, memory_limit=memory_limit, threads=threads, timezone=config.timezone) as connection:
        sources = Sources(connection, config.tables, root, staging, like=existing.raw_columns if existing else None)
        p = Preparing(connection=connection, config=config, sources=sources)
        raw_files = take_in(sources, config, root, existing)
        plan = make_plan(config, sources, list(example_tables(config).values()))
        check_histories(config, plan)
        if config.negatives is not None:
            check_drawn(config, plan)
        bad_rows = check_tables(p, plan, on_bad_rows)
        known_tables(p, plan, out, existing)
        encoder = Encoder.load(out / existing.segments[0].folder / "encoder") if existing else None
        place = folder / new_folder()
        place.mkdir()
        with closing(SegmentBuilder(p, plan, place, staging)) as build:
            build.stage()
            encoder = build.fit() if encoder is None else encoder
            with ThreadPoolExecutor(1) as pool:
                # beside the rows, which keep the disk busy and the processor half idle
                saved = pool.submit(_save_encoder, plan, encoder, place / "encoder", root) if not existing else None
                segment = build.write(encoder, bad_rows, root, first=existing is None)
                encoder_files = saved.result() if saved else existing.encoder if existing else {}
        older = make_room(Store(out, existing), folder, connection) if existing else ()
    shutil.rmtree(staging)
    for path in folder.rglob("*"):
        if path.is_dir():
            sync_folder(path)
    inputs = existing.inputs if existing else make_inputs(config, plan, encoder, segment.splits["train"].targets)
    manifest = Manifest(
        config=config,
        inputs=inputs,
        encoder=encoder_files,
        segments=(*older, segment),
        raw_columns={name: sources.columns(name) for name in config.tables},
        raw_files=raw_files,
    )
    check_splits(manifest)
    return manifest


def _save_encoder(plan: Plan, encoder: Encoder, folder: Path, root: Path) -> dict[str, FileEntry]:
    folder.mkdir()
    written = {name: entry(found) for name, found in encoder.save(folder).items()}
    return written | write_pretrained(plan, encoder, folder, root)


class SegmentBuilder:
    """Stages, fits and writes one segment. `p` and `plan` say what to read, `folder` where the result goes."""

    def __init__(self, p: Preparing, plan: Plan, folder: Path, staging: Path) -> None:
        self.p = p
        self.plan = plan
        self.files = Files(folder)
        self.builders: dict[str, VocabularyBuilder] = {}
        self.staging = staging
        memory = Allowance(STAGED_BYTES)
        self.stagers = {
            block: Stager(parts, self.builders, staging, block, memory) for block, parts in plan.blocks.items()
        }
        self.draws = p.config.negatives
        num_points = 2 * len(plan.origins) if self.draws is not None else 0
        self.rows = ExampleRows(staging, p.config.labels, memory, num_points)
        self.rows_too_new = 0
        self.events: dict[str, EventRows] = {}
        for name in p.config.events:
            selected = [key for key, h in p.config.histories.items() if h.events == name and h.where]
            self.events[name] = EventRows(staging, f"events.{name}", selected, memory)

    def close(self) -> None:
        """Close all files, also those that an error has left open."""
        for closable in (*self.stagers.values(), self.rows, *self.events.values()):
            closable.close()
        self.files.abandon()

    def stage(self) -> None:
        """Create users and entity rows, then stage examples, events, catalog and profiles, in this order."""
        p, config = self.p, self.p.config
        if self.draws is not None:
            create_entity_rows(p, "catalog", self.plan)
            self.rows_too_new = keep_served(p, self.draws.num)
        create_users(p)
        if config.split.by == "user_time" and p.labelled:
            create_user_cuts(p)
        for place in ("catalog", "profiles"):
            if self._has(place) and (place == "profiles" or self.draws is None):
                create_entity_rows(p, place, self.plan)
        create_windows(p, self.plan.windows)
        if not p.labelled:
            return self._stage_examples("0")
        split = split_sql(p)
        create_train_end(p, split)
        self._stage_examples(split)
        for name in config.events:
            self._stage_events(name)
        if self._has("catalog"):
            seen = self.rows.train_items
            for events in self.events.values():
                # not the sum: the log is often the table of the examples
                seen = _larger(seen, events.visible_items)
            self._stage_entities("catalog", seen)
        if self._has("profiles"):
            self._stage_entities("profiles", self.rows.train_profiles)

    def _has(self, place: str) -> bool:
        return self.p.config.examples.item is not None if place == "catalog" else self.p.config.profiles is not None

    def _chunks(self, queries: list[str]) -> Iterator[pa.Table]:
        """The rows of some queries; while one chunk is staged, DuckDB works on the next."""
        return ahead(self._read(queries), 1)

    def _read(self, queries: list[str]) -> Iterator[pa.Table]:
        """The rows of some queries, one after the other, in tables of `CHUNK_ROWS` rows (but the last of each)."""
        connection = self.p.connection
        connection.execute(f"SET preserve_insertion_order = {'true' if len(queries) > 1 else 'false'}")
        for query in queries:
            yield from in_chunks(connection.sql(query).to_arrow_reader(CHUNK_ROWS), CHUNK_ROWS)
        connection.execute("SET preserve_insertion_order = false")

    def _stage_examples(self, split: str) -> None:
        request, row = self.stagers["request"], self.stagers["row"]
        num_labels = len(self.p.config.labels)
        queries = example_queries(self.p, self.plan, split)
        for table in self._chunks(queries):
            columns = {
                name: _numpy(table, name)
                for name in ("split", "user", "time", "midnight", "item", "profile", "request")
            }
            columns["origin"] = _numpy(table, "row")
            if self.p.labelled:
                columns["labels"] = np.stack([_numpy(table, f"label{index}") for index in range(num_labels)], axis=1)
                columns["weights"] = _numpy(table, "weight").astype(np.float32)
            else:
                columns["labels"] = np.full((len(table), num_labels), np.nan, np.float32)
                columns["weights"] = np.ones(len(table), np.float32)
            if self.draws is not None:
                points = [_numpy(table, f"point{index}") for index in range(self.rows.num_points)]
                columns["points"] = np.stack(points, axis=1) if points else np.zeros((len(table), 0))
            train = self.rows.add(columns)
            weights = None if train.all() else train.astype(np.int64)
            raw = [table[f"part{index}"] for index in range(len(request.parts) + len(row.parts))]
            request.add(raw[: len(request.parts)], len(table), weights)
            row.add(raw[len(request.parts) :], len(table), weights)

    def _stage_events(self, name: str) -> None:
        rows, stager = self.events[name], self.stagers[f"events.{name}"]
        for table in self._chunks([event_query(self.p, self.plan, name)]):
            columns = {key: _numpy(table, key) for key in ("user", "time", "item", "visible")}
            columns |= {f"where_{key}": _numpy(table, f"_hemix_where_{key}") for key in rows.selected}
            rows.add(columns)
            raw = [table[f"part{index}"] for index in range(len(stager.parts))]
            stager.add(raw, len(table), columns["visible"].astype(np.int64))

    def _stage_entities(self, place: str, seen: np.ndarray) -> None:
        stager = self.stagers[place]
        parts = "".join(f", {part.sql} AS part{index}" for index, part in enumerate(stager.parts))
        for table in self._chunks([f"SELECT _hemix_index AS index{parts} FROM {place}_rows AS t ORDER BY index"]):
            index = _numpy(table, "index")
            known = index < len(seen)
            weights = np.zeros(len(index), np.int64)
            weights[known] = seen[index[known]]
            raw = [table[f"part{number}"] for number in range(len(stager.parts))]
            stager.add(raw, len(table), weights)

    def fit(self) -> Encoder:
        encoder = fit_encoder(self.plan, list(self.stagers.values()), self.builders)
        if self.draws is None:
            return encoder
        write_drawing(self.p, self.files)
        return fit_drawn(self.p, self.plan, self.files, self.rows, encoder)

    def write(self, encoder: Encoder, bad_rows: Sequence[BadRow], root: Path, *, first: bool) -> Segment:
        """Write all files of the segment."""
        for table in encoder.vocabularies:
            self.builders.setdefault(table, VocabularyBuilder(encoder.vocabularies[table].values.type))
        splits = write_examples(self.files, self.rows, self.stagers["request"], self.stagers["row"], encoder)
        found = self.p.connection.sql("SELECT count(*) FROM users").fetchall()
        num_users = int(found[0][0])
        counts = {
            name: write_events(self.files, rows, self.stagers[f"events.{name}"], encoder, num_users)
            for name, rows in self.events.items()
        }
        catalog_rows = write_entities(self.files, "catalog", self.stagers["catalog"], encoder, with_unknown=first)
        profile_rows = write_entities(self.files, "profiles", self.stagers["profiles"], encoder, with_unknown=first)
        self.files.entries |= write_keys(self.p, self.plan, self.files.folder)
        self.files.entries |= write_quarantine(self.files.folder, bad_rows, root)
        return Segment(
            folder=self.files.folder.name, splits=splits, events=counts, catalog_rows=catalog_rows,
            profile_rows=profile_rows, num_users=num_users, quarantined=len(bad_rows),
            rows_without_item=self.rows.without_item if self._has("catalog") else 0,
            events_without_item=sum(rows.without_item for rows in self.events.values()),
            rows_without_profile=self.rows.without_profile if self._has("profiles") else 0,
            rows_too_new=self.rows_too_new, files=self.files.entries,
        )  # fmt: skip


def _larger(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    size = max(len(a), len(b))
    return np.maximum(np.pad(a, (0, size - len(a))), np.pad(b, (0, size - len(b))))


def _numpy(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(one_array(table[name]))
