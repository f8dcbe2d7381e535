"""Segments are merged before there are too many of them; nobody who reads the store can tell."""

import errno
import shutil
import tracemalloc
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.refusals import files_below
from data.tables import Row, data_config, write_table
from data.test_append import SECTIONS, day, items_of, people_of, write_day
from data.test_interrupted import Killed, die_in, litter
from hemix.batch import Batch, Columns
from hemix.data import compact
from hemix.data.compact import merged_events
from hemix.data.manifest import MANIFEST, Manifest
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.errors import StoreError

HISTORIES: dict[str, Any] = {
    "all": {"events": "log", "max_length": 1000},
    "short": {"events": "log", "max_length": 3},
    "clicks": {"events": "log", "where": "click = 1"},
    "older": {"events": "log", "cut": "last_k", "part": "older", "k": 2, "max_length": 7},
    "today": {"events": "log", "cut": "same_day", "part": "recent"},
}
DATA = {**SECTIONS, "histories": HISTORIES, "timezone": "UTC"}


def config(split: str) -> Any:
    fractions = [0.6, 0.2, 0.2]
    return data_config(**{**DATA, "split": {"by": split, "fractions": fractions}})


def rows_of(number: int) -> list[Row]:
    """A day with new users and items, an old price that comes back, and a time that the next day has, too."""
    rows = day(number, [f"u{number}", "a", "b"], ["x", f"i{number}"])
    return [*rows, {"user": "a", "item": "x", "time": (number + 1) * 86_400, "click": number % 2}]


def append_days(folder: Path, split: str, numbers: Iterable[int]) -> Store:
    """Prepare the first of some days, append the others; one row of each is bad."""
    out = folder / "store"
    for number in numbers:
        rows = rows_of(number)
        rows[7] = {**rows[7], "click": 2}
        names = ["x", f"i{number}"]
        write_day(folder, rows, items_of(names, x=f"kind{number % 2}"), people_of(["a", "b", f"u{number}"]))
        prepare(config(split), out, root=folder, append=out.exists(), on_bad_rows="quarantine", threads=1)
    return Store.open(out, verify=True)


def tensors(batch: Batch) -> dict[str, torch.Tensor]:
    """All that a batch holds, by name."""

    def both(name: str, columns: Columns) -> dict[str, torch.Tensor]:
        return {f"{name}.ids": columns.ids, f"{name}.numbers": columns.numbers}

    found = both("request", batch.requests.columns) | both("candidate", batch.candidates)
    for name, history in batch.requests.histories.items():
        found |= both(name, history.events) | {f"{name}.lengths": history.lengths}
    assert batch.labels is not None
    assert batch.weights is not None
    return found | {
        "users": batch.requests.users,
        "times": batch.requests.times,
        "offsets": batch.offsets,
        "labels": batch.labels,
        "weights": batch.weights,
    }


def assert_same_contents(a: Store, b: Store) -> None:
    """Every request of every split in the same order, with the same candidates, histories and places."""
    for split in ("train", "valid", "test"):
        mine, other = a.split(split), b.split(split)
        assert (mine.num_requests, mine.num_rows) == (other.num_requests, other.num_rows)
        requests = np.arange(mine.num_requests)
        assert mine.origins(requests).tolist() == other.origins(requests).tolist()
        found, expected = tensors(mine.batch(requests)), tensors(other.batch(requests))
        assert found.keys() == expected.keys()
        for name, values in found.items():
            torch.testing.assert_close(values, expected[name], rtol=0, atol=0, equal_nan=True, msg=f"{split} {name}")
        assert a.manifest.count(split) == b.manifest.count(split)


@pytest.mark.slow
@pytest.mark.parametrize(("split", "most", "num_days"), [("time", 3, 6), ("random", 2, 4)])
def test_merging_shows_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, split: str, most: int, num_days: int
) -> None:
    """As many segments as days, or at most two or three: every batch of every split is the same. The days after a
    merger find the users, items and counts that it has taken in.
    """
    stores: dict[int, Store] = {}
    monkeypatch.setattr(compact, "MERGED_ROWS", 7)
    for limit in (100, most):
        monkeypatch.setattr(compact, "MAX_SEGMENTS", limit)
        (tmp_path / f"{limit}").mkdir()
        stores[limit] = append_days(tmp_path / f"{limit}", split, range(1, num_days + 1))
    assert [len(store.manifest.segments) for store in stores.values()] == [num_days, most]
    assert_same_contents(stores[most], stores[100])
    merged = Store.open(stores[most].path, verify=True)
    assert set(files_below(merged.path)) == {*merged.files(), MANIFEST}
    assert stores[most].manifest.encoder_hash == stores[100].manifest.encoder_hash
    for key in ("quarantined", "catalog_rows", "profile_rows", "rows_without_item", "events_without_item"):
        assert sum(getattr(s, key) for s in merged.manifest.segments) == sum(
            getattr(s, key) for s in stores[100].manifest.segments
        )
    lines = [path.read_text().splitlines() for path in sorted(merged.path.glob("*/quarantine.csv"))]
    assert sum(len(found) - 1 for found in lines) == num_days
    assert {found[0] for found in lines} == {"table,file,row,reason"}


@pytest.mark.slow
def test_eight_segments_at_most(tmp_path: Path) -> None:
    for number in range(1, 11):
        write_table(tmp_path / "log.parquet", day(number, ["a", "b"], ["x"]))
        store = prepare(data_config(), tmp_path / "store", root=tmp_path, append=number > 1, threads=1)
        assert len(store.manifest.segments) == min(number, 8)
        assert store.split("train").num_rows == 40 * number
    store = Store.open(tmp_path / "store", verify=True)
    assert set(files_below(store.path)) == {*store.files(), MANIFEST}


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([9] * 7, None),
        ([9, 9, 9, 9, 9, 9, 1, 9], (5, 7)),
        ([1] * 8, (0, 2)),
        ([90, 8, 7, 6, 5, 4, 3, 2], (6, 8)),
        ([5, 1, 1, 1, 9, 9, 9, 9, 9, 9], (0, 4)),
    ],
)
def test_the_smallest_neighbours_are_merged(sizes: list[int], expected: tuple[int, int] | None) -> None:
    """So that a large first segment is not written again for every day."""

    run = compact.crowded(sizes)
    assert (None if run is None else (run.start, run.stop)) == expected


events = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), max_size=30).map(sorted)


@given(logs=st.lists(events, min_size=1, max_size=4), window=st.integers(1, 9))
def test_events_are_merged_as_one_stable_sort(logs: list[list[tuple[int, int]]], window: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compact, "MERGED_ROWS", window)
        times = [np.array([time for _, time in log], np.int64) for log in logs]
        users = [np.array([user for user, _ in log], np.int64) for log in logs]
        offsets = [np.searchsorted(column, np.arange(5)) for column in users]
        labels = [np.array([(number, place) for place in range(len(log))]) for number, log in enumerate(logs)]
        labels = [found.reshape(-1, 2) for found in labels]
        stretches = list(merged_events(offsets, times))
        found = [tuple(row) for stretch in stretches for row in stretch.take(labels).tolist()]
    everything = [(*key, number, place) for number, log in enumerate(logs) for place, key in enumerate(log)]
    assert found == [row[2:] for row in sorted(everything)]
    assert all(len(stretch.order) <= window * len(logs) for stretch in stretches)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten times the rows, the same peak; one user has most of them."""
    monkeypatch.setattr(compact, "MAX_SEGMENTS", 2)
    monkeypatch.setattr(compact, "MERGED_ROWS", 512)
    events = {"log": {"table": "log", "user": "user", "item": "item", "time": "time"}}
    settings = data_config(events=events, histories={"clicks": {"events": "log", "where": "click = 1"}})
    peaks: list[int] = []
    monkeypatch.setattr(compact, "merge", measured(compact.merge, peaks))
    for size in (4_000, 40_000):
        (tmp_path / f"{size}").mkdir()
        for number in range(3):
            n = np.arange(number * size, number * size + size)
            users = np.where(n % 9 > 0, "guest", np.char.add("u", (n % 5).astype(str)))
            rows = pa.table({"user": users, "item": n % 7, "time": 60 * n, "click": n % 2})
            pq.write_table(rows, tmp_path / f"{size}" / "log.parquet")
            prepare(settings, tmp_path / f"{size}" / "store", root=tmp_path / f"{size}", append=number > 0, threads=1)
    assert len(peaks) == 2
    assert peaks[1] < 1.3 * peaks[0] + 100_000


def measured(function: Any, peaks: list[int]) -> Any:
    def wrapped(*args: Any) -> Any:
        tracemalloc.start()
        try:
            return function(*args)
        finally:
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()

    return wrapped


@pytest.fixture(scope="module")
def two_days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    append_days(folder, "time", [1, 2])
    return folder


def full_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("step", ["join_keys", "file_entry"])
def test_a_disk_that_is_full_while_merging(
    two_days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    shutil.copytree(two_days / "store", tmp_path / "store")
    before = files_below(tmp_path / "store")
    monkeypatch.setattr(compact, "MAX_SEGMENTS", 2)
    monkeypatch.setattr(compact, step, full_disk)
    with pytest.raises(StoreError, match=r"The disk is full.*nothing was changed"):
        append_days(tmp_path, "time", [3])
    assert files_below(tmp_path / "store") == before


@pytest.mark.parametrize(
    ("owner", "name", "at"), [(compact, "join_keys", 1), (Path, "rename", 2), (Manifest, "write", 1)]
)
def test_killed_while_merging(two_days: Path, tmp_path: Path, owner: Any, name: str, at: int) -> None:
    """The store stays as it was, with the segments it had; the day can be appended again, and nothing is left over."""
    shutil.copytree(two_days / "store", tmp_path / "store")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(compact, "MAX_SEGMENTS", 2)
        die_in(monkeypatch, owner, name, at)
        with pytest.raises(Killed):
            append_days(tmp_path, "time", [3])
    assert_same_contents(Store.open(tmp_path / "store", verify=True), Store.open(two_days / "store"))
    assert len(append_days(tmp_path, "time", [3]).manifest.segments) == 3
    assert litter(tmp_path / "store") == set()
