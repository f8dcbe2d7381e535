"""Small raw tables, the stores prepared from them, and encoded batches decoded back to raw values."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from hemix.batch import FIRST_ID, NULL_ID, PADDING_ID, UNKNOWN_ID, Columns, FieldSpec
from hemix.data.prepare import prepare
from hemix.data.store import SplitView, Store
from hemix.schema import DataConfig, parse_config

UNKNOWN = "<unknown>"
DAY = 86_400
Row = dict[str, Any]


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema | None = None) -> Path:
    """Write rows in the format that the file's ending names."""
    table = pa.Table.from_pylist(list(rows), schema=schema)
    if path.suffix == ".parquet":
        pq.write_table(table, path)
    elif path.suffix == ".csv":
        pa_csv.write_csv(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def data_config(**sections: Any) -> DataConfig:
    """A data section: rows `log` of user, item, time and click with their two ids, all for training, unless told
    otherwise.
    """
    values = {
        "tables": {"log": {"path": "log.parquet"}},
        "examples": {"table": "log", "user": "user", "item": "item", "time": "time"},
        "labels": [{"name": "click"}],
        "features": {
            "request": [{"kind": "categorical", "column": "user"}],
            "candidate": [{"kind": "categorical", "column": "item"}],
        },
        "split": {"by": "random", "fractions": [1, 0, 0]},
        **sections,
    }
    return parse_config(DataConfig, values, "data")


def make_store(folder: Path, tables: Mapping[str, Sequence[Row]], **sections: Any) -> Store:
    """Write the tables as Parquet files, then prepare ``folder / "store"`` from them."""
    for name, rows in tables.items():
        write_table(folder / f"{name}.parquet", rows)
    paths = {name: {"path": f"{name}.parquet"} for name in tables}
    config = data_config(**{"tables": paths, **sections})
    return prepare(config, folder / "store", root=folder, threads=1)


@dataclass(slots=True)
class Decoded:
    """One example of a store, read back: values by field name, events of each history oldest first."""

    request: int
    """Number of its request in the split."""
    values: Row
    histories: dict[str, list[Row]] = field(default_factory=dict)
    times: dict[str, list[int]] = field(default_factory=dict)
    """Of those events, in microseconds."""
    labels: list[float] = field(default_factory=list)
    weight: float = 1.0


def decode(view: SplitView, *, by_time: bool = False) -> dict[int, Decoded]:
    """Every example of a split by its raw row number (which repeats from segment to segment) or by its time in
    seconds, with ids turned back into the values of the vocabularies.
    """
    requests = np.arange(view.num_requests)
    batch = view.batch(requests)
    origins = view.origins(requests)
    if by_time:
        origins = np.repeat(batch.requests.times.numpy(), view.counts(requests)) // 1_000_000
    inputs = view.store.inputs
    offsets = batch.offsets.tolist()
    assert batch.labels is not None
    assert batch.weights is not None
    found: dict[int, Decoded] = {}
    for request in requests.tolist():
        own = _values(view.store, inputs.request, batch.requests.columns, request)
        histories: dict[str, list[Row]] = {}
        times: dict[str, list[int]] = {}
        for spec in inputs.histories:
            history = batch.requests.histories[spec.name]
            histories[spec.name] = [
                _values(view.store, spec.fields, history.events, (request, step))
                for step in range(int(history.lengths[request]))
            ]
            times[spec.name] = history.times[request, : int(history.lengths[request])].tolist()
        for row in range(offsets[request], offsets[request + 1]):
            found[int(origins[row])] = Decoded(
                request=request,
                values=own | _values(view.store, inputs.candidate, batch.candidates, row),
                histories=histories,
                times=times,
                labels=batch.labels[row].tolist(),
                weight=float(batch.weights[row]),
            )
    return found


def decode_all(store: Store) -> dict[int, Decoded]:
    """The examples of all three splits."""
    return {row: value for split in ("train", "valid", "test") for row, value in decode(store.split(split)).items()}


def split_of_rows(store: Store) -> dict[int, str]:
    """The split of every raw row."""
    found: dict[int, str] = {}
    for split in ("train", "valid", "test"):
        view = store.split(split)
        found |= dict.fromkeys(view.origins(np.arange(view.num_requests)).tolist(), split)
    return found


def _values(store: Store, fields: Sequence[FieldSpec], columns: Columns, place: Any) -> Row:
    ids, numbers = columns.ids[place].tolist(), columns.numbers[place].tolist()
    values: Row = {}
    for spec in fields:
        place = slice(spec.start, spec.start + spec.width)
        if spec.kind == "id":
            values[spec.name] = name_of(store, spec.table or "", ids[spec.start])
        elif spec.kind == "ids":
            values[spec.name] = [name_of(store, spec.table or "", found) for found in ids[place] if found != PADDING_ID]
        else:
            values[spec.name] = numbers[place] if spec.kind == "vector" else numbers[spec.start]
    return values


def name_of(store: Store, table: str, found: int) -> Any:
    """The raw value of an id; the id itself in tables without a vocabulary."""
    if found == NULL_ID:
        return None
    if found == UNKNOWN_ID:
        return UNKNOWN
    vocabulary = store.encoder.vocabularies.get(table)
    return found if vocabulary is None else vocabulary.values[found - FIRST_ID].as_py()


def vocabulary(store: Store, table: str) -> list[Any]:
    """The values that a store knows, in id order."""
    return store.encoder.vocabularies[table].values.to_pylist()
