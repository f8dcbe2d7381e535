"""A prepared store, opened for reading: batches are gathered from memory maps, histories by pointer."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from hemix.batch import NULL_ID, Batch, Columns, FieldSpec, Inputs, Requests
from hemix.batch import History as HistoryBatch
from hemix.data.arrays import content_hash, open_array
from hemix.data.drawn import FIXED, Asked, DrawnRows, Rows
from hemix.data.encode import Encoder, Scaler
from hemix.data.histories import EventLog, find_events, gap_ids
from hemix.data.inputs import history_item_fields
from hemix.data.manifest import FileEntry, Manifest, Segment
from hemix.errors import StoreError
from hemix.schema import SPLITS, DataConfig, History

MICROS = 1_000_000
KEYS = ("user", "time", "midnight")


@dataclass(frozen=True, slots=True)
class Matrix:
    """The rows of some segments' matrices, seen as one."""

    parts: Sequence[np.ndarray]

    @property
    def width(self) -> int:
        return self.parts[0].shape[1] if self.parts[0].ndim > 1 else 0

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Copy rows by their number across all segments."""
        if len(self.parts) == 1:
            return self.parts[0][rows]
        starts = np.cumsum([0, *(len(part) for part in self.parts)])
        out = np.empty((len(rows), *self.parts[0].shape[1:]), self.parts[0].dtype)
        which = np.searchsorted(starts, rows, side="right") - 1
        for number, part in enumerate(self.parts):
            mine = np.flatnonzero(which == number)
            out[mine] = part[rows[mine] - starts[number]]
        return out


class Store:
    """Encoded data on disk. Open one with `Store.open`; nothing is loaded before it is used."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.hash = manifest.hash

    @staticmethod
    def open(path: str | Path, *, verify: bool = False) -> "Store":
        """Open the store at `path`; with `verify`, read every file and compare it with its hash.

        Raises StoreError if there is none, or if it is incomplete, altered or of another version.
        """
        store = Store(Path(path), Manifest.read(Path(path)))
        for name, expected in store.files().items():
            file = store.path / name
            if not file.exists() or file.stat().st_size != expected.bytes:
                raise StoreError(f"The store at {path} is damaged: {name} is missing or truncated. Prepare it again.")
            if verify and content_hash(file) != expected.sha256:
                raise StoreError(
                    f"The store at {path} is damaged: the content of {name} has changed. Prepare it again."
                )
        return store

    def files(self) -> dict[str, FileEntry]:
        """Every file that the store is made of, by its path within the store."""
        segments = self.manifest.segments
        files = {f"{segments[0].folder}/encoder/{name}": entry for name, entry in self.manifest.encoder.items()}
        for segment in segments:
            files |= {f"{segment.folder}/{name}": entry for name, entry in segment.files.items()}
        return files

    @property
    def inputs(self) -> Inputs:
        return self.manifest.inputs

    @property
    def config(self) -> DataConfig:
        return self.manifest.config

    @cached_property
    def encoder(self) -> Encoder:
        return Encoder.load(self._encoder_folder)

    @property
    def _encoder_folder(self) -> Path:
        return self.path / self.manifest.segments[0].folder / "encoder"

    def pretrained(self, table: str) -> np.ndarray | None:
        """Start values (num_ids, dim) of an embedding table, NaN for ids without one; None if there are none."""
        for index, spec in enumerate(self.inputs.tables):
            if spec.name == table and spec.pretrained:
                return np.array(open_array(self._encoder_folder / f"pretrained-{index}.npy"))
        return None

    def array(self, segment: Segment, name: str) -> np.ndarray:
        return open_array(self.path / segment.folder / f"{name}.npy")

    def matrix(self, name: str) -> Matrix:
        return Matrix([self.array(segment, name) for segment in self.manifest.segments])

    @cached_property
    def entities(self) -> Mapping[str, tuple[Matrix, Matrix]]:
        """Ids and numbers of catalog and profiles, by row number."""
        return {name: (self.matrix(f"{name}/ids"), self.matrix(f"{name}/numbers")) for name in ("catalog", "profiles")}

    @cached_property
    def histories(self) -> Mapping[str, "HistoryReader"]:
        return {name: HistoryReader(self, name, history) for name, history in self.config.histories.items()}

    @cached_property
    def drawn(self) -> DrawnRows | None:
        """What draws candidates for positives; None if all candidates were logged."""
        if self.config.negatives is None:
            return None
        segment, scalers = self.manifest.segments[0], self.encoder.scalers
        numbers = [field for field in self.inputs.candidate if field.kind == "number"]
        columns = {field.name: (field.start, scalers.get(f"row.{field.name}", Scaler())) for field in numbers}
        return DrawnRows(self.config, columns, lambda name: self.array(segment, f"drawing/{name}"))

    def split(self, name: str, *, serving: bool | None = None, histories: bool = True) -> "SplitView":
        """The requests of train, valid or test.

        After rows were appended to a store that is split by time, all earlier rows are training rows; given splits
        stay as they are. `serving` says whether training-only features have their serving value; None: everywhere but
        in train. Without `histories` batches have none: for passes that only count.
        """
        if name not in SPLITS:
            raise StoreError(f"A store has the splits train, valid and test, not {name!r}.")
        return SplitView(
            self,
            name,
            self.manifest.places(name),
            serving=name != "train" if serving is None else serving,
            histories=histories,
        )


class HistoryReader:
    """Finds and gathers one named history."""

    def __init__(self, store: Store, name: str, history: History) -> None:
        self.name = name
        self.history = history
        self._delay = round(store.config.history_delay * MICROS)
        log = f"events.{history.events}"
        self._logs: list[EventLog] = []
        for segment in store.manifest.segments:
            taken = store.array(segment, f"{log}/take_{name}") if history.where else None
            offsets = store.array(segment, f"{log}/take_{name}_offsets" if history.where else f"{log}/offsets")
            self._logs.append(
                EventLog(times=store.array(segment, f"{log}/time"), offsets=np.asarray(offsets), taken=taken)
            )
        starts = np.cumsum([0, *(len(events.times) for events in self._logs)])
        self._starts = starts[:-1]
        self._items, self._times = store.matrix(f"{log}/item"), store.matrix(f"{log}/time")
        self._events = store.matrix(f"{log}/ids"), store.matrix(f"{log}/numbers")
        self._catalog = store.entities["catalog"]
        catalog = catalog_fields(store)
        chosen = history_item_fields(history, catalog, name)
        self._item_ids = _places(chosen, ("id", "ids"))
        self._item_numbers = _places(chosen, ("number", "vector"))

    def trace(self, user: int, time: int, midnight: int) -> tuple[np.ndarray, np.ndarray]:
        """Catalog row and time (microseconds) of each event of one request, oldest first."""
        users, times, midnights = (np.array([value]) for value in (user, time, midnight))
        found = find_events(self._logs, self.history, users, times, midnights, self._delay)
        positions = found.positions + self._starts[found.segments]
        return self._items.take(positions), self._times.take(positions)

    def gather(self, users: np.ndarray, times: np.ndarray, midnights: np.ndarray) -> HistoryBatch:
        """The histories of some requests, padded to the longest of them."""
        found = find_events(self._logs, self.history, users, times, midnights, self._delay)
        rows = np.repeat(np.arange(len(users)), found.lengths)
        slots = np.arange(len(rows)) - np.repeat(np.cumsum(found.lengths) - found.lengths, found.lengths)
        positions = found.positions + self._starts[found.segments]
        items, event_times = self._items.take(positions), self._times.take(positions)
        ids = [self._catalog[0].take(items)[:, self._item_ids], self._events[0].take(positions)]
        numbers = [self._catalog[1].take(items)[:, self._item_numbers], self._events[1].take(positions)]
        if self.history.time_gap:
            ids.append(gap_ids(self.history, event_times, times[rows], midnights[rows])[:, None])
        shape = (len(users), int(found.lengths.max(initial=0)))
        return HistoryBatch(
            events=Columns(ids=_padded(ids, rows, slots, shape), numbers=_padded(numbers, rows, slots, shape)),
            times=_padded([event_times[:, None]], rows, slots, shape).squeeze(2),
            lengths=torch.from_numpy(found.lengths.astype(np.int64)),
        )


def _padded(blocks: list[np.ndarray], rows: np.ndarray, slots: np.ndarray, shape: tuple[int, int]) -> torch.Tensor:
    width = sum(block.shape[1] for block in blocks)
    out = np.zeros((*shape, width), blocks[0].dtype)
    start = 0
    for block in blocks:
        out[rows, slots, start : start + block.shape[1]] = block
        start += block.shape[1]
    return torch.from_numpy(out)


def _places(fields: Sequence[FieldSpec], kinds: tuple[str, ...]) -> list[int]:
    return [field.start + slot for field in fields if field.kind in kinds for slot in range(field.width)]


def catalog_fields(store: Store) -> tuple[FieldSpec, ...]:
    """The catalog's fields with their places in the catalog's own matrices."""
    segment = store.manifest.segments[0]
    num_ids = store.array(segment, "train/row_ids").shape[1]
    num_numbers = store.array(segment, "train/row_numbers").shape[1]
    own: list[FieldSpec] = []
    for field in store.inputs.candidate:
        start = field.start - (num_ids if field.kind in ("id", "ids") else num_numbers)
        if start >= 0:
            own.append(dataclasses.replace(field, start=start))
    return tuple(own)


class SplitView:
    """The requests of one split. Batches are gathered by request number, in any order."""

    def __init__(
        self,
        store: Store,
        name: str,
        places: Sequence[tuple[Segment, str]],
        *,
        serving: bool,
        histories: bool = True,
    ) -> None:
        self.store = store
        self.name = name
        self._histories = store.histories if histories else {}
        self.serving = serving
        read = {
            key: Matrix([store.array(segment, f"{split}/{key}") for segment, split in places])
            for key in (
                *("user", "time", "midnight", "profile", "request_ids", "request_numbers"),
                *("item", "labels", "weights", "row_ids", "row_numbers", "origin"),
            )
        }
        self._read = read
        # rows to be scored are candidates as they are
        self._drawn = store.drawn if name in SPLITS else None
        if self._drawn is not None and f"{places[0][1]}/points.npy" in places[0][0].files:
            read["points"] = Matrix([store.array(segment, f"{split}/points") for segment, split in places])
        offsets = [store.array(segment, f"{split}/offsets") for segment, split in places]
        row_starts = np.cumsum([0, *(int(part[-1]) for part in offsets)])
        self._first_row = Matrix([part[:-1] for part in offsets])
        self._last_row = Matrix([part[1:] for part in offsets])
        self._row_shift = row_starts
        self._request_starts = np.cumsum([0, *(len(part) - 1 for part in offsets)])
        self.num_requests = int(self._request_starts[-1])
        self._num_drawn = 0 if self._drawn is None else self._drawn.negatives.count(name)
        self.num_rows = int(row_starts[-1]) + self.num_requests * self._num_drawn

    def users(self, requests: np.ndarray) -> np.ndarray:
        """Number of the user of each request; -1: none."""
        return self._read["user"].take(requests)

    def counts(self, requests: np.ndarray) -> np.ndarray:
        """Candidates of each request, with those that are drawn for it."""
        return self._logged(requests) + self._num_drawn

    def _logged(self, requests: np.ndarray) -> np.ndarray:
        return self._last_row.take(requests) - self._first_row.take(requests)

    def _rows(self, requests: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers of the logged candidates of some requests, and offsets (R + 1,)."""
        counts = self._logged(requests)
        segment = np.searchsorted(self._request_starts, requests, side="right") - 1
        first = self._first_row.take(requests) + self._row_shift[segment]
        offsets = np.concatenate([[0], np.cumsum(counts)])
        return np.arange(offsets[-1]) + np.repeat(first - offsets[:-1], counts), offsets

    def key(self, request: int) -> tuple[int, int, int]:
        """User number (-1: none), time and local midnight (microseconds) of a request."""
        user, time, midnight = (int(self._read[name].take(np.array([request]))[0]) for name in KEYS)
        return user, time, midnight

    def requests_of(self, user: int) -> np.ndarray:
        """Numbers of a user's requests."""
        parts = [np.flatnonzero(np.asarray(part) == user) for part in self._read["user"].parts]
        return np.concatenate([part + start for part, start in zip(parts, self._request_starts, strict=False)])

    def request_of(self, row: int) -> int:
        """Number of the request whose candidate stands in a row (0 .. `num_rows`)."""
        segment = int(np.searchsorted(self._row_shift, row, side="right")) - 1
        last = self._last_row.parts[segment]
        within = int(np.searchsorted(last, row - self._row_shift[segment], side="right"))
        return int(self._request_starts[segment]) + within

    def rows(self, request: int) -> np.ndarray:
        """Numbers of the rows of a request's candidates."""
        return self._rows(np.array([request]))[0]

    def items(self, rows: np.ndarray) -> np.ndarray:
        """Catalog rows of some candidate rows; 0 where an item is not in the catalog."""
        return self._read["item"].take(rows)

    @property
    def row_fields(self) -> tuple[FieldSpec, ...]:
        """Candidate fields that belong to a row, not to its item: what only a shown candidate has."""
        ids, numbers = self._read["row_ids"].width, self._read["row_numbers"].width
        return tuple(field for field in self.store.inputs.candidate if field.start < (ids if field.table else numbers))

    def unseen(self, items: np.ndarray) -> Columns:
        """Items of the catalog as candidates of a request that did not show them: `row_fields` are null."""
        ids, numbers = self.store.entities["catalog"]
        of_row = np.zeros((len(items), self._read["row_ids"].width), np.int32)
        of_row[:, [field.start for field in self.row_fields if field.table]] = NULL_ID
        missing = np.full((len(items), self._read["row_numbers"].width), np.nan, np.float32)
        return self._columns([of_row, ids.take(items)], [missing, numbers.take(items)], self.store.inputs.candidate)

    def origins(self, requests: np.ndarray) -> np.ndarray:
        """Where the logged candidates of some requests stand in the raw tables."""
        return self._read["origin"].take(self._rows(requests)[0])

    def batch(self, requests: np.ndarray, draw: int = FIXED) -> Batch:
        """Gather requests by number, with their candidates and histories.

        `draw` chooses among the negatives of the training split (`data.negatives`); those of others are fixed.
        """
        read = self._read
        users, times, midnights = (read[key].take(requests) for key in ("user", "time", "midnight"))
        profile_ids, profile_numbers = self.store.entities["profiles"]
        catalog_ids, catalog_numbers = self.store.entities["catalog"]
        profiles, rows = read["profile"].take(requests), self._candidates(requests, users, times, draw)
        request = self._columns(
            [read["request_ids"].take(requests), profile_ids.take(profiles)],
            [read["request_numbers"].take(requests), profile_numbers.take(profiles)],
            self.store.inputs.request,
        )
        candidates = self._columns(
            [rows.ids, catalog_ids.take(rows.items)],
            [rows.numbers, catalog_numbers.take(rows.items)],
            self.store.inputs.candidate,
        )
        return Batch(
            requests=Requests(
                columns=request,
                histories={name: reader.gather(users, times, midnights) for name, reader in self._histories.items()},
                users=torch.from_numpy(users),
                times=torch.from_numpy(times),
            ),
            candidates=candidates,
            offsets=torch.from_numpy(rows.offsets),
            labels=torch.from_numpy(rows.labels),
            weights=torch.from_numpy(rows.weights),
        )

    def _candidates(self, requests: np.ndarray, users: np.ndarray, times: np.ndarray, draw: int) -> Rows:
        places, offsets = self._rows(requests)
        names = {"items": "item", "ids": "row_ids", "numbers": "row_numbers", "labels": "labels", "weights": "weights"}
        logged = Rows(offsets=offsets, **{name: self._read[key].take(places) for name, key in names.items()})
        if self._drawn is None:
            return logged
        points = self._read["points"].take(requests) if "points" in self._read else np.zeros((len(requests), 0))
        asked = Asked(numbers=requests, users=users, times=times, points=points)
        return self._drawn.add(logged, asked, split=self.name, draw=draw if self.name == "train" else FIXED)

    def _columns(self, ids: list[np.ndarray], numbers: list[np.ndarray], fields: Sequence[FieldSpec]) -> Columns:
        joined_ids = ids[0] if not ids[1].shape[1] else np.concatenate(ids, axis=1)
        joined_numbers = numbers[0] if not numbers[1].shape[1] else np.concatenate(numbers, axis=1)
        for field in fields if self.serving else ():
            if field.served_as is not None:
                (joined_ids if field.kind == "id" else joined_numbers)[:, field.start] = field.served_as
        return Columns(ids=torch.from_numpy(joined_ids), numbers=torch.from_numpy(joined_numbers))
