"""Histories as pointers: against a naive search, by hand, and as a store hands them out."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.references import gap_id, history, local_midnight
from data.tables import DAY, UNKNOWN, Row, data_config, decode, make_store, vocabulary, write_table
from hemix.batch import FIRST_ID
from hemix.data.histories import MICROS, EventLog, find_events, gap_ids
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.schema import History

NEW_YORK = "America/New_York"
SPECS: dict[str, Row] = {
    "everything": {},
    "short": {"max_length": 3},
    "older_days": {"cut": "same_day", "part": "older", "max_length": 4},
    "today": {"cut": "same_day", "part": "recent"},
    "older_k": {"cut": "last_k", "part": "older", "k": 3, "max_length": 5},
    "recent_k": {"cut": "last_k", "part": "recent", "k": 3},
    "buys": {"where": "action = 'buy'", "taken": lambda event: event["action"] == "buy", "max_length": 2},
    "older_buys": {
        "where": "action = 'buy'",
        "taken": lambda event: event["action"] == "buy",
        "cut": "last_k",
        "part": "older",
        "k": 2,
    },
}


def sections(**changes: Any) -> Row:
    """A data section with every history of `SPECS` over the table `events`."""
    histories = {
        name: {"events": "log", **{key: value for key, value in spec.items() if key != "taken"}}
        for name, spec in SPECS.items()
    }
    feature = {"kind": "categorical", "column": "action"}
    return {
        "events": {"log": {"table": "events", "user": "user", "item": "item", "time": "time", "features": [feature]}},
        "histories": histories,
        "timezone": "UTC",
        "features": {
            "candidate": [{"kind": "categorical", "column": "item"}],
            "request": [],
        },
        **changes,
    }


def segment(random: np.random.Generator, num_users: int, num_events: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, times and a flag of some events, sorted by user and time as a store holds them."""
    users = np.sort(random.integers(0, num_users, num_events))
    times = random.integers(0, 12, num_events) * 6 * 3600 * MICROS
    order = np.lexsort((times, users))
    return users, times[order], random.random(num_events) < 0.5


def naive(found: Sequence[tuple[Any, ...]], spec: History, user: int, time: int, delay: int) -> list[tuple[int, int]]:
    """(segment, position) of the events of a history; the older segment comes first where times are equal."""
    rows = [
        {"user": who, "time": when / MICROS, "place": (number, position), "taken": bool(taken)}
        for number, (users, times, flags) in enumerate(found)
        for position, (who, when, taken) in enumerate(zip(users.tolist(), times.tolist(), flags.tolist(), strict=True))
    ]
    taken = (lambda row: row["taken"]) if spec.where else (lambda row: True)
    values = {"cut": spec.cut, "part": spec.part, "k": spec.k, "max_length": spec.max_length, "taken": taken}
    return [row["place"] for row in history(rows, user, time / MICROS, values, delay=delay / MICROS)]


@given(
    seed=st.integers(0, 10_000),
    sizes=st.lists(st.tuples(st.integers(1, 5), st.integers(0, 40)), min_size=1, max_size=4),
    cut=st.sampled_from([("none", "all"), ("same_day", "older"), ("same_day", "recent"), ("last_k", "older")]),
    k=st.integers(1, 4),
    max_length=st.integers(1, 8),
    filtered=st.booleans(),
    delay=st.sampled_from([0, 1, 5 * 3600]),
)
def test_equals_a_naive_search(
    seed: int,
    sizes: list[tuple[int, int]],
    cut: tuple[Any, Any],
    k: int,
    max_length: int,
    filtered: bool,
    delay: int,
) -> None:
    """Any cut, filter, delay and number of segments; users that some segments, or all, do not know."""
    random = np.random.default_rng(seed)
    logs, found = [], []
    for num_users, num_events in sizes:
        users, times, flags = segment(random, num_users, num_events)
        kept = np.flatnonzero(flags) if filtered else np.arange(num_events)
        offsets = np.searchsorted(users[kept], np.arange(num_users + 1))
        logs.append(EventLog(times=times, offsets=offsets, taken=kept if filtered else None))
        found.append((users, times, flags))
    spec = History(events="log", cut=cut[0], part=cut[1], k=k, max_length=max_length, where="x" if filtered else None)
    users = random.integers(-1, 7, 30)
    times = random.integers(0, 13, 30) * 6 * 3600 * MICROS
    midnights = times // (DAY * MICROS) * (DAY * MICROS)
    result = find_events(logs, spec, users, times, midnights, delay * MICROS)
    ends = np.cumsum(result.lengths)
    for row, (user, time, end) in enumerate(zip(users.tolist(), times.tolist(), ends.tolist(), strict=True)):
        place = slice(end - int(result.lengths[row]), end)
        mine = list(zip(result.segments[place].tolist(), result.positions[place].tolist(), strict=True))
        assert mine == naive(found, spec, user, time, delay * MICROS)


def test_gaps_by_hand() -> None:
    """Seconds: 0, 0.5 -> 0; 1 -> 1; 3 -> 2; 7 -> 3. Days to midnight: after it 0; up to one day 1; three days 2."""
    recent = History(events="log")
    request = np.full(5, 1000 * MICROS)
    ids = gap_ids(recent, request - np.array([0, MICROS // 2, MICROS, 3 * MICROS, 7 * MICROS]), request, request)
    assert (ids - FIRST_ID).tolist() == [0, 0, 1, 2, 3]
    older = History(events="log", cut="last_k", part="older")
    midnight = np.full(6, 1000 * DAY * MICROS)
    events = midnight + np.array([1, 0, -1, -DAY * MICROS, -DAY * MICROS - 1, -3 * DAY * MICROS])
    ids = gap_ids(older, events, midnight + 5 * 3600 * MICROS, midnight)
    assert (ids - FIRST_ID).tolist() == [0, 0, 1, 1, 1, 2]


def test_gaps_end_at_the_last_bucket() -> None:
    log = History(events="log")
    ids = gap_ids(log, np.array([0]), np.array([2**62]), np.array([0]))
    assert ids.tolist() == [FIRST_ID + 39]


def random_log(seed: int, num_users: int, num_rows: int, days: int = 4) -> list[Row]:
    """Events on a coarse grid of times, so that many are equal; items name their row."""
    random = np.random.default_rng(seed)
    return [
        {
            "user": f"u{random.integers(num_users)}",
            "item": f"i{row}",
            "time": int(random.integers(days * 12)) * 7200,
            "action": ["click", "buy"][random.integers(2)],
        }
        for row in range(num_rows)
    ]


def requests_at(seed: int, num_users: int, num_rows: int) -> list[Row]:
    random = np.random.default_rng(seed)
    users, times = random.integers(0, num_users, num_rows).tolist(), random.integers(0, 50, num_rows).tolist()
    return [
        {"user": f"u{user}", "item": f"i{row}", "time": time * 7200, "click": row % 2}
        for row, (user, time) in enumerate(zip(users, times, strict=True))
    ]


def check_histories(
    store: Store, requests: dict[int, Row], log: list[Row], *, by_time: bool = False, zone: str = "UTC", delay: int = 0
) -> None:
    """Every history of every training example equals the naive one, by item, action, gap and time."""
    found = decode(store.split("train"), by_time=by_time)
    known = set(vocabulary(store, "item"))
    assert sorted(found) == sorted(requests)
    for number, example in found.items():
        user, time = requests[number]["user"], requests[number]["time"]
        for name, spec in SPECS.items():
            expected = history(log, user, time, spec, zone=zone, delay=delay)
            assert example.histories[name] == [
                {
                    "item": event["item"] if event["item"] in known else UNKNOWN,
                    "action": event["action"],
                    "time_gap": gap_id(event["time"], time, spec.get("part", "all"), zone),
                }
                for event in expected
            ]
            assert example.times[name] == [event["time"] * MICROS for event in expected]


@pytest.mark.parametrize("delay", [0, 9000])
def test_a_store_equals_plain_python(tmp_path: Path, delay: int) -> None:
    log, rows = random_log(1, 6, 150), requests_at(2, 8, 60)
    store = make_store(tmp_path, {"log": rows, "events": log}, **sections(history_delay=delay))
    check_histories(store, dict(enumerate(rows)), log, delay=delay)


def test_days_begin_at_local_midnight_also_when_clocks_change(tmp_path: Path) -> None:
    """New York, 2024: 10 March has 23 hours, 3 November 25."""
    log, rows = [], []
    for day in (datetime(2024, 3, 9, tzinfo=ZoneInfo("UTC")), datetime(2024, 11, 2, tzinfo=ZoneInfo("UTC"))):
        for half_hour in range(0, 48 * 3, 3):
            moment = int((day + timedelta(minutes=30 * half_hour)).timestamp())
            log.append({"user": "u", "item": "i", "time": moment, "action": ["click", "buy"][half_hour % 2]})
            rows.append({"user": "u", "item": "i", "time": moment + 600, "click": half_hour % 2})
    store = make_store(tmp_path, {"log": rows, "events": log}, **sections(timezone=NEW_YORK))
    check_histories(store, dict(enumerate(rows)), log, zone=NEW_YORK)
    lengths = [
        local_midnight(moment + 36 * 3600, NEW_YORK) - local_midnight(moment, NEW_YORK)
        for moment in (datetime(2024, 3, 10, 12).timestamp(), datetime(2024, 11, 3, 12).timestamp())
    ]
    assert lengths == [23 * 3600, 25 * 3600]


def test_zoneless_times_are_read_in_the_zone(tmp_path: Path) -> None:
    """The same moments as texts of the local clock, as timestamps with a zone, and as seconds give the same batch."""
    log, rows = random_log(3, 3, 40), requests_at(4, 3, 20)
    stores = []
    for name, convert in {
        "seconds": lambda seconds: seconds,
        "zoned": lambda seconds: datetime.fromtimestamp(seconds, ZoneInfo("Asia/Tokyo")),
        "text": lambda seconds: datetime.fromtimestamp(seconds, ZoneInfo("Asia/Tokyo")).isoformat(),
        "local": lambda seconds: datetime.fromtimestamp(seconds, ZoneInfo(NEW_YORK)).replace(tzinfo=None),
        "local_text": lambda seconds: datetime.fromtimestamp(seconds, ZoneInfo(NEW_YORK)).strftime("%Y-%m-%d %H:%M:%S"),
    }.items():
        (tmp_path / name).mkdir()
        tables = {"log": rows, "events": log}
        tables = {key: [{**row, "time": convert(row["time"])} for row in table] for key, table in tables.items()}
        stores.append(make_store(tmp_path / name, tables, **sections(timezone=NEW_YORK)))
    for store in stores:
        check_histories(store, dict(enumerate(rows)), log, zone=NEW_YORK)


def test_equal_times_follow_file_and_row(tmp_path: Path) -> None:
    """Two files whose events all have one time: the order is that of the files' names, then of their rows."""
    for name, actions in {"b.csv": "cd", "a.csv": "ab"}.items():
        write_table(tmp_path / name, [{"user": "u", "item": "i", "time": 10, "action": action} for action in actions])
    write_table(
        tmp_path / "log.parquet", [{"user": "u", "item": "i", "time": 20 + n, "click": n % 2} for n in range(30)]
    )
    tables = {"log": {"path": "log.parquet"}, "events": {"path": "*.csv"}}
    store = prepare(data_config(**sections(tables=tables)), tmp_path / "store", root=tmp_path)
    for example in decode(store.split("train")).values():
        assert [event["action"] for event in example.histories["everything"]] == list("abcd")


def test_segments_are_joined_by_time(tmp_path: Path) -> None:
    """Events of three segments, some of them late, in one history; requests of all segments see all of them."""
    logs = [random_log(seed, 5, 60) for seed in (5, 6, 7)]
    rows = [requests_at(seed, 6, 30) for seed in (8, 9, 10)]
    for place, row in enumerate(row for part in rows for row in part):
        row["time"] += place
    store = make_store(tmp_path, {"log": rows[0], "events": logs[0]}, **sections())
    for number in (1, 2):
        write_table(tmp_path / "log.parquet", rows[number])
        write_table(tmp_path / "events.parquet", logs[number])
        store = prepare(store.config, tmp_path / "store", root=tmp_path, append=True)
    log = [event for part in logs for event in part]
    by_time = {row["time"]: row for part in rows for row in part}
    check_histories(store, by_time, log, by_time=True)


def test_padding_and_users_without_events(tmp_path: Path) -> None:
    """Beyond a history's length there are zeros; requests without any events have histories of length 0."""
    log = [{"user": "u0", "item": "i", "time": time, "action": "buy"} for time in range(5)]
    rows = [{"user": f"u{n % 2}", "item": "i", "time": 100, "click": n // 2 % 2} for n in range(40)]
    store = make_store(tmp_path, {"log": rows, "events": log}, **sections())
    view = store.split("train")
    batch = view.batch(np.arange(view.num_requests))
    taken = batch.requests.histories["everything"]
    for row, length in enumerate(taken.lengths.tolist()):
        assert (taken.events.ids[row, :length] > 0).all()
        assert (taken.events.ids[row, length:] == 0).all()
        assert (taken.times[row, length:] == 0).all()
    assert sorted(set(taken.lengths.tolist())) == [0, 5]
    nobody = np.flatnonzero((taken.lengths == 0).numpy())
    alone = view.batch(nobody).requests.histories["everything"]
    assert tuple(alone.events.ids.shape) == (len(nobody), 0, taken.events.ids.shape[2])
    assert tuple(alone.times.shape) == (len(nobody), 0)
