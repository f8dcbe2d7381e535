"""The encoder: everything fitted on the training split, and the only way from raw values to ids and numbers."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hemix.batch import FIRST_ID, NULL_ID, PADDING_ID, FieldSpec, TableSpec
from hemix.config import Config
from hemix.data.arrays import Allowance, Spool, Written, one_array, replace_file
from hemix.data.fields import Part, Plan
from hemix.data.vocabulary import NO_SLOT, NO_VALUE, Lookup, Vocabulary, VocabularyBuilder
from hemix.errors import StoreError

MAX_QUANTILE_SAMPLE = 1_000_000
INTERLEAVED_ROWS = 8192


class Scaler(Config):
    """``(f(x) - mean) / std`` with ``f(x) = sign(x) log(1 + |x|)`` if `log`, else x. NaN (missing) stays NaN."""

    mean: float = 0.0
    std: float = 1.0
    log: bool = False

    def apply(self, values: np.ndarray) -> np.ndarray:
        values = values.astype(np.float64)
        values = np.sign(values) * np.log1p(np.abs(values)) if self.log else values
        return ((values - self.mean) / self.std).astype(np.float32)


class Quantiles(Config):
    """Id ``FIRST_ID + i`` for values between the i-th and the next edge; NaN gets `NULL_ID`."""

    edges: tuple[float, ...] = ()

    def apply(self, values: np.ndarray) -> np.ndarray:
        ids = np.searchsorted(np.asarray(self.edges), values, side="right").astype(np.int32) + FIRST_ID
        ids[np.isnan(values)] = NULL_ID
        return ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoder:
    """Fitted vocabularies by table, scalers and quantiles by block and field."""

    vocabularies: Mapping[str, Vocabulary] = field(default_factory=dict)
    scalers: Mapping[str, Scaler] = field(default_factory=dict)
    quantiles: Mapping[str, Quantiles] = field(default_factory=dict)

    def num_ids(self, part: Part) -> int:
        """Rows that the embedding table of an id field needs."""
        if part.coding == "direct":
            return FIRST_ID + part.num_direct
        if part.coding == "quantile":
            return FIRST_ID + len(self.quantiles[key_of(part)].edges) + 1
        return self.vocabularies[part.table or ""].num_ids

    def save(self, folder: Path) -> dict[str, Written]:
        """Write the encoder as Parquet and JSON into `folder`; returns what was written, by file name."""
        written: dict[str, Written] = {}
        for index, (table, vocabulary) in enumerate(sorted(self.vocabularies.items())):
            columns = pa.table({"value": vocabulary.values, "count": vocabulary.counts}).replace_schema_metadata(
                {"table": table}
            )
            buffer = io.BytesIO()
            pq.write_table(columns, buffer, compression="zstd")
            name = f"vocabulary-{index}.parquet"
            written[name] = replace_file(folder / name, buffer.getvalue())
        state = EncoderState(
            tables=tuple(sorted(self.vocabularies)),
            scalers=dict(sorted(self.scalers.items())),
            quantiles=dict(sorted(self.quantiles.items())),
        )
        written["encoder.json"] = replace_file(folder / "encoder.json", state.model_dump_json(indent=1).encode())
        return written

    @staticmethod
    def load(folder: Path) -> "Encoder":
        """Read what `save` wrote. Raises StoreError if a file is missing or damaged."""
        try:
            state = EncoderState.model_validate_json((folder / "encoder.json").read_bytes())
            vocabularies: dict[str, Vocabulary] = {}
            for index, table in enumerate(state.tables):
                columns = pq.read_table(folder / f"vocabulary-{index}.parquet")
                vocabularies[table] = Vocabulary(
                    values=columns["value"].combine_chunks(), counts=np.asarray(columns["count"])
                )
        except (OSError, ValueError) as error:
            raise StoreError(f"The encoder in {folder} cannot be read: {error}. Prepare the store again.") from None
        return Encoder(vocabularies=vocabularies, scalers=state.scalers, quantiles=state.quantiles)


class EncoderState(Config):
    """The part of an encoder that is written as JSON."""

    tables: tuple[str, ...]
    scalers: dict[str, Scaler]
    quantiles: dict[str, Quantiles]


def key_of(part: Part) -> str:
    """Name of a field within the whole store."""
    return f"{part.block}.{part.name}"


def layout(parts: Sequence[Part]) -> tuple[tuple[FieldSpec, ...], int, int]:
    """Where each field of a block stands; numbers of id and number columns."""
    specs: list[FieldSpec] = []
    num_ids = num_numbers = 0
    for part in parts:
        kind = "vector" if part.coding == "vector" else "number" if not part.is_id else "ids" if part.many else "id"
        start = num_ids if part.is_id else num_numbers
        specs.append(FieldSpec(name=part.name, kind=kind, start=start, width=part.width, table=part.table))
        if part.is_id:
            num_ids += part.width
        else:
            num_numbers += part.width
    return tuple(specs), num_ids, num_numbers


def table_specs(plan: Plan, encoder: Encoder) -> tuple[TableSpec, ...]:
    """Every embedding table that the plan's fields use, in order of first use."""
    tables: dict[str, TableSpec] = {}
    for part in (part for parts in plan.blocks.values() for part in parts if part.table is not None):
        name = part.table or ""
        tables.setdefault(
            name,
            TableSpec(name=name, num_ids=encoder.num_ids(part), dim=part.dim, pretrained=part.pretrained is not None),
        )
    return tuple(tables.values())


class Stager:
    """Takes the raw rows of one block in chunks and keeps them, half encoded, until the encoder is fitted."""

    def __init__(
        self,
        parts: Sequence[Part],
        builders: dict[str, VocabularyBuilder],
        folder: Path,
        name: str,
        allowance: Allowance,
    ) -> None:
        self.parts = list(parts)
        self.specs, self.num_ids, self.num_numbers = layout(parts)
        self._builders = builders
        self._parts = Spool(folder / f"{name}.parts", allowance)
        self._weighted = Spool(folder / f"{name}.weights", allowance)
        self._chunks: list[dict[int, int]] = []
        self._num_rows: list[int] = []
        for part in parts:
            if part.coding in ("vocabulary", "cell"):
                kind = pa.int64() if part.coding == "cell" else pa.string()
                builders.setdefault(part.table or "", VocabularyBuilder(kind))

    def __len__(self) -> int:
        return len(self._chunks)

    def add(self, columns: Sequence[pa.ChunkedArray], num_rows: int, weights: np.ndarray | None) -> None:
        """Stage one chunk: raw values by part; `weights` says how often training saw each row (None: once)."""
        chunks: dict[int, int] = {}
        for index, (part, column) in enumerate(zip(self.parts, columns, strict=True)):
            chunk, values = self._stage(part, column, num_rows, weights)
            self._parts.append(values)
            if chunk is not None:
                chunks[index] = chunk
        self._weighted.append(np.zeros(0, np.bool_) if weights is None else weights > 0)
        self._chunks.append(chunks)
        self._num_rows.append(num_rows)

    def _staged(self, chunk: int, part: int) -> np.ndarray:
        """What `add` kept of a part in a chunk, (width, n)."""
        return self._parts[chunk * len(self.parts) + part]

    def _stage(
        self, part: Part, raw: pa.ChunkedArray, num_rows: int, weights: np.ndarray | None
    ) -> tuple[int | None, np.ndarray]:
        """The chunk's number in the vocabulary, if there is one, and the codes or numbers of each row (width, n)."""
        if not part.is_id or part.coding == "quantile":
            return None, _numbers(part, one_array(raw))
        if part.coding == "direct":
            return None, _direct_slots(part, one_array(raw))
        builder = self._builders[part.table or ""]
        if part.coding == "cell":
            raw = pa.chunked_array([h3_cells(one_array(raw), part.resolution)])
        if not part.many:
            chunk, codes = builder.add(raw, weights)
            return chunk, codes[None]
        column = one_array(raw)
        rows, slots, flat = _list_slots(part, column)
        chunk, codes = builder.add(pa.chunked_array([flat]), None if weights is None else weights[rows])
        out = np.full((part.width, num_rows), NO_SLOT, codes.dtype)
        out[slots, rows] = codes
        out[0, np.asarray(column.is_null())] = NO_VALUE
        return chunk, out

    def fit_numbers(self) -> tuple[dict[str, Scaler], dict[str, Quantiles]]:
        """Scalers and quantile edges over the rows that training saw; exact and independent of threads."""
        scalers: dict[str, Scaler] = {}
        quantiles: dict[str, Quantiles] = {}
        for index, part in enumerate(self.parts):
            if part.coding == "quantile":
                quantiles[key_of(part)] = Quantiles(edges=_quantile_edges(self._seen(index), part.buckets))
            elif part.coding == "number":
                scalers[key_of(part)] = fit_scaler(self._seen(index), log=part.log) if part.standard else Scaler()
        return scalers, quantiles

    def _seen(self, part: int) -> Iterator[np.ndarray]:
        for chunk in range(len(self)):
            values, seen = self._staged(chunk, part)[0].astype(np.float64), self._weighted[chunk]
            values = values[seen] if len(seen) else values
            yield values[~np.isnan(values)]

    def finish(self, encoder: Encoder) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Encoded chunks: ids (n, I) int32 and numbers (n, F) float32."""
        lookups = {
            table: self._builders[table].lookup(encoder.vocabularies[table])
            for table in {part.table or "" for part in self.parts if part.coding in ("vocabulary", "cell")}
        }
        for chunk in range(len(self)):
            yield self._finish_chunk(chunk, encoder, lookups)

    def _finish_chunk(
        self, chunk: int, encoder: Encoder, lookups: Mapping[str, Lookup]
    ) -> tuple[np.ndarray, np.ndarray]:
        ids: list[np.ndarray] = []
        numbers: list[np.ndarray] = []
        for index, part in enumerate(self.parts):
            staged = self._staged(chunk, index)
            if part.coding == "quantile":
                ids.extend(encoder.quantiles[key_of(part)].apply(staged))
            elif part.coding == "number":
                numbers.extend(encoder.scalers[key_of(part)].apply(staged))
            elif not part.is_id:
                numbers.extend(staged)
            elif part.coding == "direct":
                ids.extend(staged)
            else:
                ids.extend(lookups[part.table or ""].ids(self._chunks[chunk][index], staged))
        num_rows = self._num_rows[chunk]
        return _as_rows(ids, num_rows, np.int32), _as_rows(numbers, num_rows, np.float32)

    def close(self) -> None:
        for spool in (self._parts, self._weighted):
            spool.close()


def fit_encoder(plan: Plan, stagers: Sequence[Stager], builders: Mapping[str, VocabularyBuilder]) -> Encoder:
    """Fit vocabularies, scalers and quantiles on what training saw of the staged rows."""
    limits = {part.table: part for parts in plan.blocks.values() for part in parts if part.table is not None}

    def fit(item: tuple[str, VocabularyBuilder]) -> tuple[str, Vocabulary]:
        part = limits[item[0]]
        return item[0], item[1].fit(min_count=part.min_count, max_size=part.max_size)

    scalers: dict[str, Scaler] = {}
    quantiles: dict[str, Quantiles] = {}
    with ThreadPoolExecutor() as pool:
        numbers = pool.map(Stager.fit_numbers, stagers)
        vocabularies = dict(pool.map(fit, builders.items()))
        for found_scalers, found_quantiles in numbers:
            scalers.update(found_scalers)
            quantiles.update(found_quantiles)
    return Encoder(vocabularies=vocabularies, scalers=scalers, quantiles=quantiles)


def _as_rows(columns: Sequence[np.ndarray], num_rows: int, dtype: type[np.generic]) -> np.ndarray:
    """Columns (n,) as a matrix (n, columns), some rows at a time so that they stay in the cache."""
    rows = np.empty((num_rows, len(columns)), dtype)
    for start in range(0, num_rows if columns else 0, INTERLEAVED_ROWS):
        place = slice(start, start + INTERLEAVED_ROWS)
        np.stack([column[place] for column in columns], axis=1, out=rows[place], casting="same_kind")
    return rows


def _numbers(part: Part, column: pa.Array) -> np.ndarray:
    """Values (width, n), float32 if they are so in the table, else float64; nulls become NaN."""
    if part.coding != "vector":
        kind = pa.float32() if column.type == pa.float32() else pa.float64()
        return np.asarray(pc.fill_null(column.cast(kind), math.nan))[None]
    rows, slots, flat = _list_slots(part, column)
    values = np.full((part.width, len(column)), math.nan)
    values[slots, rows] = np.asarray(flat, np.float64)
    return values


def _list_slots(part: Part, column: pa.Array) -> tuple[np.ndarray, np.ndarray, pa.Array]:
    """Row and slot of every list element within the field's width, and the elements."""
    lengths = np.asarray(pc.fill_null(pc.call_function("list_value_length", [column]), 0)).astype(np.int64)
    flat = column.flatten()
    rows = np.repeat(np.arange(len(column)), lengths)
    starts = np.cumsum(lengths) - lengths
    slots = np.arange(len(flat)) - starts[rows]
    kept = slots < part.width
    return rows[kept], slots[kept], flat.filter(pa.array(kept))


def _direct_slots(part: Part, column: pa.Array) -> np.ndarray:
    if not part.many:
        return np.asarray(pc.fill_null(column.cast(pa.int32()), NULL_ID))[None]
    rows, slots, flat = _list_slots(part, column)
    out = np.full((part.width, len(column)), PADDING_ID, np.int32)
    out[slots, rows] = np.asarray(flat)
    out[0, np.asarray(column.is_null())] = NULL_ID
    return out


def h3_cells(points: pa.Array, resolution: int) -> pa.Array:
    """H3 cells (int64) of structs of lat and lon; each distinct point is looked up once."""
    import h3.api.numpy_int as h3

    valid = np.asarray(points.is_valid())
    coordinates = np.stack([np.asarray(points.field(name), np.float64)[valid] for name in ("lat", "lon")], axis=1)
    unique, inverse = np.unique(coordinates, axis=0, return_inverse=True)
    cells = np.array([h3.latlng_to_cell(lat, lon, resolution) for lat, lon in unique.tolist()], np.uint64).astype(
        np.int64
    )
    values = np.zeros(len(points), np.int64)
    values[valid] = cells[inverse.reshape(-1)] if len(cells) else 0
    return pa.array(values, mask=~valid)


def fit_scaler(chunks: Iterator[np.ndarray], *, log: bool) -> Scaler:
    """Mean and deviation by exact sums, so that neither threads nor chunks show in the result."""
    raw = Scaler(log=log)
    count, sums, squares = 0, [], []
    shift: float | None = None
    for chunk in chunks:
        if not len(chunk):
            continue
        values = (np.sign(chunk) * np.log1p(np.abs(chunk))) if raw.log else chunk
        shift = float(values[0]) if shift is None else shift
        count += len(values)
        sums.append(float(np.sum(values - shift)))
        squares.append(float(np.sum((values - shift) ** 2)))
    if not count:
        return raw
    offset = math.fsum(sums) / count
    variance = max(0.0, math.fsum(squares) / count - offset**2)
    std = math.sqrt(variance)
    return Scaler(mean=(shift or 0.0) + offset, std=std if std > 1e-12 else 1.0, log=log)


def _quantile_edges(chunks: Iterator[np.ndarray], buckets: int) -> tuple[float, ...]:
    """Inner edges of about equally filled buckets; of long columns every k-th value is looked at."""
    values = np.concatenate([np.zeros(0), *chunks])
    if not len(values):
        return ()
    values = values[:: max(1, len(values) // MAX_QUANTILE_SAMPLE)]
    edges = np.quantile(values, np.arange(1, buckets) / buckets)
    return tuple(float(edge) for edge in np.unique(edges))
