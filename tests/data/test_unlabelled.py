"""Rows to be scored: encoded as the store would, and written back in their own order with their scores."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from data.tables import UNKNOWN, Row, data_config, decode, decode_all, make_store, split_of_rows, write_table
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.data.unlabelled import rows_to_score
from hemix.errors import InputError
from hemix.schema import Table

FEATURES = {
    "request": [
        {"kind": "categorical", "column": "user"},
        {"kind": "numeric", "column": "age"},
        {"kind": "timestamp"},
        {"kind": "categorical", "column": "device"},
    ],
    "candidate": [
        {"kind": "categorical", "column": "item"},
        {"kind": "multi_categorical", "column": "tags"},
        {"kind": "numeric", "column": "price", "transform": "quantile", "buckets": 4},
        {"kind": "categorical", "column": "position", "served_as": "1"},
        {"kind": "window_count", "name": "week", "events": "log", "by": "item", "days": 7},
    ],
}
SECTIONS: dict[str, Any] = {
    "tables": {name: {"path": f"{name}.parquet"} for name in ("log", "items", "people")},
    "catalog": {"table": "items", "key": "item"},
    "profiles": {"table": "people", "key": "user"},
    "events": {"log": {"table": "log", "user": "user", "item": "item", "time": "time", "where": "click = 1"}},
    "histories": {
        "global": {"events": "log", "cut": "last_k", "part": "older", "k": 3},
        "real_time": {"events": "log", "cut": "last_k", "part": "recent", "k": 3},
    },
    "features": FEATURES,
    "split": {"by": "time"},
    "timezone": "UTC",
    "weight": "coalesce(price, 0) + 1",
    "downsample": {"label": "click", "keep": 0.9},
}


def raw_rows(num_rows: int = 160) -> list[Row]:
    random = np.random.default_rng(0)
    return [
        {
            "item": f"i{random.integers(9)}",
            "click": int(random.integers(2)),
            "user": f"u{random.integers(6)}",
            "price": None if row % 11 == 0 else float(random.integers(50)),
            "device": ["phone", "desk"][row // 3 % 2],
            "time": 1_700_000_000 + row // 3 * 40_000,
            "position": row % 3 + 1,
        }
        for row in range(num_rows)
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("unlabelled")
    items = [{"item": f"i{n}", "tags": ["a", "b", "c"][: n % 4]} for n in range(8)]
    people = [{"user": f"u{n}", "age": float(20 + n)} for n in range(5)]
    for name, rows in {"log": raw_rows(), "items": items, "people": people}.items():
        write_table(folder / f"{name}.parquet", rows)
    return prepare(data_config(**SECTIONS), folder / "store", root=folder, threads=1)


def without_labels(rows: list[Row]) -> list[Row]:
    return [{key: value for key, value in row.items() if key not in ("click", "position")} for row in rows]


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_the_same_rows_get_the_same_values(store: Store, tmp_path: Path, ending: str) -> None:
    """Rows of the validation and test splits, without labels and positions, in another order: encoded alike."""
    rows = raw_rows()
    splits = split_of_rows(store)
    numbers = [
        number
        for number in np.random.default_rng(1).permutation(len(rows)).tolist()
        if splits.get(number) in ("valid", "test")
    ]
    write_table(tmp_path / f"new.{ending}", without_labels([rows[number] for number in numbers]))
    known = decode_all(store)
    with rows_to_score(store, Table(path=f"new.{ending}"), tmp_path) as found:
        again = decode(found.view)
        assert sorted(again) == list(range(len(numbers)))
        for place, number in enumerate(numbers):
            assert str(again[place].values) == str(known[number].values)
            assert again[place].histories == known[number].histories
        batch = found.view.batch(np.arange(found.view.num_requests))
        assert batch.labels is not None
        assert torch.isnan(batch.labels).all()
        assert found.view.num_rows == len(numbers)


def test_new_users_items_and_values(store: Store, tmp_path: Path) -> None:
    """A user without history, an item outside the catalog, a device never seen, no price."""
    new = {"user": "nobody", "item": "nothing", "time": 1_800_000_000, "device": "watch", "price": None}
    old = {"user": "u1", "item": "i1", "time": 1_800_000_000, "device": "desk", "price": 3.0}
    write_table(tmp_path / "new.parquet", [new, old])
    with rows_to_score(store, Table(path="new.parquet"), tmp_path) as found:
        first, second = (example for _, example in sorted(decode(found.view).items()))
    assert first.values["user"] == first.values["item"] == first.values["device"] == UNKNOWN
    assert first.values["tags"] == [UNKNOWN]
    assert np.isnan(first.values["age"])
    assert first.values["price"] is None
    assert first.histories == {"global": [], "real_time": []}
    assert (second.values["user"], second.values["item"]) == ("u1", "i1")
    clicked = [row["item"] for row in raw_rows() if row["user"] == "u1" and row["click"]]
    events = [event["item"] for name in ("global", "real_time") for event in second.histories[name]]
    assert [item for item in clicked if item != "i8"] == [item for item in events if item != UNKNOWN]


def read_rows(path: Path) -> list[Row]:
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_scores_are_written_beside_their_rows(store: Store, tmp_path: Path, ending: str) -> None:
    """In the order of the input, whatever the order of the requests; columns that no feature reads come along."""
    rows = [{**row, "note": f"row {number}"} for number, row in enumerate(without_labels(raw_rows())[::-1])]
    write_table(tmp_path / f"in.{ending}", rows)
    with rows_to_score(store, Table(path=f"in.{ending}"), tmp_path) as found:
        origins = found.view.origins(np.arange(found.view.num_requests))
        found.write({"score": origins * 0.5, "rank": origins * 2}, tmp_path / f"out.{ending}")
    written = read_rows(tmp_path / f"out.{ending}")
    assert [row["note"] for row in written] == [row["note"] for row in rows]
    assert [float(row["score"]) for row in written] == [number * 0.5 for number in range(len(rows))]
    assert [int(row["rank"]) for row in written] == [number * 2 for number in range(len(rows))]
    assert list(written[0]) == [*rows[0], "score", "rank"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"in.{ending}", f"out.{ending}"]


@pytest.mark.slow
def test_many_rows_keep_their_order(tmp_path: Path) -> None:
    """More rows than one thread of the writer takes."""
    rows = [{"color": ["red", "blue"][n % 2], "click": n // 2 % 2} for n in range(40)]
    features = {"candidate": [{"kind": "categorical", "column": "color"}]}
    store = make_store(tmp_path, {"log": rows}, examples={"table": "log"}, features=features)
    write_table(tmp_path / "in.parquet", [{"color": "red", "n": n} for n in range(300_000)])
    with rows_to_score(store, Table(path="in.parquet"), tmp_path) as found:
        found.write({"score": found.view.origins(np.arange(found.view.num_requests))}, tmp_path / "out.parquet")
    written = pq.read_table(tmp_path / "out.parquet")
    assert (np.asarray(written["n"]) == np.arange(300_000)).all()
    assert (np.asarray(written["score"]) == np.arange(300_000)).all()


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_one_row_with_nulls(store: Store, tmp_path: Path, ending: str) -> None:
    """What a table to learn from may not be, one to score may: null in every row."""
    row = {"user": "u1", "item": "i1", "time": 1_800_000_000, "device": None, "price": None}
    write_table(tmp_path / f"new.{ending}", [row])
    with rows_to_score(store, Table(path=f"new.{ending}"), tmp_path) as found:
        (example,) = decode(found.view).values()
    assert (example.values["device"], example.values["price"]) == (None, None)


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_nulls_of_every_kind(tmp_path: Path, ending: str) -> None:
    """Columns without any value have no type; they are null for every kind of feature."""
    columns = {"text": "a", "number": 1.5, "set": ["a"], "image": [1.0, 2.0], "lat": 1.0, "lon": 2.0, "when": 5}
    features = [
        {"kind": "categorical", "column": "text"},
        {"kind": "categorical", "column": "text", "name": "hashed", "hash_buckets": 5},
        {"kind": "numeric", "column": "number"},
        {"kind": "multi_categorical", "column": "set"},
        {"kind": "vector", "column": "image", "size": 2},
        {"kind": "geo", "name": "place", "latitude": "lat", "longitude": "lon", "resolutions": [5]},
        {"kind": "timestamp", "column": "when", "parts": ["hour", "since"]},
    ]
    rows = [{"click": n % 2, "time": 10 + n, **columns} for n in range(20)]
    examples = {"table": "log", "time": "time"}
    store = make_store(tmp_path, {"log": rows}, examples=examples, features={"candidate": features}, timezone="UTC")
    write_table(tmp_path / f"new.{ending}", [{"time": 99, **dict.fromkeys(columns)}])
    with rows_to_score(store, Table(path=f"new.{ending}"), tmp_path) as found:
        (example,) = decode(found.view).values()
    numbers = [example.values.pop("number"), *example.values.pop("image")]
    assert np.isnan(numbers).all()
    assert example.values.pop("set") == [None]
    assert set(example.values.values()) == {None}


def test_texts_that_look_like_numbers(tmp_path: Path) -> None:
    """User 007 of the store is user 007 of a file in which all users look like numbers."""
    rows = [{"user": ["007", "bond"][n % 2], "item": "x", "time": n, "click": n // 2 % 2} for n in range(40)]
    write_table(tmp_path / "log.csv", rows)
    store = prepare(data_config(tables={"log": {"path": "log.csv"}}), tmp_path / "store", root=tmp_path)
    (tmp_path / "new.csv").write_text("user,item,time\n007,x,99\n008,x,99\n")
    with rows_to_score(store, Table(path="new.csv"), tmp_path) as found:
        assert [example.values["user"] for _, example in sorted(decode(found.view).items())] == ["007", UNKNOWN]


def expect_refused(store: Store, folder: Path, name: str, *words: str) -> None:
    with pytest.raises(InputError) as caught, rows_to_score(store, Table(path=name), folder):
        raise AssertionError("not refused")
    assert [word for word in words if word not in str(caught.value)] == [], str(caught.value)


@pytest.mark.parametrize("column", ["user", "item", "time", "device", "price"])
def test_a_column_is_missing(store: Store, tmp_path: Path, column: str) -> None:
    rows = [{key: value for key, value in row.items() if key != column} for row in without_labels(raw_rows())]
    write_table(tmp_path / "new.csv", rows)
    expect_refused(store, tmp_path, "new.csv", f"needs column {column!r}", "new.csv", "not have; the columns are: ")


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"user": None}, "column user: the user must not be null"),
        ({"time": None}, "column time: expected a time"),
        ({"price": float("nan")}, "feature price: NaN or Inf"),
    ],
)
def test_bad_rows(store: Store, tmp_path: Path, values: Row, reason: str) -> None:
    rows = without_labels(raw_rows())
    write_table(tmp_path / "new.parquet", [*rows[:5], {**rows[5], **values}, *rows[6:]])
    expect_refused(store, tmp_path, "new.parquet", "new.parquet, row 6: ", reason)


def test_bad_files(store: Store, tmp_path: Path) -> None:
    expect_refused(store, tmp_path, "nowhere.csv", "no file at", "nowhere.csv")
    (tmp_path / "empty.csv").touch()
    expect_refused(store, tmp_path, "empty.csv", "empty.csv is empty (0 bytes)")
    (tmp_path / "header.csv").write_text("user,item,time,device,price\n")
    expect_refused(store, tmp_path, "header.csv", "header.csv has columns but no row")


@pytest.fixture
def ready(store: Store, tmp_path: Path) -> Iterator[Any]:
    write_table(tmp_path / "new.parquet", [{**row, "score": 1} for row in without_labels(raw_rows())])
    with rows_to_score(store, Table(path="new.parquet"), tmp_path) as found:
        yield found


def test_the_output_cannot_be_written(ready: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must end in .parquet, .csv, .jsonl, got out.xlsx"):
        ready.write({"rank": np.zeros(160)}, tmp_path / "out.xlsx")
    with pytest.raises(InputError, match=r"already has a column 'score'.*rename it"):
        ready.write({"score": np.zeros(160)}, tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["new.parquet"]


def test_the_store_is_left_alone(store: Store) -> None:
    """All of the above read it only."""
    assert Store.open(store.path, verify=True).hash == store.hash
