"""A store says what it holds, and notices when that is no longer so."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from data.refusals import files_below, good_rows
from data.tables import UNKNOWN, data_config, decode_all, write_table
from hemix.data import prepare as preparing
from hemix.data import vocabulary as folding
from hemix.data.manifest import MANIFEST
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.errors import StoreError


def sections() -> dict[str, Any]:
    """A data section with something of everything."""
    return {
        "tables": {
            "log": {"path": "log.csv"},
            "items": {"path": "items.parquet"},
            "people": {"path": "people.parquet"},
        },
        "catalog": {"table": "items", "key": "item"},
        "profiles": {"table": "people", "key": "user"},
        "events": {"log": {"table": "log", "user": "user", "item": "item", "time": "time"}},
        "histories": {"all": {"events": "log"}, "late": {"events": "log", "where": "price > 5"}},
        "features": {
            "request": [{"kind": "categorical", "column": "user"}, {"kind": "numeric", "column": "age"}],
            "candidate": [
                {"kind": "categorical", "column": "item", "dim": 2, "pretrained": "vectors.parquet"},
                {"kind": "numeric", "column": "size", "transform": "quantile", "buckets": 3},
                {"kind": "multi_categorical", "column": "tags"},
                {"kind": "window_count", "name": "week", "events": "log", "by": "item", "days": 7},
            ],
        },
        "split": {"by": "time", "fractions": [0.6, 0.2, 0.2]},
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("store")
    write_table(folder / "log.csv", good_rows(60))
    items = [{"item": f"i{n}", "size": float(n), "tags": ["a", "b"][: n % 3]} for n in range(6)]
    write_table(folder / "items.parquet", items)
    write_table(folder / "people.parquet", [{"user": f"u{n}", "age": 20 + n} for n in range(4)])
    write_table(folder / "vectors.parquet", [{"value": f"i{n}", "vector": [n, -n]} for n in range(9)])
    prepare(data_config(**sections()), folder / "store", root=folder, threads=1)
    return folder


@pytest.fixture
def store(folder: Path, tmp_path: Path) -> Store:
    """A copy that a test may damage."""
    shutil.copytree(folder / "store", tmp_path / "store")
    return Store.open(tmp_path / "store")


@pytest.mark.parametrize("threads", [1, 2])
def test_preparing_again_gives_the_same_hash(folder: Path, tmp_path: Path, threads: int) -> None:
    again = prepare(data_config(**sections()), tmp_path / "again", root=folder, threads=threads)
    assert again.hash == Store.open(folder / "store").hash


def test_another_value_gives_another_hash(folder: Path, tmp_path: Path) -> None:
    for name in ("items.parquet", "people.parquet", "vectors.parquet"):
        shutil.copy(folder / name, tmp_path / name)
    rows = good_rows(60)
    write_table(tmp_path / "log.csv", [{**rows[0], "price": 9.0}, *rows[1:]])
    other = prepare(data_config(**sections()), tmp_path / "store", root=tmp_path, threads=1)
    assert other.hash != Store.open(folder / "store").hash


@pytest.mark.parametrize("chunk", [1, 7])
def test_small_chunks_change_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    """Requests, vocabularies and histories do not end where a chunk of rows does."""
    monkeypatch.setattr(preparing, "CHUNK_ROWS", chunk)
    monkeypatch.setattr(folding, "MIN_FOLD", 2)
    chunked = prepare(data_config(**sections()), tmp_path / "store", root=folder, threads=1)
    whole = Store.open(folder / "store")
    for name in ("train", "valid", "test"):
        mine, other = chunked.split(name), whole.split(name)
        requests = np.arange(other.num_requests)
        assert mine.num_requests == other.num_requests
        assert mine.origins(requests).tolist() == other.origins(requests).tolist()
        a, b = mine.batch(requests), other.batch(requests)
        assert torch.equal(a.candidates.ids, b.candidates.ids)
        torch.testing.assert_close(a.candidates.numbers, b.candidates.numbers, equal_nan=True)
        for history in ("all", "late"):
            assert torch.equal(a.requests.histories[history].events.ids, b.requests.histories[history].events.ids)


@pytest.mark.slow
def test_sql_that_aggregates_gives_the_same_hash(tmp_path: Path) -> None:
    """Aggregates come in any order when there are threads; the store does not show it."""
    random = np.random.default_rng(0)
    columns = {"user": random.integers(0, 300_000, 400_000), "click": random.integers(0, 2, 400_000)}
    pq.write_table(pa.table(columns), tmp_path / "raw.parquet")
    query = "SELECT user, user // 3 AS time, max(click) AS click FROM raw GROUP BY ALL"
    tables = {"raw": {"path": "raw.parquet"}, "log": {"sql": query}}
    examples = {"table": "log", "user": "user", "time": "time"}
    config = data_config(
        tables=tables, examples=examples, features={"request": [{"kind": "numeric", "column": "time"}]}
    )
    stores = [prepare(config, tmp_path / f"{n}", root=tmp_path, threads=threads) for n, threads in enumerate((1, 2))]
    assert len({store.hash for store in stores}) == 1


def test_every_file_is_in_the_manifest(store: Store) -> None:
    assert set(files_below(store.path)) == {*store.files(), MANIFEST}
    assert Store.open(store.path, verify=True).hash == store.hash


def test_any_flipped_byte_is_found(store: Store) -> None:
    """The first and the last byte of every file: header, rows, footer."""
    for name in store.files():
        path = store.path / name
        content = path.read_bytes()
        for place in (0, len(content) - 1):
            flipped = bytearray(content)
            flipped[place] ^= 1
            path.write_bytes(flipped)
            with pytest.raises(StoreError, match=f"{name} has changed. Prepare it again"):
                Store.open(store.path, verify=True)
        path.write_bytes(content)
    Store.open(store.path, verify=True)


@pytest.mark.parametrize("harm", ["missing", "truncated"])
def test_missing_and_truncated_files_are_found_without_reading(store: Store, harm: str) -> None:
    for name in store.files():
        path = store.path / name
        content = path.read_bytes()
        path.unlink() if harm == "missing" else path.write_bytes(content[:-1])
        with pytest.raises(StoreError, match=f"{name} is missing or truncated. Prepare it again"):
            Store.open(store.path)
        path.write_bytes(content)


def test_no_store(tmp_path: Path) -> None:
    with pytest.raises(
        StoreError, match=r"No finished store at .*nowhere: manifest.json is missing. Run: hemix prepare"
    ):
        Store.open(tmp_path / "nowhere")


def test_a_store_of_another_version(store: Store) -> None:
    values = json.loads((store.path / MANIFEST).read_text())
    (store.path / MANIFEST).write_text(json.dumps({**values, "format": 999}))
    with pytest.raises(StoreError, match=r"has format 999, this version reads 3; prepare it again"):
        Store.open(store.path)


def test_an_edited_manifest(store: Store) -> None:
    text = (store.path / MANIFEST).read_text()
    (store.path / MANIFEST).write_text(text.replace('"rows_without_item": ', '"rows_without_item": 1'))
    with pytest.raises(StoreError, match=r"was changed after it was written \(its hash does not match\)"):
        Store.open(store.path)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"format": 1}', '{"format": 1, "surplus": 2}'])
def test_a_manifest_that_is_none(store: Store, content: str) -> None:
    (store.path / MANIFEST).write_text(content)
    with pytest.raises(StoreError, match="prepare"):
        Store.open(store.path)


def test_unknown_split(store: Store) -> None:
    with pytest.raises(StoreError, match="train, valid and test, not 'dev'"):
        store.split("dev")


def test_counts(store: Store) -> None:
    """60 rows with 7 items and 5 users; the catalog lacks item i6, the profiles lack user u4."""
    segment = store.manifest.segments[0]
    assert segment.total("rows") == 60
    assert segment.events == {"log": 60}
    assert segment.rows_without_item == segment.events_without_item == 8
    assert segment.rows_without_profile == 12
    assert (segment.catalog_rows, segment.profile_rows, segment.num_users, segment.quarantined) == (7, 5, 5, 0)
    clicks = [row["click"] for row in good_rows(60)]
    assert sum(count.positives[0] for count in segment.splits.values()) == sum(clicks)


def test_items_and_users_without_a_row_are_unknown(store: Store) -> None:
    for row, example in decode_all(store).items():
        if row % 7 == 6:
            assert (example.values["item"], example.values["size"]) == (UNKNOWN, UNKNOWN)
            assert example.values["tags"] == [UNKNOWN]
            assert np.isnan(example.values["age"]) == (row % 5 == 4)


def test_pretrained_vectors(store: Store) -> None:
    """Start values stand where the ids are; ids without one have NaN."""
    vectors = store.pretrained("item")
    assert vectors is not None
    known = store.encoder.vocabularies["item"].values.to_pylist()
    assert np.isnan(vectors[:3]).all()
    assert vectors[3:].tolist() == [[int(name[1:]), -int(name[1:])] for name in known]
    assert store.pretrained("user") is None
