"""Nothing of the future: of a request, of its user, or of another split."""

import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from data.tables import Row, make_store, split_of_rows, vocabulary
from hemix.batch import Batch
from hemix.data.store import Store
from hemix.models import ModelConfig
from hemix.models.din import DINConfig
from hemix.models.dlrm import DLRMConfig
from hemix.models.hemix import PRESETS
from hemix.ranker import build_ranker

UNSHRUNK = (Phase.explicit, Phase.generate)
"""Each try prepares two stores: too slow to look for the smallest one that fails."""
HOUR = 3600
NUM_HOURS = 24 * 5
MODELS: list[ModelConfig] = [
    PRESETS["tiny"],
    DINConfig(name="din", embedding_dim=4),
    DLRMConfig(name="dlrm", embedding_dim=4),
]
EVENTS = {"table": "events", "user": "user", "item": "item", "time": "time"}
HISTORIES: Row = {
    "all": {"events": "log", "max_length": 20},
    "global": {"events": "log", "cut": "same_day", "part": "older"},
    "real_time": {"events": "log", "cut": "same_day", "part": "recent", "max_length": 6},
    "older_k": {"events": "log", "cut": "last_k", "part": "older", "k": 3, "where": "action = 'buy'"},
}


def random_event(random: np.random.Generator, first: int, last: int) -> Row:
    return {
        "user": f"u{random.integers(5)}",
        "item": f"i{random.integers(8)}",
        "time": int(random.integers(first, last)) * HOUR,
        "action": ["click", "buy"][random.integers(2)],
        "amount": float(random.integers(100)),
    }


def random_rows(random: np.random.Generator, num_rows: int) -> list[Row]:
    rows = [random_event(random, 0, NUM_HOURS) for _ in range(num_rows)]
    return [{**row, "click": number % 2, "price": row["amount"]} for number, row in enumerate(rows)]


def another_future(random: np.random.Generator, events: list[Row], start: int) -> list[Row]:
    """The same events before `start`; from then on some are dropped, some changed, and others are added anywhere."""
    now = []
    for event in events:
        if event["time"] < start:
            now.append(event)
            continue
        change = random.integers(4)
        if change == 0:
            continue
        if change == 1:
            event = {**event, "user": f"u{random.integers(7)}", "action": "view", "amount": -5.0}
        if change == 2:
            event = {**event, "item": f"i{random.integers(12)}", "time": event["time"] + HOUR}
        now.append(event)
    for _ in range(20):
        added = random_event(random, -(-start // HOUR), NUM_HOURS + 5)
        now.insert(int(random.integers(len(now) + 1)), {**added, "user": f"u{random.integers(9)}"})
    return now


def hashed_sections(delay: int) -> dict[str, Any]:
    """Ids by hash and numbers as they are, so that nothing depends on what is fitted."""
    windows = [
        {"kind": "window_count", "name": f"by_{by}", "events": "log", "by": by, "days": 1.5, "transform": "none"}
        for by in ("item", "user_item")
    ]
    return {
        "events": {
            "log": {
                **EVENTS,
                "features": [
                    {"kind": "categorical", "column": "action", "hash_buckets": 5},
                    {"kind": "numeric", "column": "amount", "transform": "none"},
                ],
            }
        },
        "histories": HISTORIES,
        "history_delay": delay,
        "timezone": "America/New_York",
        "features": {
            "request": [{"kind": "window_count", "name": "by_user", "events": "log", "by": "user", "days": 2}
                        | {"transform": "none"}],
            "candidate": [{"kind": "categorical", "column": "item", "hash_buckets": 50}, *windows],
        },
        "split": {"by": "random", "fractions": [1, 0, 0]},
    }  # fmt: skip


def prepared(tables: dict[str, list[Row]], **sections: Any) -> Store:
    """A store in a folder of its own; the caller removes it."""
    return make_store(Path(tempfile.mkdtemp()), tables, **sections)


def until(store: Store, moment: int) -> Batch:
    """All requests up to a moment, it included."""
    view = store.split("train")
    times = view.batch(np.arange(view.num_requests)).requests.times.numpy()
    return view.batch(np.flatnonzero(times <= moment * 1_000_000))


def assert_equal(a: Batch, b: Batch) -> None:
    """All but the numbers of users, which count those in the events too."""
    assert torch.equal(a.requests.times, b.requests.times)
    pairs = [(a.requests.columns, b.requests.columns), (a.candidates, b.candidates)]
    for name, history in a.requests.histories.items():
        assert torch.equal(history.lengths, b.requests.histories[name].lengths)
        pairs.append((history.events, b.requests.histories[name].events))
    for mine, theirs in pairs:
        assert torch.equal(mine.ids, theirs.ids)
        torch.testing.assert_close(mine.numbers, theirs.numbers, rtol=0, atol=0, equal_nan=True)


@settings(max_examples=6, phases=UNSHRUNK)
@given(seed=st.integers(0, 2**32), hour=st.integers(20, NUM_HOURS), delay=st.sampled_from([0, HOUR, 5400, 30 * HOUR]))
def test_a_request_does_not_see_its_future(seed: int, hour: int, delay: int) -> None:
    """Any change to events at or after a moment (minus the delay) leaves every request up to that moment as it was:
    its ids, histories, window counts, and what a ranker makes of them.
    """
    random = np.random.default_rng(seed)
    rows, events = random_rows(random, 60), [random_event(random, 0, NUM_HOURS) for _ in range(120)]
    rows[0]["time"] = hour * HOUR
    changed = another_future(random, events, max(0, hour * HOUR - delay))
    stores = [prepared({"log": rows, "events": log}, **hashed_sections(delay)) for log in (events, changed)]
    try:
        batches = [until(store, hour * HOUR) for store in stores]
        assert_equal(*batches)
        assert stores[0].inputs == stores[1].inputs
        for config in MODELS:
            ranker = build_ranker(stores[0].inputs, config, seed=0).eval()
            with torch.no_grad():
                logits = [ranker(batch) for batch in batches]
            assert torch.equal(*logits)
    finally:
        for store in stores:
            shutil.rmtree(store.path.parent)


def test_the_property_is_not_empty() -> None:
    """A change just before the moment does show."""
    random = np.random.default_rng(0)
    rows, events = random_rows(random, 60), [random_event(random, 0, NUM_HOURS) for _ in range(120)]
    rows[0]["time"] = 60 * HOUR
    changed = another_future(random, events, 50 * HOUR)
    stores = [prepared({"log": rows, "events": log}, **hashed_sections(0)) for log in (events, changed)]
    with pytest.raises(AssertionError):
        assert_equal(*(until(store, 60 * HOUR) for store in stores))
    for store in stores:
        shutil.rmtree(store.path.parent)


FITTED: dict[str, Any] = {
    "events": {
        "log": {
            **EVENTS,
            "features": [
                {"kind": "categorical", "column": "action"},
                {"kind": "numeric", "column": "amount"},
                {"kind": "numeric", "column": "amount", "name": "bucket", "transform": "quantile"},
            ],
        }
    },
    "catalog": {"table": "items", "key": "item"},
    "profiles": {"table": "people", "key": "user"},
    "histories": HISTORIES,
    "timezone": "UTC",
    "features": {
        "request": [
            {"kind": "categorical", "column": "user"},
            {"kind": "categorical", "column": "city"},
            {"kind": "numeric", "column": "age"},
        ],
        "candidate": [
            {"kind": "categorical", "column": "item"},
            {"kind": "multi_categorical", "column": "tags"},
            {"kind": "numeric", "column": "size", "transform": "log"},
            {"kind": "geo", "name": "shop", "latitude": "lat", "longitude": "lon"},
            {"kind": "numeric", "column": "price"},
            {"kind": "numeric", "column": "price", "name": "dear", "transform": "quantile", "buckets": 4},
            {"kind": "window_count", "name": "week", "events": "log", "by": "item", "days": 7},
        ],
    },
    "split": {"by": "user_time", "fractions": [0.5, 0.25, 0.25]},
}  # fmt: skip


def fitted_world(seed: int, num_items: int = 30) -> dict[str, list[Row]]:
    """Many items and users, so that some are seen in validation or test only."""
    random = np.random.default_rng(seed)
    rows, events = random_rows(random, 120), [random_event(random, 0, NUM_HOURS) for _ in range(60)]
    for row in (*rows, *events):
        row["item"] = f"i{random.integers(num_items)}"
        row["user"] = f"u{random.integers(12)}"
    for event in events:
        event["action"] = f"a{random.integers(15)}"
    items = [
        {
            "item": f"i{n}",
            "tags": [f"t{n % 7}", f"only{n}"],
            "size": float(n * n),
            "lat": n / 2,
            "lon": n * 3.0,
        }
        for n in range(num_items)
    ]
    people = [{"user": f"u{n}", "city": f"city{n}", "age": 20 + n} for n in range(12)]
    return {"log": rows, "events": events, "items": items, "people": people}


def seen_in_training(world: dict[str, list[Row]], store: Store, delay: int) -> tuple[list[Row], list[Row]]:
    """Training rows, and the events before their user's last training request (minus the delay)."""
    splits = split_of_rows(store)
    train = [row for number, row in enumerate(world["log"]) if splits[number] == "train"]
    last = {row["user"]: max(other["time"] for other in train if other["user"] == row["user"]) for row in train}
    return train, [event for event in world["events"] if event["time"] < last.get(event["user"], 0) - delay]


@settings(max_examples=4, phases=UNSHRUNK)
@given(seed=st.integers(0, 2**32), delay=st.sampled_from([0, 7 * HOUR]))
def test_vocabularies_count_what_training_saw(seed: int, delay: int) -> None:
    """Exactly the values of training rows and of events that a training request can see, with their counts. An item
    counts as often as it stands in the rows or in the events, whichever is more: they are often one table.
    """
    world = fitted_world(seed)
    store = prepared(world, **FITTED, history_delay=delay)
    train, events = seen_in_training(world, store, delay)
    items = Counter(row["item"] for row in train) | Counter(row["item"] for row in events)
    tags = Counter()
    for item, count in items.items():
        tags.update(dict.fromkeys(world["items"][int(item[1:])]["tags"], count))
    expected = {
        "user": Counter(row["user"] for row in train),
        "city": Counter(f"city{row['user'][1:]}" for row in train),
        "item": items,
        "tags": tags,
        "events.log.action": Counter(event["action"] for event in events),
    }
    for table, counts in expected.items():
        known = store.encoder.vocabularies[table]
        assert dict(zip(vocabulary(store, table), known.counts.tolist(), strict=True)) == dict(counts)
    sizes = np.log1p([world["items"][int(item[1:])]["size"] for item in items])
    assert store.encoder.scalers["catalog.size"].mean == pytest.approx(sizes.mean())
    assert store.encoder.scalers["catalog.size"].std == pytest.approx(sizes.std())
    amounts = [event["amount"] for event in events]
    assert store.encoder.scalers["events.log.amount"].mean == pytest.approx(np.mean(amounts))
    assert store.encoder.scalers["row.price"].mean == pytest.approx(np.mean([row["price"] for row in train]))
    shutil.rmtree(store.path.parent)


@settings(max_examples=4, phases=UNSHRUNK)
@given(seed=st.integers(0, 2**32))
def test_the_encoder_does_not_depend_on_what_training_did_not_see(seed: int) -> None:
    """Other values in validation and test rows, in later events, and in items and users that training did not see:
    the encoder stays the same to the byte.
    """
    world, random = fitted_world(seed), np.random.default_rng(seed)
    store = prepared(world, **FITTED)
    train, events = seen_in_training(world, store, 0)
    items = {row["item"] for row in (*train, *events)}
    users = {row["user"] for row in train}
    splits = split_of_rows(store)
    other = {
        "log": [
            row if splits[number] == "train" else {**row, "price": 1e6, "item": f"i{random.integers(40)}"}
            for number, row in enumerate(world["log"])
        ],
        "events": [
            event if event in events else {**event, "action": "new", "amount": 1e6} for event in world["events"]
        ],
        "items": [
            item if item["item"] in items else {**item, "tags": ["new"], "size": 1e9, "lat": 80.0}
            for item in world["items"]
        ],
        "people": [
            person if person["user"] in users else {**person, "city": "new", "age": 1000} for person in world["people"]
        ],
    }
    again = prepared(other, **FITTED)
    assert split_of_rows(again) == splits
    # window counts of training rows do not see later events either
    assert again.manifest.encoder_hash == store.manifest.encoder_hash
    assert again.hash != store.hash
    for found in (store, again):
        shutil.rmtree(found.path.parent)


def test_labels_of_the_moment_are_not_events_of_the_moment() -> None:
    """The usual case of one table: what a row says is not in its own history, nor in that of rows at its time."""
    rows = [{"user": "u", "item": f"i{n}", "time": n // 4, "click": n % 2, "rating": n % 5} for n in range(40)]
    features = [{"kind": "categorical", "column": "rating", "hash_buckets": 9}]
    sections = {
        "events": {"log": {"table": "log", "user": "user", "item": "item", "time": "time", "features": features}},
        "histories": {"all": {"events": "log"}},
        "features": {"candidate": [{"kind": "categorical", "column": "item", "hash_buckets": 500}]},
    }
    stores = [
        prepared(
            {"log": [{**row, "rating": 4 - row["rating"]} if row["time"] >= start else row for row in rows]}, **sections
        )
        for start in (99, 5)
    ]
    assert_equal(*(until(store, 5) for store in stores))
    with pytest.raises(AssertionError):
        assert_equal(*(until(store, 6) for store in stores))
    for store in stores:
        shutil.rmtree(store.path.parent)
