"""Vocabularies: from values to ids. Built in one pass over the data, without holding it."""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hemix.batch import FIRST_ID, NULL_ID, PADDING_ID, UNKNOWN_ID

NO_VALUE = -1
"""Staged code of a null."""
NO_SLOT = -2
"""Staged code of an unused slot of a multi-valued field."""
MIN_FOLD = 2**20


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Known values in id order: the i-th has id ``FIRST_ID + i``. Frequent values come first, ties by value."""

    values: pa.Array
    counts: np.ndarray

    @property
    def num_ids(self) -> int:
        return FIRST_ID + len(self.values)

    def ids(self, values: pa.Array) -> np.ndarray:
        """Ids of some values; unknown ones get `UNKNOWN_ID`, nulls `NULL_ID`."""
        found = pc.call_function("index_in", [values], pc.SetLookupOptions(self.values))
        ids = np.asarray(pc.fill_null(found, UNKNOWN_ID - FIRST_ID)).astype(np.int32) + FIRST_ID
        if values.null_count:
            ids[np.asarray(values.is_null())] = NULL_ID
        return ids


@dataclass(slots=True)
class VocabularyBuilder:
    """Collects the distinct values of one table and how often training saw them.

    Chunks are dictionary-encoded as they come; their codes stay local to the chunk (the caller keeps them), and
    `lookup` turns them into ids once all chunks are known. Memory grows with the distinct values only.
    """

    kind: pa.DataType
    _values: pa.Array = field(init=False)
    _counts: np.ndarray = field(init=False)
    _pending: list[tuple[int, pa.Array, np.ndarray]] = field(default_factory=list)
    _pending_size: int = 0
    _codes: list[np.ndarray] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._values = pa.array([], self.kind)
        self._counts = np.zeros(0, np.int64)

    def add(self, values: pa.ChunkedArray, weights: np.ndarray | None) -> tuple[int, np.ndarray]:
        """Add a chunk; `weights` counts how often training saw each value (None: once each).

        Returns the chunk's number and its local codes (as narrow as they can be, `NO_VALUE` for nulls).
        """
        if values.type != self.kind:
            values = values.cast(self.kind)
        encoded = values.dictionary_encode()
        # all chunks of a column share one dictionary
        dictionary = encoded.chunk(0).dictionary if len(values) else self._values.slice(0, 0)
        codes = np.zeros(len(values), np.int32)
        if len(values):
            np.concatenate([np.asarray(pc.fill_null(part.indices, NO_VALUE)) for part in encoded.chunks], out=codes)
        # the code of a null is -1: its count comes first and is dropped
        size = len(dictionary)
        seen = np.bincount(codes - NO_VALUE, weights=weights, minlength=size + 1)[1:]
        chunk = len(self._codes)
        self._codes.append(np.zeros(0, np.int32))
        self._pending.append((chunk, dictionary, seen.astype(np.int64)))
        self._pending_size += size
        if self._pending_size > max(MIN_FOLD, len(self._values)):
            self._fold()
        return chunk, codes.astype(np.int16) if size <= np.iinfo(np.int16).max else codes

    def _fold(self) -> None:
        """Merge pending dictionaries; global values keep their places, so that earlier codes stay right."""
        if not self._pending:
            return
        merged = pa.concat_arrays([self._values, *(values for _, values, _ in self._pending)]).dictionary_encode()
        codes = np.asarray(merged.indices).astype(np.int32, copy=False)
        counts = np.zeros(len(merged.dictionary), np.int64)
        counts[: len(self._counts)] = self._counts
        start = len(self._values)
        for chunk, values, seen in self._pending:
            mine = codes[start : start + len(values)]
            self._codes[chunk] = mine
            np.add.at(counts, mine, seen)
            start += len(values)
        self._values, self._counts = merged.dictionary, counts
        self._pending, self._pending_size = [], 0

    def fit(self, *, min_count: int, max_size: int | None) -> Vocabulary:
        """The values seen at least `min_count` times (and once) in training, the most frequent `max_size`."""
        self._fold()
        kept = np.flatnonzero(self._counts >= max(1, min_count))
        values, counts = self._values.take(pa.array(kept)), self._counts[kept]
        table = pa.table({"count": counts, "value": values})
        by_frequency = pc.SortOptions(sort_keys=[("count", "descending"), ("value", "ascending")])
        order = pc.call_function("sort_indices", [table], by_frequency)
        if max_size is not None:
            order = order.slice(0, max_size)
        return Vocabulary(values=values.take(order), counts=counts[np.asarray(order)])

    def lookup(self, vocabulary: Vocabulary) -> "Lookup":
        """What turns the local codes of every chunk into ids of `vocabulary`."""
        self._fold()
        return Lookup(vocabulary.ids(self._values), self._codes)


@dataclass(frozen=True, slots=True)
class Lookup:
    """Local codes of a chunk -> ids."""

    _ids: np.ndarray
    _codes: list[np.ndarray]

    def ids(self, chunk: int, codes: np.ndarray) -> np.ndarray:
        # The two extra entries serve codes -2 (no slot) and -1 (null), which index from the end.
        table = np.append(self._ids[self._codes[chunk]], np.array([PADDING_ID, NULL_ID], np.int32)).astype(np.int32)
        return table[codes]
