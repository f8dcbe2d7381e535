"""Compaction: neighbouring segments become one, so that a history never joins more than a few slices.

Requests, candidates, catalog rows and keys are put one after the other, so that every pointer to them stays right.
Events are merged by user and time, equal times in the order of their segments, as they are read from many segments.
All of it goes through memory in chunks.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np

from hemix.data.keys import QUARANTINE, join_keys
from hemix.data.manifest import Segment, SplitCount, file_entry, new_folder
from hemix.data.segment import Files
from hemix.data.store import Store
from hemix.schema import SPLITS

MAX_SEGMENTS = 8
MERGED_ROWS = 65_536
"""Rows of each segment that are in memory at once."""


def crowded(sizes: Sequence[int]) -> slice | None:
    """Given the sizes of all segments, the neighbours that must become one before another joins; the smallest such."""
    if len(sizes) < MAX_SEGMENTS:
        return None
    length = len(sizes) - MAX_SEGMENTS + 2
    first = min(range(len(sizes) - length + 1), key=lambda start: sum(sizes[start : start + length]))
    return slice(first, first + length)


def make_room(store: Store, folder: Path, connection: duckdb.DuckDBPyConnection) -> tuple[Segment, ...]:
    """The segments of a store, of which neighbours are merged, into `folder`, if one more would be too many."""
    segments = store.manifest.segments
    run = crowded([sum(file.bytes for file in segment.files.values()) for segment in segments])
    if run is None:
        return segments
    place = folder / new_folder()
    place.mkdir()
    return (*segments[: run.start], merge(store, segments[run], place, connection), *segments[run.stop :])


def merge(store: Store, run: Sequence[Segment], folder: Path, connection: duckdb.DuckDBPyConnection) -> Segment:
    """Write the neighbouring segments `run`, none of them the newest of the manifest to be, as one into `folder`."""
    files = Files(folder)
    splits = {split: _merge_split(store, run, split, files) for split in SPLITS}
    for name in _names(run[0], "catalog/") + _names(run[0], "profiles/"):
        _join(files, name, [store.array(segment, name) for segment in run])
    for log in store.config.events:
        _merge_events(store, run, log, files)
    files.entries |= join_keys(connection, [store.path / segment.folder for segment in run], folder)
    _join_quarantines(store, run, files)
    if run[0] is store.manifest.segments[0]:
        shutil.copytree(store.path / run[0].folder / "encoder", folder / "encoder")
        for name in store.manifest.encoder:
            file_entry(folder / "encoder" / name)
    return Segment(
        folder=folder.name,
        splits=splits,
        events={log: sum(segment.events[log] for segment in run) for log in run[0].events},
        num_users=run[-1].num_users,
        files=files.entries,
        **{
            key: sum(getattr(segment, key) for segment in run)
            for key in (
                *("catalog_rows", "profile_rows", "quarantined"),
                *("rows_without_item", "events_without_item", "rows_without_profile"),
            )
        },
    )


def _names(segment: Segment, prefix: str) -> list[str]:
    """The arrays of a segment whose name starts with `prefix`, without their ending."""
    return [name.removesuffix(".npy") for name in segment.files if name.startswith(prefix) and name.endswith(".npy")]


def _join(files: Files, name: str, parts: Sequence[np.ndarray]) -> None:
    """Write arrays one after the other."""
    writer = files.writer(name, parts[0].dtype.str, parts[0].shape[1:])
    for part in parts:
        for start in range(0, len(part), MERGED_ROWS):
            writer.append(part[start : start + MERGED_ROWS])
    files.close(writer)


def _merge_split(store: Store, run: Sequence[Segment], split: str, files: Files) -> SplitCount:
    """Write all rows that are read as rows of `split`, in the order in which they are read."""
    places = store.manifest.older_places(run, split)
    for name in _names(run[0], f"{split}/"):
        column = name.removeprefix(f"{split}/")
        # no rows, but the right type and width, where all rows are training rows by now
        template = store.array(run[0], name)[:0]
        parts = [template, *(store.array(segment, f"{place}/{column}") for segment, place in places)]
        if column == "offsets":
            _join_offsets(files, name, parts[1:])
        else:
            _join(files, name, parts)
    counts = [segment.splits[place] for segment, place in places]
    return SplitCount.sum(counts, like=run[0].splits[split])


def _join_offsets(files: Files, name: str, parts: Sequence[np.ndarray]) -> None:
    """Write offsets whose parts each start at zero."""
    writer = files.writer(name, "<i8")
    shift = 0
    for part in parts:
        for start in range(0, len(part) - 1, MERGED_ROWS):
            writer.append(part[start : min(start + MERGED_ROWS, len(part) - 1)] + shift)
        shift += int(part[-1])
    writer.append(np.array([shift]))
    files.close(writer)


@dataclass(frozen=True, slots=True)
class Merged:
    """A stretch of merged events: the next `counts` events of each log, and the places of these in their new order."""

    starts: np.ndarray
    counts: np.ndarray
    order: np.ndarray

    def take(self, columns: Sequence[np.ndarray]) -> np.ndarray:
        """The values of this stretch, given the whole column of each log."""
        ends = self.starts + self.counts
        parts = [column[a:b] for column, a, b in zip(columns, self.starts, ends, strict=True)]
        return np.concatenate(parts)[self.order]


def merged_events(offsets: Sequence[np.ndarray], times: Sequence[np.ndarray]) -> Iterator[Merged]:
    """Merge logs that are sorted by user and time; equal times of a user keep the order of the logs.

    `offsets` has the first event of each user, (users + 1,) for each log; `times` the time of each event.
    """
    starts, sizes = np.zeros(len(times), np.int64), np.array([len(column) for column in times])
    while (starts < sizes).any():
        stops = np.minimum(starts + MERGED_ROWS, sizes)
        windows = list(zip(offsets, times, starts, stops, strict=True))
        users = [np.searchsorted(first, np.arange(a, b), side="right") for first, _, a, b in windows]
        order = np.lexsort((np.concatenate([column[a:b] for _, column, a, b in windows]), np.concatenate(users)))
        log = np.repeat(np.arange(len(times)), stops - starts)
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        # an event that is not in memory yet comes after the last one of its own log, not before
        last = np.cumsum(stops - starts)[stops < sizes] - 1
        order = order[: place[last].min() + 1 if len(last) else None]
        counts = np.bincount(log[order], minlength=len(times))
        # the chosen ones of each log are its first ones: close the gaps that the others leave
        gaps = np.cumsum(stops - starts - counts) - (stops - starts - counts)
        yield Merged(starts=starts, counts=counts, order=order - gaps[log[order]])
        starts = starts + counts


def _merge_events(store: Store, run: Sequence[Segment], log: str, files: Files) -> None:
    folder = f"events.{log}"
    columns = {
        name: [store.array(segment, name) for segment in run]
        for name in (f"{folder}/{column}" for column in ("item", "time", "ids", "numbers"))
    }
    takes = {
        name: [store.array(segment, name) for segment in run]
        for name in (f"{folder}/take_{key}" for key, h in store.config.histories.items() if h.events == log and h.where)
    }
    writers = {name: files.writer(name, parts[0].dtype.str, parts[0].shape[1:]) for name, parts in columns.items()}
    taken = {name: files.writer(name, "<i8") for name in takes}
    offsets = [store.array(segment, f"{folder}/offsets") for segment in run]
    num_events = 0
    for stretch in merged_events(offsets, columns[f"{folder}/time"]):
        for name, writer in writers.items():
            writer.append(stretch.take(columns[name]))
        for name, writer in taken.items():
            writer.append(num_events + np.flatnonzero(_flags(stretch, takes[name])))
        num_events += len(stretch.order)
    for writer in (*writers.values(), *taken.values()):
        files.close(writer)
    for name in (folder, *(f"{name}_" for name in takes)):
        target = f"{name}/offsets" if name == folder else f"{name}offsets"
        files.add(target, _by_user([store.array(segment, target) for segment in run], run[-1].num_users))


def _flags(stretch: Merged, takes: Sequence[np.ndarray]) -> np.ndarray:
    """Whether each event of a stretch is among the (sorted) positions that a history takes from its log."""
    flags: list[np.ndarray] = []
    for positions, start, count in zip(takes, stretch.starts, stretch.counts, strict=True):
        found = np.zeros(count, bool)
        first, last = np.searchsorted(positions, [start, start + count])
        found[positions[first:last] - start] = True
        flags.append(found)
    return np.concatenate(flags)[stretch.order]


def _by_user(parts: Sequence[np.ndarray], num_users: int) -> np.ndarray:
    """Offsets by user of merged events; earlier segments know fewer users."""
    offsets = np.zeros(num_users + 1, np.int64)
    for part in parts:
        offsets[1 : len(part)] += np.diff(part)
    return np.cumsum(offsets)


def _join_quarantines(store: Store, run: Sequence[Segment], files: Files) -> None:
    paths = [path for segment in run if (path := store.path / segment.folder / QUARANTINE).exists()]
    if not paths:
        return
    with (files.folder / QUARANTINE).open("wb") as out:
        for number, path in enumerate(paths):
            with path.open("rb") as rows:
                header = rows.readline()
                out.write(b"" if number else header)
                shutil.copyfileobj(rows, out)
    files.entries[QUARANTINE] = file_entry(files.folder / QUARANTINE)
