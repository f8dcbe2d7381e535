"""Catalog and profiles: joined by key, and as of the request's time where they have versions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.references import as_of, window_count
from data.tables import DAY, UNKNOWN, Row, decode_all, make_store

NUM_ITEMS, NUM_USERS = 8, 6


def versions(seed: int, key: str, num_keys: int, letter: str) -> list[Row]:
    """Some versions of each key, in no order, none for the last key."""
    random = np.random.default_rng(seed)
    rows = [
        {key: f"{letter}{number}", "valid_from": time, f"{key}_kind": f"{letter}{number}@{time}"}
        for number in range(num_keys - 1)
        for time in random.choice(50, random.integers(1, 5), replace=False).tolist()
    ]
    return [rows[place] for place in random.permutation(len(rows)).tolist()]


def random_rows(seed: int, num_rows: int) -> list[Row]:
    random = np.random.default_rng(seed)
    return [
        {
            "user": f"u{random.integers(NUM_USERS)}",
            "item": f"i{random.integers(NUM_ITEMS)}",
            "time": int(random.integers(60)),
            "click": row % 2,
        }
        for row in range(num_rows)
    ]


FEATURES = {
    "request": [{"kind": "categorical", "column": "user_kind"}],
    "candidate": [{"kind": "categorical", "column": "item_kind"}, {"kind": "categorical", "column": "item"}],
}


def test_versions_hold_as_of_the_request(tmp_path: Path) -> None:
    """The latest version that began at the request's time or before; before the first one the item is unknown.

    The items of a history are those of its events' times.
    """
    rows, log = random_rows(1, 150), random_rows(2, 80)
    items, people = versions(3, "item", NUM_ITEMS, "i"), versions(4, "user", NUM_USERS, "u")
    store = make_store(
        tmp_path,
        {"log": rows, "events": log, "items": items, "people": people},
        catalog={"table": "items", "key": "item", "valid_from": "valid_from"},
        profiles={"table": "people", "key": "user", "valid_from": "valid_from"},
        events={"log": {"table": "events", "user": "user", "item": "item", "time": "time"}},
        histories={"all": {"events": "log", "time_gap": False}},
        features=FEATURES,
    )
    known = set(store.encoder.vocabularies["item_kind"].values.to_pylist())

    def kind(item: Any, time: int) -> str:
        version = as_of(items, "item", item, time)
        return UNKNOWN if version is None or version["item_kind"] not in known else version["item_kind"]

    missing = 0
    for number, example in decode_all(store).items():
        row = rows[number]
        person = as_of(people, "user", row["user"], row["time"])
        assert example.values["user_kind"] == (UNKNOWN if person is None else person["user_kind"])
        assert example.values["item_kind"] == kind(row["item"], row["time"])
        missing += as_of(items, "item", row["item"], row["time"]) is None
        earlier = [event for event in log if event["user"] == row["user"] and event["time"] < row["time"]]
        earlier.sort(key=lambda event: event["time"])
        assert [event["item_kind"] for event in example.histories["all"]] == [
            kind(event["item"], event["time"]) for event in earlier
        ]
    segment = store.manifest.segments[0]
    assert segment.rows_without_item == missing > 0
    assert segment.rows_without_profile == sum(as_of(people, "user", row["user"], row["time"]) is None for row in rows)
    assert segment.events_without_item == sum(
        as_of(items, "item", event["item"], event["time"]) is None for event in log
    )


@pytest.mark.parametrize("delay", [0, 3 * 3600, 3 * DAY])
def test_window_counts_equal_a_naive_count(tmp_path: Path, delay: int) -> None:
    """By item, user and pair; strictly before the request and the delay; events at one time count together."""
    random = np.random.default_rng(5)
    rows = [{**row, "time": row["time"] * 3600 * 6} for row in random_rows(6, 120)]
    log = [
        {**row, "time": row["time"] * 3600 * 6, "action": ["click", "buy"][random.integers(2)]}
        for row in random_rows(7, 200)
    ]
    windows = [
        {"kind": "window_count", "name": "items", "events": "log", "by": "item", "days": 2.0},
        {"kind": "window_count", "name": "pairs", "events": "log", "by": "user_item", "days": 7.0},
        {"kind": "window_count", "name": "buys", "events": "log", "by": "item", "days": 7.0, "where": "action = 'buy'"},
    ]
    users = {"kind": "window_count", "name": "users", "events": "log", "by": "user", "days": 0.5}
    store = make_store(
        tmp_path,
        {"log": rows, "events": log},
        events={"log": {"table": "events", "user": "user", "item": "item", "time": "time"}},
        features={"request": [{**users, "transform": "none"}],
                  "candidate": [{**window, "transform": "none"} for window in windows]},
        history_delay=delay,
    )  # fmt: skip
    buys = [event for event in log if event["action"] == "buy"]
    for number, example in decode_all(store).items():
        row = rows[number]
        assert example.values == {
            "items": window_count(log, row, ["item"], 2, delay),
            "pairs": window_count(log, row, ["user", "item"], 7, delay),
            "buys": window_count(buys, row, ["item"], 7, delay),
            "users": window_count(log, row, ["user"], 0.5, delay),
        }


def test_window_counts_are_scaled_by_the_training_rows(tmp_path: Path) -> None:
    rows = [{**row, "part": ["train", "test", "valid"][n // 2 % 3]} for n, row in enumerate(random_rows(8, 120))]
    window = {"kind": "window_count", "name": "items", "events": "log", "by": "item", "days": 1.0}
    store = make_store(
        tmp_path,
        {"log": rows},
        events={"log": {"table": "log", "user": "user", "item": "item", "time": "time"}},
        features={"candidate": [window]},
        split={"by": "given", "column": "part"},
    )
    counts = np.log1p([window_count(rows, row, ["item"], 1) for row in rows])
    seen = counts[[row["part"] == "train" for row in rows]]
    found = {number: example.values["items"] for number, example in decode_all(store).items()}
    expected = (counts - seen.mean()) / seen.std()
    np.testing.assert_allclose([found[number] for number in range(len(rows))], expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(10, 20, 0), (0, 10, 0), (9, 30, 1)],
)
def test_a_window_by_hand(tmp_path: Path, start: int, end: int, expected: int) -> None:
    """An event at 10 days: a window of `end - start` days that ends at `end` has it unless it ends right then, or
    began after it.
    """
    rows = [{"user": "u", "item": "i", "time": end * DAY, "click": n % 2} for n in range(2)]
    log = [{"user": "u", "item": "i", "time": 10 * DAY - (start == 10)}]
    store = make_store(
        tmp_path,
        {"log": rows, "events": log},
        events={"log": {"table": "events", "user": "user", "item": "item", "time": "time"}},
        features={
            "candidate": [
                {
                    "kind": "window_count",
                    "name": "n",
                    "events": "log",
                    "by": "item",
                    "days": end - start,
                    "transform": "none",
                }
            ]
        },
    )
    assert [example.values["n"] for example in decode_all(store).values()] == [expected] * 2
