"""Writing one segment: the files of examples, events, catalog and profiles, each with its hash."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hemix.batch import UNKNOWN_ID
from hemix.data.ahead import ahead
from hemix.data.arrays import Allowance, ArrayWriter, Spool, write_array
from hemix.data.encode import Encoder, Stager
from hemix.data.manifest import FileEntry, SplitCount, Target, entry
from hemix.labels import Label
from hemix.schema import SPLITS

ROW_KEYS = ("split", "user", "time", "midnight", "item", "profile", "request")


@dataclass(slots=True)
class Files:
    """The files of a segment, with their hashes."""

    folder: Path
    entries: dict[str, FileEntry] = field(default_factory=dict)
    _writers: list[ArrayWriter] = field(default_factory=list)

    def add(self, name: str, values: np.ndarray) -> None:
        path = self.folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        self.entries[f"{name}.npy"] = entry(write_array(path, values))

    def writer(self, name: str, dtype: str, row_shape: tuple[int, ...] = ()) -> ArrayWriter:
        path = self.folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        writer = ArrayWriter(path, dtype, row_shape)
        self._writers.append(writer)
        return writer

    def abandon(self) -> None:
        """Close the files that an error has left open."""
        for writer in self._writers:
            writer.abandon()

    def close(self, writer: ArrayWriter) -> None:
        self.entries[writer.path.relative_to(self.folder).as_posix()] = entry(writer.close())


@dataclass(slots=True)
class ExampleRows:
    """Keys, labels and weights of the examples, chunk by chunk, beside the stagers of their features."""

    folder: Path
    labels: Sequence[Label]
    allowance: Allowance
    num_points: int = 0
    """Degrees per request of the places that distances to drawn items begin at."""
    chunks: int = 0
    train_items: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    train_profiles: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    without_item: int = 0
    without_profile: int = 0
    _spools: dict[str, Spool] = field(default_factory=dict)

    def add(self, columns: dict[str, np.ndarray]) -> np.ndarray:
        """Keep a chunk; returns whether training sees each row."""
        for name, values in columns.items():
            if name not in self._spools:
                self._spools[name] = Spool(self.folder / f"rows.{name}", self.allowance)
            self._spools[name].append(values)
        self.chunks += 1
        train = columns["split"] == 0
        self.train_items = add_counts(self.train_items, columns["item"][train])
        self.train_profiles = add_counts(self.train_profiles, columns["profile"][train])
        self.without_item += int((columns["item"] == 0).sum())
        self.without_profile += int((columns["profile"] == 0).sum())
        return train

    def chunk(self, index: int) -> dict[str, np.ndarray]:
        return {name: spool[index] for name, spool in self._spools.items()}

    def close(self) -> None:
        for spool in self._spools.values():
            spool.close()


def add_counts(counts: np.ndarray, indices: np.ndarray) -> np.ndarray:
    """Histogram of `indices` added to `counts`, which grows as needed."""
    if not len(indices):
        return counts
    found = np.bincount(indices, minlength=len(counts))
    found[: len(counts)] += counts
    return found


class SplitWriter:
    """The files of one split: rows as they come, requests when their first row comes."""

    def __init__(
        self, files: Files, split: str, request: Stager, row: Stager, labels: Sequence[Label], num_points: int
    ) -> None:
        self._files = files
        num_labels = len(labels)
        self._binary = np.array([label.kind == "binary" for label in labels])
        self._regressions = [(k, label) for k, label in enumerate(labels) if label.kind == "regression"]
        self._targets: dict[str, list[Target]] = {}
        self._rows = {
            "item": files.writer(f"{split}/item", "<i4"),
            "labels": files.writer(f"{split}/labels", "<f4", (num_labels,)),
            "weights": files.writer(f"{split}/weights", "<f4"),
            "row_ids": files.writer(f"{split}/row_ids", "<i4", (row.num_ids,)),
            "row_numbers": files.writer(f"{split}/row_numbers", "<f4", (row.num_numbers,)),
            "origin": files.writer(f"{split}/origin", "<i8"),
        }
        self._requests = {
            "user": files.writer(f"{split}/user", "<i8"),
            "time": files.writer(f"{split}/time", "<i8"),
            "midnight": files.writer(f"{split}/midnight", "<i8"),
            "profile": files.writer(f"{split}/profile", "<i4"),
            "request_ids": files.writer(f"{split}/request_ids", "<i4", (request.num_ids,)),
            "request_numbers": files.writer(f"{split}/request_numbers", "<f4", (request.num_numbers,)),
            "offsets": files.writer(f"{split}/offsets", "<i8"),
        }
        if num_points:
            self._requests["points"] = files.writer(f"{split}/points", "<f8", (num_points,))
        self._positives = np.zeros(num_labels, np.int64)
        self._unlabelled = np.zeros(num_labels, np.int64)
        self._last: dict[str, np.ndarray] | None = None

    def append(self, values: dict[str, np.ndarray]) -> None:
        """Write rows; all keys, features, labels and weights of them by file name."""
        first = self._starts_request(values)
        offset = self._rows["item"].rows
        for name, writer in self._rows.items():
            writer.append(values[name])
        starts = np.flatnonzero(first)
        for name, writer in self._requests.items():
            writer.append(starts + offset if name == "offsets" else values[name][starts])
        self._positives += (values["labels"] == 1).sum(axis=0) * self._binary
        for k, label in self._regressions:
            known = values["labels"][~np.isnan(values["labels"][:, k]), k]
            if len(known):
                self._targets.setdefault(label.name, []).append(Target.of(label, known))
        self._unlabelled += np.isnan(values["labels"]).sum(axis=0)
        self._last = {name: values[name][-1:] for name in ("user", "time", "request", "request_ids", "request_numbers")}

    def _starts_request(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """Rows whose user, time, request key or request features differ from the row before."""
        num_rows = len(values["user"])
        first = np.zeros(num_rows, bool)
        first[0] = self._last is None
        anonymous = values["user"] < 0
        for name in ("user", "time", "request", "request_ids", "request_numbers"):
            now = values[name]
            before = np.concatenate([now[:1] if self._last is None else self._last[name], now[:-1]])
            differs = now != before
            if now.dtype.kind == "f":
                differs &= ~(np.isnan(now) & np.isnan(before))
            first |= differs.reshape(num_rows, -1).any(axis=1)
        return first | (anonymous & (values["request"] == 0))

    def close(self) -> SplitCount:
        self._requests["offsets"].append(np.array([self._rows["item"].rows]))
        num_requests, num_rows = self._requests["user"].rows, self._rows["item"].rows
        for writer in (*self._rows.values(), *self._requests.values()):
            self._files.close(writer)
        return SplitCount(
            requests=num_requests, rows=num_rows,
            positives=tuple(map(int, self._positives)), unlabelled=tuple(map(int, self._unlabelled)),
            targets={name: Target.merged(parts) for name, parts in self._targets.items()},
        )  # fmt: skip


def write_examples(
    files: Files, rows: ExampleRows, request: Stager, row: Stager, encoder: Encoder
) -> dict[str, SplitCount]:
    """Write train, valid and test; chunks come in the order split, user, time."""
    writers = {split: SplitWriter(files, split, request, row, rows.labels, rows.num_points) for split in SPLITS}
    encoded = ahead(zip(request.finish(encoder), row.finish(encoder), strict=True), 1)
    for index, ((request_ids, request_numbers), (row_ids, row_numbers)) in enumerate(encoded):
        values = {
            **rows.chunk(index),
            "request_ids": request_ids,
            "request_numbers": request_numbers,
            "row_ids": row_ids,
            "row_numbers": row_numbers,
        }
        bounds = np.searchsorted(values["split"], np.arange(len(SPLITS) + 1))
        for number, split in enumerate(SPLITS):
            place = slice(bounds[number], bounds[number + 1])
            if place.start < place.stop:
                writers[split].append({name: column[place] for name, column in values.items()})
    return {split: writer.close() for split, writer in writers.items()}


def write_entities(files: Files, name: str, stager: Stager, encoder: Encoder, *, with_unknown: bool) -> int:
    """Write the matrices of catalog or profiles; the first row of the first segment is the unknown one."""
    ids = files.writer(f"{name}/ids", "<i4", (stager.num_ids,))
    numbers = files.writer(f"{name}/numbers", "<f4", (stager.num_numbers,))
    if with_unknown:
        unknown = np.zeros((1, stager.num_ids), np.int32)
        unknown[0, [spec.start for spec in stager.specs if spec.kind in ("id", "ids")]] = UNKNOWN_ID
        ids.append(unknown)
        numbers.append(np.full((1, stager.num_numbers), np.nan, np.float32))
    for chunk_ids, chunk_numbers in stager.finish(encoder):
        ids.append(chunk_ids)
        numbers.append(chunk_numbers)
    num_rows = ids.rows
    files.close(ids)
    files.close(numbers)
    return num_rows


@dataclass(slots=True)
class EventRows:
    """Keys of the events of one log, chunk by chunk, beside the stager of their features."""

    folder: Path
    name: str
    selected: Sequence[str]
    """Histories that take only some of the events."""
    allowance: Allowance
    chunks: int = 0
    visible_items: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    without_item: int = 0
    _spools: dict[str, Spool] = field(default_factory=dict)

    def add(self, columns: dict[str, np.ndarray]) -> None:
        for name, values in columns.items():
            if name not in self._spools:
                self._spools[name] = Spool(self.folder / f"{self.name}.{name}", self.allowance)
            self._spools[name].append(values)
        self.chunks += 1
        self.visible_items = add_counts(self.visible_items, columns["item"][columns["visible"]])
        self.without_item += int((columns["item"] == 0).sum())

    def column(self, name: str) -> Iterator[np.ndarray]:
        for chunk in range(self.chunks):
            yield self._spools[name][chunk]

    def close(self) -> None:
        for spool in self._spools.values():
            spool.close()


def write_events(files: Files, rows: EventRows, stager: Stager, encoder: Encoder, num_users: int) -> int:
    """Write the columns of a log with offsets by user, and for each selecting history its positions and offsets."""
    num_events = 0
    for name, dtype in (("item", "<i4"), ("time", "<i8")):
        writer = files.writer(f"{rows.name}/{name}", dtype)
        for values in rows.column(name):
            writer.append(values)
        num_events = writer.rows
        files.close(writer)
    write_entities(files, rows.name, stager, encoder, with_unknown=False)
    counts = np.zeros(num_users, np.int64)
    for users in rows.column("user"):
        counts += np.bincount(users, minlength=num_users)
    files.add(f"{rows.name}/offsets", np.concatenate([[0], np.cumsum(counts)]))
    for history in rows.selected:
        _write_selection(files, rows, history, num_users)
    return num_events


def _write_selection(files: Files, rows: EventRows, history: str, num_users: int) -> None:
    writer = files.writer(f"{rows.name}/take_{history}", "<i8")
    counts = np.zeros(num_users, np.int64)
    start = 0
    for users, taken in zip(rows.column("user"), rows.column(f"where_{history}"), strict=True):
        writer.append(np.flatnonzero(taken) + start)
        counts += np.bincount(users[taken], minlength=num_users)
        start += len(users)
    files.close(writer)
    files.add(f"{rows.name}/take_{history}_offsets", np.concatenate([[0], np.cumsum(counts)]))
