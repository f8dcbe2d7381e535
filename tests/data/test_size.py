"""A history is a pointer: a store grows with its events and its examples, not with examples x length."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.tables import data_config
from hemix.data.prepare import prepare
from hemix.data.store import Store


def write_tables(folder: Path, num_users: int, length: int, num_examples: int) -> None:
    """Each user has `length` events, all of them before the examples."""
    random = np.random.default_rng(0)
    users = np.repeat(np.arange(num_users), length)
    events = {
        "user": users,
        "item": random.integers(0, num_users, len(users)),
        "time": np.tile(np.arange(length) * 600, num_users),
        "action": random.integers(0, 4, len(users)),
    }
    examples = {
        "user": np.arange(num_examples) % num_users,
        "item": random.integers(0, num_users, num_examples),
        "time": 600 * length + np.arange(num_examples),
        "click": random.integers(0, 2, num_examples),
    }
    pq.write_table(pa.table(events), folder / "events.parquet")
    pq.write_table(pa.table(examples), folder / "log.parquet")


def sections(length: int) -> dict[str, Any]:
    actions = [{"kind": "categorical", "column": "action"}]
    return {
        "timezone": "UTC",
        "tables": {name: {"path": f"{name}.parquet"} for name in ("log", "events")},
        "events": {"log": {"table": "events", "user": "user", "item": "item", "time": "time", "features": actions}},
        "histories": {
            "all": {"events": "log", "max_length": length},
            "older": {"events": "log", "cut": "last_k", "part": "older", "max_length": length},
        },
    }


def total(store: Store, names: Iterable[str] = ("",)) -> int:
    """Bytes of the files of a store within some folders."""
    folders = tuple(names)
    return sum(entry.bytes for name, entry in store.files().items() if name.split("/", 1)[1].startswith(folders))


@pytest.mark.parametrize(
    ("num_users", "num_examples"),
    [(20, 2000), pytest.param(10_000, 1_000_000, marks=pytest.mark.slow)],
)
def test_histories_take_no_space(tmp_path: Path, num_users: int, num_examples: int) -> None:
    """At most 1.1 times the bytes of the events and of the examples without histories: 1,000 events for each."""
    write_tables(tmp_path, num_users, 1000, num_examples)
    store = prepare(data_config(**sections(1000)), tmp_path / "store", root=tmp_path)
    view = store.split("train")
    lengths = view.batch(np.arange(20)).requests.histories["all"].lengths
    assert lengths.tolist() == [1000] * 20
    events = 1000 * num_users * (8 + 4 + 4)  # time, item, action
    without = {**sections(1000), "events": {}, "histories": {}}
    flat = prepare(data_config(**without), tmp_path / "flat", root=tmp_path)
    assert total(store) <= 1.1 * (events + total(flat))
