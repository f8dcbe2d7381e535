"""What a ranker says of each row of a split, beside what came true: the input of every metric.

Axes: N rows in the split's own order, K tasks.
"""

import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from hemix.batch import LabelKind
from hemix.config import Config
from hemix.errors import InputError, RunError

FORMAT = 1


class Origin(Config):
    """Where predictions come from: enough to tell which of them may be compared."""

    tasks: tuple[str, ...]
    """Labels, those that are only measured last."""
    kinds: tuple[LabelKind, ...] = ()
    """Of each label; empty: all are binary."""
    split: str = ""
    store: str = ""
    """Hash of the store's manifest."""
    run: str = ""
    """Folder name of the run."""
    system: str = ""
    """Name of what is compared: runs that differ in nothing but the seed share it."""
    config: str = ""
    """Hash of the experiment without its seed."""
    seed: int | None = None
    seconds: float = 0.0
    """Time of the pass over the split, loading included."""
    parameters: int = 0
    table_parameters: int = 0
    """Those of `parameters` that stand in embedding tables."""

    def kind(self, task: int) -> LabelKind:
        return self.kinds[task] if self.kinds else "binary"


@dataclass(frozen=True, kw_only=True, slots=True)
class SliceColumn:
    """One feature of each row, to cut the rows by: ids (several, padded with 0, for a set) or numbers."""

    values: Shaped[np.ndarray, "N *M"]
    table: str | None = None
    """Vocabulary of the ids; None: numbers."""
    bounds: tuple[float, ...] | None = None
    """Lower bounds of the ranges of a number; None: quartiles."""
    names: tuple[str, ...] = ()
    """Readable value of each id, where the ids are not of a vocabulary."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Predictions:
    """Scores and outcomes of N rows. Logits already have the shift that undoes down-sampling.

    Raises InputError if a binary label is neither 0, 1 nor NaN (unknown), or that of a regression is infinite; RunError
    if a logit is not finite.
    """

    origin: Origin
    logits: Float[np.ndarray, "N K"]
    """Of a regression: the predicted values."""
    labels: Float[np.ndarray, "N K"]
    users: Int[np.ndarray, " N"]
    """-1: no user."""
    requests: Int[np.ndarray, " N"]
    """Ordinal of the row's request in the split."""
    times: Int[np.ndarray, " N"]
    """Microseconds since 1970."""
    weights: Float[np.ndarray, " N"] | None = None
    slices: dict[str, SliceColumn] = field(default_factory=dict)

    def __post_init__(self) -> None:
        bad = np.flatnonzero(~np.isfinite(self.logits).all(axis=1))
        if len(bad):
            raise RunError(
                f"Every logit must be finite; {len(bad)} of {len(self.logits)} rows are not (first: row {bad[0]} of "
                f"split '{self.origin.split}'). The model has diverged: train again with a smaller learning rate."
            )
        binary = [self.origin.kind(task) == "binary" for task in range(self.labels.shape[1])]
        known = self.labels[:, binary]
        known = known[~np.isnan(known)]
        if not np.isin(known, (0.0, 1.0)).all():
            value = known[~np.isin(known, (0.0, 1.0))][0]
            raise InputError(
                f"A label must be 0, 1 or unknown (NaN); found {value}. Write it as a condition in `labels`, or set "
                "kind: regression."
            )
        if np.isinf(self.labels).any():
            raise InputError("The value of a regression must be finite or unknown (NaN); found Inf. Mend the rows.")

    @property
    def num_rows(self) -> int:
        return len(self.logits)

    def take(self, chosen: Bool[np.ndarray, " N"]) -> "Predictions":
        """Some of the rows, without slices."""
        names = ("logits", "labels", "users", "requests", "times")
        weights = None if self.weights is None else self.weights[chosen]
        kept = {name: getattr(self, name)[chosen] for name in names}
        return Predictions(origin=self.origin, weights=weights, **kept)

    def fingerprint(self) -> str:
        """Hash of the rows themselves: labels, users, requests and times, in order; scores play no part."""
        digest = hashlib.sha256()
        for values in (self.labels, self.users, self.requests, self.times):
            digest.update(np.ascontiguousarray(values).tobytes())
        return digest.hexdigest()[:16]

    def save(self, path: Path) -> None:
        """Write to an ``.npz`` file in one step; an interrupted write leaves the old file as it was."""
        arrays = {name: getattr(self, name) for name in ("logits", "labels", "users", "requests", "times")}
        if self.weights is not None:
            arrays["weights"] = self.weights
        about: dict[str, object] = {"format": FORMAT, "origin": self.origin.model_dump(), "slices": {}}
        for name, column in self.slices.items():
            arrays[f"slice {name}"] = column.values
            about["slices"][name] = {"table": column.table, "bounds": column.bounds, "names": column.names}  # pyright: ignore[reportIndexIssue]
        arrays["about"] = np.frombuffer(json.dumps(about).encode(), dtype=np.uint8)
        partial = path.with_name(f".{path.name}.partial")
        try:
            with partial.open("wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path) -> "Predictions":
        """Read what `save` wrote. Raises RunError if the file is missing, damaged or of another version."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                arrays = {name: stored[name] for name in stored.files}
            about = json.loads(arrays.pop("about").tobytes())
        except FileNotFoundError:
            raise RunError(f"There are no predictions at {path}. Evaluate the run on that split first.") from None
        except (ValueError, KeyError, TypeError, OSError, EOFError, BadZipFile) as error:
            raise RunError(f"{path} is damaged ({error}). Delete it and evaluate the run again.") from None
        if about.get("format") != FORMAT:
            raise RunError(f"{path} has format {about.get('format')}, this version reads {FORMAT}. Evaluate again.")
        slices = {
            name: SliceColumn(
                values=arrays.pop(f"slice {name}"),
                table=kind["table"],
                bounds=None if kind["bounds"] is None else tuple(kind["bounds"]),
                names=tuple(kind["names"]),
            )
            for name, kind in about["slices"].items()
        }
        return cls(origin=Origin.model_validate(about["origin"]), slices=slices, **arrays)


class _Growing:
    """An array that rows are appended to; its room doubles, so that appending costs constant time per row."""

    def __init__(self, first: np.ndarray) -> None:
        self._room = first.copy()
        self._rows = len(first)

    def append(self, values: np.ndarray) -> None:
        rows = self._rows + len(values)
        if rows > len(self._room):
            larger = np.empty((max(rows, 2 * len(self._room)), *self._room.shape[1:]), self._room.dtype)
            larger[: self._rows] = self._room[: self._rows]
            self._room = larger
        self._room[self._rows : rows] = values
        self._rows = rows

    @property
    def values(self) -> np.ndarray:
        return self._room[: self._rows]


class Collector:
    """Gathers predictions batch by batch in one pass; two collectors of disjoint rows can be merged.

    Metrics need all rows at once (an AUC of parts is not the AUC of the whole), so what is kept is small: scores,
    outcomes, and who asked.
    """

    def __init__(self) -> None:
        self._columns: dict[str, _Growing] = {}

    def add(self, columns: dict[str, np.ndarray]) -> None:
        """Append the rows of one batch; the first call decides which columns there are."""
        if self._columns and self._columns.keys() != columns.keys():
            raise InputError(
                f"Batches must agree in their columns; had {sorted(self._columns)}, got {sorted(columns)}."
            )
        for name, values in columns.items():
            if name in self._columns:
                self._columns[name].append(values)
            else:
                self._columns[name] = _Growing(values)

    def merge(self, other: "Collector") -> None:
        """Append the rows of another collector; its requests are counted on from these."""
        columns = {name: column.values for name, column in other._columns.items()}
        if columns and self._columns:
            columns["requests"] = columns["requests"] + self.num_requests
        self.add(columns) if columns else None

    @property
    def num_requests(self) -> int:
        if not self._columns or not len(self._columns["requests"].values):
            return 0
        return int(self._columns["requests"].values[-1]) + 1

    def columns(self) -> dict[str, np.ndarray]:
        """All rows so far; empty before the first batch."""
        return {name: column.values for name, column in self._columns.items()}
