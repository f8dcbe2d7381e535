"""Matrices on disk: written front to back with their hash, read as memory maps."""

import hashlib
import math
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from hemix.errors import StoreError

HEADER_BYTES = 192
HASHED_AT_ONCE = 2**20


@dataclass(frozen=True, slots=True)
class Written:
    """A finished file: its size and content hash."""

    bytes: int
    sha256: str


class ArrayWriter:
    """Writes a ``.npy`` file in chunks of rows, hashing as it goes; the number of rows need not be known before.

    `row_shape` is the shape of one row: ``()`` for a vector. The header is put in place by `close`.
    """

    def __init__(self, path: Path, dtype: str, row_shape: tuple[int, ...] = ()) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.row_shape = row_shape
        self.rows = 0
        self._hash = hashlib.sha256()
        self._file = path.open("wb")
        self._file.write(b"\0" * HEADER_BYTES)

    def append(self, rows: np.ndarray) -> None:
        """Write the next rows."""
        if not len(rows):
            return
        data = np.ascontiguousarray(rows, dtype=self.dtype)
        self.rows += len(data)
        if data.size:
            view = data.view(np.uint8).reshape(-1).data
            self._file.write(view)
            self._hash.update(view)

    def abandon(self) -> None:
        """Close the file as it is; nothing happens if it is finished."""
        self._file.close()

    def close(self) -> Written:
        """Finish the file."""
        header = self._header()
        size = self._file.tell()
        self._file.seek(0)
        self._file.write(header)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._hash.update(header)
        return Written(size, self._hash.hexdigest())

    def _header(self) -> bytes:
        """The header of format version 1.0, padded to a fixed length so that it can be written last."""
        shape = (self.rows, *self.row_shape)
        text = f"{{'descr': {self.dtype.str!r}, 'fortran_order': False, 'shape': {shape!r}, }}"
        return (
            b"\x93NUMPY\x01\x00"
            + (HEADER_BYTES - 10).to_bytes(2, "little")
            + text.ljust(HEADER_BYTES - 11).encode()
            + b"\n"
        )


@dataclass(slots=True)
class Allowance:
    """Memory that spools may use together before they write to the disk."""

    bytes: int


class Spool:
    """Arrays kept one after the other and read back by number: in memory as far as allowed, else in a file."""

    def __init__(self, path: Path, allowance: Allowance) -> None:
        self._path = path
        self._allowance = allowance
        self._file = path.open("wb")
        self._bytes = 0
        self._kept: list[np.ndarray | _Place] = []

    def __len__(self) -> int:
        return len(self._kept)

    def append(self, values: np.ndarray) -> None:
        """Keep an array after the others; its number is the length before."""
        if values.size and values.flat[0] == values.flat[-1] and (values == values.flat[0]).all():
            # all the same, as in a column that the tables do not have: one value is enough
            self._kept.append(np.broadcast_to(values.flat[0], values.shape))
            return
        data = np.ascontiguousarray(values)
        if data.nbytes <= self._allowance.bytes:
            self._allowance.bytes -= data.nbytes
            # a view would keep all of the batch that it is a column of
            self._kept.append(data if data.base is None else data.copy())
            return
        self._kept.append(_Place(self._bytes, data.dtype, data.shape))
        self._bytes += self._file.write(data.view(np.uint8).reshape(-1).data)

    def __getitem__(self, index: int) -> np.ndarray:
        found = self._kept[index]
        if isinstance(found, np.ndarray):
            return found
        self._file.flush()
        return np.fromfile(self._path, found.dtype, math.prod(found.shape), offset=found.offset).reshape(found.shape)

    def close(self) -> None:
        self._file.close()


@dataclass(frozen=True, slots=True)
class _Place:
    """Where an array stands in the file of a spool."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]


def in_chunks(batches: Iterable[pa.RecordBatch], num_rows: int) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `num_rows` (but the last), whatever size they come in from many threads."""
    held: list[pa.RecordBatch] = []
    num_held = 0
    for batch in batches:
        held.append(batch)
        num_held += batch.num_rows
        while num_held >= num_rows:
            table = pa.Table.from_batches(held)
            yield table.slice(0, num_rows)
            held = table.slice(num_rows).to_batches()
            num_held -= num_rows
    if num_held:
        yield pa.Table.from_batches(held)


def one_array(column: pa.ChunkedArray) -> pa.Array:
    """The chunks of a column in one array; joining them copies, so that a single one is taken as it is."""
    return column.chunk(0) if column.num_chunks == 1 else pa.concat_arrays(column.chunks)


def write_array(path: Path, values: np.ndarray) -> Written:
    """Write a whole array as a ``.npy`` file."""
    writer = ArrayWriter(path, values.dtype.str, values.shape[1:])
    writer.append(values)
    return writer.close()


def content_hash(path: Path) -> str:
    """SHA-256 of a finished file; the header of an array counts after its rows, as it was written."""
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES) if path.suffix == ".npy" else b""
        digest = hashlib.sha256()
        while block := file.read(HASHED_AT_ONCE):
            digest.update(block)
    digest.update(header)
    return digest.hexdigest()


def open_array(path: Path) -> np.ndarray:
    """Map a ``.npy`` file for reading; an empty one is loaded. Raises StoreError if it is missing or truncated."""
    try:
        values: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError:
        raise StoreError(
            f"The store is incomplete: {path.name} is missing from {path.parent}. Prepare it again."
        ) from None
    except ValueError as error:
        try:
            return np.load(path, allow_pickle=False)
        except ValueError:
            raise StoreError(f"The store is damaged: {path} cannot be read ({error}). Prepare it again.") from None
    return values


def sync_folder(path: Path) -> None:
    """Flush a folder's entries to the disk, so that a rename in it survives a power cut."""
    if os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(path: Path, content: bytes) -> Written:
    """Write a file under a temporary name, flush it, and put it in place in one step."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_folder(path.parent)
    return Written(len(content), hashlib.sha256(content).hexdigest())
