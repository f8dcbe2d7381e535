"""The manifest: what a store holds, file by file. Replacing it is the moment at which a store changes."""

import hashlib
import json
import os
import uuid
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field, ValidationError

from hemix.batch import Inputs
from hemix.config import Config
from hemix.data.arrays import Written, content_hash, replace_file
from hemix.errors import StoreError
from hemix.labels import Label
from hemix.schema import SPLITS, DataConfig

FORMAT = 3
MANIFEST = "manifest.json"


class FileEntry(Config):
    """Size and content hash of one file."""

    bytes: int
    sha256: str


class RawFile(Config):
    """A file of examples or events whose rows a store holds, by its content."""

    table: str
    name: str
    """As it was seen from the experiment's folder; `sql` for the rows of a SQL table."""
    bytes: int
    sha256: str


class Target(Config):
    """Values of a regression label over the rows where it is known."""

    rows: int
    mean: float
    centre: float
    """Mean and standard deviation of what is learnt: the value, or its log(1 + value)."""
    spread: float

    @staticmethod
    def of(label: Label, values: np.ndarray) -> "Target":
        """Of known values, of which there must be some."""
        values = values.astype(np.float64)
        learnt = np.log1p(values) if label.loss == "log_squared" else values
        return Target(
            rows=len(values), mean=float(values.mean()), centre=float(learnt.mean()), spread=float(learnt.std())
        )

    @staticmethod
    def merged(parts: Sequence["Target"]) -> "Target":
        """Of all rows of some parts (Chan et al. 1983)."""
        rows = np.array([part.rows for part in parts])
        centres, spreads = np.array([part.centre for part in parts]), np.array([part.spread for part in parts])
        centre = np.average(centres, weights=rows)
        return Target(
            rows=int(rows.sum()),
            mean=float(np.average([part.mean for part in parts], weights=rows)),
            centre=float(centre),
            spread=float(np.sqrt(np.average(spreads**2 + (centres - centre) ** 2, weights=rows))),
        )


class SplitCount(Config):
    """What a split holds."""

    requests: int = 0
    rows: int = 0
    positives: tuple[int, ...] = ()
    """Rows with label 1, by label; 0 for a regression."""
    unlabelled: tuple[int, ...] = ()
    """Rows whose label is masked, by label."""
    targets: dict[str, Target] = Field(default_factory=dict)
    """Of the regression labels that are known anywhere."""

    @staticmethod
    def sum(counts: Sequence["SplitCount"], *, like: "SplitCount") -> "SplitCount":
        """All of them together; `like` says how many tasks there are, also where there are no counts."""
        tasks = range(len(like.positives))
        targets: dict[str, list[Target]] = {}
        for count in counts:
            for name, target in count.targets.items():
                targets.setdefault(name, []).append(target)
        return SplitCount(
            requests=sum(count.requests for count in counts),
            rows=sum(count.rows for count in counts),
            positives=tuple(sum(count.positives[task] for count in counts) for task in tasks),
            unlabelled=tuple(sum(count.unlabelled[task] for count in counts) for task in tasks),
            targets={name: Target.merged(parts) for name, parts in targets.items()},
        )


class Segment(Config):
    """One immutable folder of encoded rows, sorted by user and time."""

    folder: str
    splits: dict[str, SplitCount]
    events: dict[str, int]
    catalog_rows: int
    profile_rows: int
    num_users: int
    """Users known when it was written; its offsets have that many entries."""
    quarantined: int = 0
    rows_without_item: int = 0
    """Example rows whose item is not in the catalog (they have the unknown item)."""
    events_without_item: int = 0
    rows_without_profile: int = 0
    rows_too_new: int = 0
    """Example rows left out because their item, or too few others, were known before (data.negatives)."""
    files: dict[str, FileEntry]

    def total(self, name: str) -> int:
        return sum(getattr(count, name) for count in self.splits.values())


class Manifest(Config):
    """A store in full. Its hash names the data in runs and in the ledger."""

    format: int = FORMAT
    config: DataConfig
    inputs: Inputs
    encoder: dict[str, FileEntry]
    segments: tuple[Segment, ...]
    raw_columns: dict[str, dict[str, str]]
    """Columns of the raw tables with their types: what a table to be scored is checked against."""
    raw_files: tuple[RawFile, ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 of the canonical form: the same data prepared the same way gives the same hash."""
        return hashlib.sha256(self._canonical()).hexdigest()

    @property
    def encoder_hash(self) -> str:
        """Names the meaning of ids and numbers: stores with the same one can serve the same model."""
        text = json.dumps({name: entry.sha256 for name, entry in sorted(self.encoder.items())})
        return hashlib.sha256(text.encode()).hexdigest()

    def places(self, split: str) -> list[tuple[Segment, str]]:
        """Where the rows of train, valid or test stand: segments, with the split that they were given in each."""
        *older, newest = self.segments
        return [*self.older_places(older, split), (newest, split)]

    def older_places(self, older: Sequence[Segment], split: str) -> list[tuple[Segment, str]]:
        """`places` within segments that are not the newest: if splits move on, all of their rows are for training."""
        if not moves_on(self.config):
            return [(segment, split) for segment in older]
        return [(segment, name) for segment in older for name in SPLITS if split == "train"]

    def count(self, split: str) -> SplitCount:
        """What train, valid or test holds, all segments together."""
        counts = [segment.splits[name] for segment, name in self.places(split)]
        return SplitCount.sum(counts, like=counts[-1])

    def _canonical(self) -> bytes:
        values = self.model_dump(mode="json")
        # what the rows are counts, not the files that they came in; folder names are given by the order of work
        del values["raw_files"]
        for segment in values["segments"]:
            del segment["folder"]
        return json.dumps(values, sort_keys=True, separators=(",", ":")).encode()

    def write(self, store: Path) -> None:
        replace_file(
            store / MANIFEST, json.dumps({"hash": self.hash, **self.model_dump(mode="json")}, indent=1).encode()
        )

    @staticmethod
    def read(store: Path) -> "Manifest":
        """Raises StoreError if there is no finished store, or one of another version, or an edited one."""
        path = store / MANIFEST
        if not path.exists():
            raise StoreError(
                f"No finished store at {store}: {MANIFEST} is missing. Run: hemix prepare CONFIG --out {store}"
            )
        try:
            values = json.loads(path.read_bytes())
            written = values.pop("hash", None)
        except (ValueError, AttributeError, TypeError) as error:
            raise StoreError(f"The manifest {path} is damaged ({error}); prepare the store again.") from None
        if values.get("format") != FORMAT:
            raise StoreError(
                f"The store at {store} has format {values.get('format')!r}, this version reads {FORMAT}; prepare it "
                f"again."
            )
        try:
            manifest = Manifest.model_validate(values)
        except ValidationError as error:
            raise StoreError(
                f"The manifest {path} does not fit this version ({error.error_count()} problems); prepare the store "
                f"again."
            ) from None
        if manifest.hash != written:
            raise StoreError(
                f"The manifest {path} was changed after it was written (its hash does not match); prepare the store "
                f"again."
            )
        return manifest


def moves_on(config: DataConfig) -> bool:
    """Whether validation and test are the newest rows, so that earlier ones become training rows."""
    return config.split.by in ("time", "user_time") and not isinstance(config.examples.table, dict)


def new_folder() -> str:
    """A name for the folder of a segment that no other segment has."""
    return f"segment-{uuid.uuid4().hex[:12]}"


def entry(written: Written) -> FileEntry:
    """The manifest's entry for a finished file."""
    return FileEntry(bytes=written.bytes, sha256=written.sha256)


def file_entry(path: Path) -> FileEntry:
    """Size and hash of a finished file, flushed to the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return FileEntry(bytes=path.stat().st_size, sha256=content_hash(path))
