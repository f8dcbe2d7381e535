"""Numbers, times, places, vectors, labels and weights: what a model reads, by independent formulas."""

import math
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import h3
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.encoded import NAN, NUM_ROWS, column, encoded, md5_id, rows_of, values
from data.references import haversine_km
from data.tables import UNKNOWN, Row, data_config, decode, decode_all, make_store, split_of_rows, vocabulary
from hemix.batch import FIRST_ID, NULL_ID, UNKNOWN_ID
from hemix.data.prepare import prepare
from hemix.errors import ConfigError


@pytest.mark.parametrize("transform", ["standard", "log", "none"])
def test_numbers(tmp_path: Path, transform: str) -> None:
    """Mean and deviation of the training rows alone; a null stays missing."""
    cells = [0.0, -3.0, None, 10.0, 1000.0]
    rows = rows_of(price=cells, part=["train", "train", "train", "train", "valid"])
    rows = [{**row, "click": n // 5 % 2} for n, row in enumerate(rows)]
    rows[4]["part"] = rows[9]["part"] = "test"
    feature = {"kind": "numeric", "column": "price", "transform": transform}
    store = encoded(tmp_path, rows, feature, split={"by": "given", "column": "part"})

    def squeeze(value: float) -> float:
        return math.copysign(math.log1p(abs(value)), value) if transform == "log" else value

    seen = [squeeze(value) for value in (0.0, -3.0, 10.0)]
    mean, std = (0.0, 1.0) if transform == "none" else (np.mean(seen), np.std(seen))
    expected = [NAN if cells[n % 5] is None else (squeeze(cells[n % 5]) - mean) / std for n in range(NUM_ROWS)]
    np.testing.assert_allclose(values(store, "price"), expected, rtol=1e-6)


def test_a_constant_number(tmp_path: Path) -> None:
    store = encoded(tmp_path, rows_of(price=[7.0]), {"kind": "numeric", "column": "price"})
    assert set(values(store, "price")) == {0.0}


def test_quantiles(tmp_path: Path) -> None:
    """Training rows hold 0 .. 47, each once, in no order: four buckets of twelve. Test values may lie outside."""
    random = np.random.default_rng(0)
    prices = [*random.permutation(48).astype(float).tolist(), -100.0, 1e6, None, None, *[5.0] * 8]
    rows = [{**row, "price": price} for row, price in zip(rows_of(), prices, strict=True)]
    parts = ["train"] * 48 + ["test"] * 12
    rows = [{**row, "part": part} for row, part in zip(rows, parts, strict=True)]
    rows[59]["part"] = rows[58]["part"] = "valid"
    feature = {"kind": "numeric", "column": "price", "transform": "quantile", "buckets": 4}
    store = encoded(tmp_path, rows, feature, split={"by": "given", "column": "part"})
    ids = column(store, "price")[:, 0] - FIRST_ID
    assert ids.tolist() == [int(price) // 12 for price in prices[:48] if price is not None]
    assert column(store, "price", "test")[:4, 0].tolist() == [FIRST_ID, FIRST_ID + 3, NULL_ID, NULL_ID]
    assert store.inputs.tables[0].num_ids == FIRST_ID + 4


def test_quantiles_of_few_values(tmp_path: Path) -> None:
    """Equal edges are one edge: the ids that remain are used."""
    feature = {"kind": "numeric", "column": "price", "transform": "quantile", "buckets": 10}
    store = encoded(tmp_path, rows_of(price=[1.0, 1.0, 2.0]), feature)
    ids = dict(zip([1.0, 1.0, 2.0] * 20, column(store, "price")[:, 0].tolist(), strict=True))
    assert ids[1.0] < ids[2.0] < store.inputs.tables[0].num_ids


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_calendar(tmp_path: Path, zone: str) -> None:
    """Hour, weekday (Monday is 0) and month of the local clock, over the days on which New York's clocks change."""
    start = [datetime(2024, month, day, tzinfo=UTC) for month, day in ((3, 9), (11, 2), (12, 31))]
    times = [int((start[n % 3] + timedelta(hours=n)).timestamp()) for n in range(NUM_ROWS)]
    rows = [{**row, "time": time} for row, time in zip(rows_of(), times, strict=True)]
    feature = {"kind": "timestamp", "parts": ["hour", "weekday", "month"]}
    store = encoded(tmp_path, rows, feature, side="request", timezone=zone)
    local = [datetime.fromtimestamp(time, ZoneInfo(zone)) for time in times]
    assert values(store, "time_hour") == [FIRST_ID + moment.hour for moment in local]
    assert values(store, "time_weekday") == [FIRST_ID + moment.weekday() for moment in local]
    assert values(store, "time_month") == [FIRST_ID + moment.month - 1 for moment in local]
    sizes = {"time_hour": 24, "time_weekday": 7, "time_month": 12}
    assert {table.name: table.num_ids - FIRST_ID for table in store.inputs.tables} == sizes


@pytest.mark.parametrize("source", ["log", "items"])
def test_time_gone_by(tmp_path: Path, source: str) -> None:
    """`since` in any place of the list of parts, of the example's own column or of the catalog's."""
    made = [date(2023, 11, 1), date(2023, 11, 13), None, date(2030, 1, 1)]
    rows = rows_of(made=made) if source == "log" else rows_of()
    items = [{"item": f"i{n}"} | ({"made": made[n % 4]} if source == "items" else {}) for n in range(NUM_ROWS)]
    feature = {"kind": "timestamp", "column": "made", "parts": ["since", "month", "weekday"]}
    sections = {"catalog": {"table": "items", "key": "item"}, "timezone": "UTC"}
    sides = {"candidate": [feature]}
    store = make_store(tmp_path, {"log": rows, "items": items}, features=sides, **sections)
    for n, (since, month, weekday) in enumerate(
        zip(values(store, "made_since"), values(store, "made_month"), values(store, "made_weekday"), strict=True)
    ):
        day = made[n % 4]
        if day is None:
            assert (since, month, weekday) == (None, None, None)
            continue
        seconds = max(0, 1_700_000_000 + n - datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
        assert since == FIRST_ID + math.floor(math.log2(1 + seconds))
        assert (month, weekday) == (FIRST_ID + day.month - 1, FIRST_ID + day.weekday())


@pytest.mark.parametrize(
    "kind",
    [*map(pa.timestamp, ("s", "ms", "us", "ns")), pa.timestamp("ns", "UTC"), pa.timestamp("us", "Asia/Tokyo")],
    ids=str,
)
def test_timestamps_of_any_resolution(tmp_path: Path, kind: pa.DataType) -> None:
    rows = rows_of()
    table = pa.Table.from_pylist(rows)
    moments = pa.array([row["time"] * 1_000_000_000 for row in rows], pa.timestamp("ns")).cast(kind)
    pq.write_table(table.set_column(2, "time", moments), tmp_path / "log.parquet")
    store = prepare(data_config(), tmp_path / "store", root=tmp_path)
    assert sorted(decode(store.split("train"), by_time=True)) == [row["time"] for row in rows]


@pytest.mark.parametrize(
    ("time", "given"),
    [
        ({"unit": "ms"}, lambda seconds: seconds * 1000),
        ({"unit": "us"}, lambda seconds: seconds * 1_000_000),
        ({"unit": "ns"}, lambda seconds: seconds * 1_000_000_000),
        ({}, lambda seconds: seconds + 0.25),
        ({}, str),
        ({"unit": "ms"}, lambda seconds: f"{seconds}000"),
        ({"format": "%d.%m.%Y %H:%M:%S"}, lambda seconds: f"{datetime.fromtimestamp(seconds, UTC):%d.%m.%Y %H:%M:%S}"),
        ({}, lambda seconds: datetime.fromtimestamp(seconds, UTC).isoformat()),
    ],
)  # fmt: skip
def test_units_and_formats_of_times(tmp_path: Path, time: Row, given: Any) -> None:
    rows = [{**row, "time": given(row["time"])} for row in rows_of()]
    examples = {"table": "log", "user": "user", "item": "item", "time": {"column": "time", **time}}
    store = make_store(tmp_path, {"log": rows}, examples=examples)
    assert sorted(decode(store.split("train"), by_time=True)) == [row["time"] for row in rows_of()]


POINTS = [(40.7484, -73.9857), (51.5, -0.12), (-33.86, 151.2), (None, 3.0), (0.0, 0.0)]


def test_geo_cells(tmp_path: Path) -> None:
    """Cells of the H3 library at each resolution; a place with half its coordinates is null."""
    rows = rows_of(lat=[lat for lat, _ in POINTS], lon=[lon for _, lon in POINTS])
    feature = {"kind": "geo", "name": "place", "latitude": "lat", "longitude": "lon", "resolutions": [4, 9]}
    store = encoded(tmp_path, rows, feature)
    for resolution in (4, 9):
        cells = [None if lat is None else h3.str_to_int(h3.latlng_to_cell(lat, lon, resolution)) for lat, lon in POINTS]
        assert values(store, f"place_h3_{resolution}") == cells * 12


def test_distance(tmp_path: Path) -> None:
    """log(1 + km) between the user's place (profiles) and the item's (catalog), standardised over the training rows."""
    people = [{"user": f"u{n}", "lat": POINTS[n % 3][0], "lon": POINTS[n % 3][1]} for n in range(NUM_ROWS)]
    items = [{"item": f"i{n}", "y": POINTS[(n + 1) % 5][0], "x": POINTS[(n + 1) % 5][1]} for n in range(NUM_ROWS)]
    sides = {
        "request": [{"kind": "geo", "name": "home", "latitude": "lat", "longitude": "lon"}],
        "candidate": [{"kind": "geo", "name": "shop", "latitude": "y", "longitude": "x"}],
        "pair": [{"kind": "distance", "name": "away", "origin": "home", "target": "shop"}],
    }
    sections = {"profiles": {"table": "people", "key": "user"}, "catalog": {"table": "items", "key": "item"}}
    store = make_store(tmp_path, {"log": rows_of(), "people": people, "items": items}, features=sides, **sections)
    logs = []
    for n in range(NUM_ROWS):
        (lat, lon), (y, x) = POINTS[n % 3], POINTS[(n + 1) % 5]
        missing = lat is None or y is None
        logs.append(NAN if missing else math.log1p(haversine_km((lat, lon), (y, x))))  # type: ignore[arg-type]
    np.testing.assert_allclose(values(store, "away"), (logs - np.nanmean(logs)) / np.nanstd(logs), rtol=1e-5)


def test_haversine_by_hand() -> None:
    """A quarter of a meridian: 6371.0088 * pi / 2 = 10007.557 km."""
    assert haversine_km((0, 0), (90, 0)) == pytest.approx(10007.557, abs=1e-3)


def test_vectors(tmp_path: Path) -> None:
    """Passed on as they are; a null vector is missing in all of its places."""
    store = encoded(tmp_path, rows_of(image=[[0.5, -2.0, 3.0], None]), {"kind": "vector", "column": "image", "size": 3})
    assert values(store, "image")[0] == [0.5, -2.0, 3.0]
    assert all(math.isnan(value) for value in values(store, "image")[1])


def test_training_only_features(tmp_path: Path) -> None:
    """Positions as they were in training; everywhere else the value to serve with, whatever the row says."""
    rows = rows_of(position=[1, 2, 3], kind=["x", "y"], price=[1.0, 3.0])
    rows = [{**row, "part": ["train", "train", "test", "valid"][n // 2 % 4]} for n, row in enumerate(rows)]
    features = [
        {"kind": "categorical", "column": "position", "served_as": "1"},
        {"kind": "categorical", "column": "position", "name": "hashed", "hash_buckets": 9, "served_as": "1"},
        {"kind": "categorical", "column": "kind", "served_as": "z"},
        {"kind": "numeric", "column": "price", "served_as": 3.0},
        {
            "kind": "numeric",
            "column": "price",
            "name": "bucket",
            "transform": "quantile",
            "buckets": 2,
            "served_as": 1.0,
        },
    ]
    store = encoded(tmp_path, rows, *features, split={"by": "given", "column": "part"})
    train = [row for row in rows if row["part"] == "train"]
    known = decode(store.split("train"))
    assert [known[n].values["position"] for n in sorted(known)] == [str(row["position"]) for row in train]
    assert set(column(store, "price")[:, 0].tolist()) == {-1.0, 1.0}
    for view in ("valid", "test"):
        for example in decode(store.split(view)).values():
            assert (example.values["position"], example.values["kind"]) == ("1", UNKNOWN)
            assert (example.values["hashed"], example.values["price"]) == (md5_id("1", 9), 1.0)
            assert example.values["bucket"] == FIRST_ID
    served = column(store, "position", "train", serving=True)
    assert set(served[:, 0].tolist()) == {UNKNOWN_ID + vocabulary(store, "position").index("1") + 2}
    as_trained = column(store, "position", "test", serving=False)
    assert len(set(as_trained[:, 0].tolist())) > 1


def test_weights_and_masked_labels(tmp_path: Path) -> None:
    rows = rows_of(price=[0.5, 2.0], bought=[0, 0, 1, 0, 1, 1, 1])
    labels = [
        {"name": "click"},
        {"name": "order", "column": "bought", "mask": "click"},
        {"name": "dear", "sql": "price > 1"},
    ]
    store = make_store(tmp_path, {"log": rows}, labels=labels, weight="price * 2")
    for n, example in decode_all(store).items():
        row = rows[n]
        order = float(row["bought"]) if row["click"] else NAN
        np.testing.assert_equal(example.labels, [row["click"], order, float(row["price"] > 1)])
        assert example.weight == row["price"] * 2
    count = store.manifest.segments[0].splits["train"]
    ordered = sum(row["bought"] for row in rows if row["click"])
    assert (count.positives, count.unlabelled) == ((30, ordered, 30), (0, 30, 0))


def test_down_sampling(tmp_path: Path) -> None:
    """Only negatives of the training split are dropped, and the logit is shifted by log(keep) to undo it."""
    rows = [
        {**row, "user": f"u{n}", "part": ["train", "train", "test", "valid"][n // 2 % 4]}
        for n, row in enumerate(rows_of() * 5)
    ]
    sections = {
        "split": {"by": "given", "column": "part"},
        "labels": [{"name": "click"}, {"name": "other", "column": "click"}],
    }
    store = make_store(tmp_path, {"log": rows}, downsample={"label": "click", "keep": 0.25}, **sections)
    kept = split_of_rows(store)
    dropped = [row for n, row in enumerate(rows) if n not in kept]
    assert {(row["part"], row["click"]) for row in dropped} == {("train", 0)}
    negatives = sum(row["part"] == "train" and row["click"] == 0 for row in rows)
    assert 0.1 < (negatives - len(dropped)) / negatives < 0.4
    assert {task.name: task.logit_shift for task in store.inputs.tasks} == {"click": math.log(0.25), "other": 0.0}


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    """Names that the queries use themselves, keywords, and names with quotes and blanks."""
    names = ["user", "time", "split", "row", "index", "request", "key", "number", "n", "t", "c", "u", "part0", "label0"]
    names += ["weight", "visible", "midnight", "profile", "select", 'a "b" c', "d'e", "x.y", "origin", "Item"]
    rows = [{name: f"{name} {n % 3}" for name in names} | {"when": n, "yes": n % 2} for n in range(NUM_ROWS)]
    features = [{"kind": "categorical", "column": name, "name": f"f{place}"} for place, name in enumerate(names[:-1])]
    sections = {
        "examples": {"table": "users", "user": "user", "item": "Item", "time": "when"},
        "labels": [{"name": "yes"}],
        "events": {"catalog": {"table": "users", "user": "user", "item": "Item", "time": "when", "features": features}},
        "histories": {"select": {"events": "catalog", "where": "\"select\" = 'select 0'"}},
        "catalog": {"table": "examples", "key": "key"},
    }
    tables = {"users": rows, "examples": [{"key": f"Item {n}", "index": n, "key_": "x"} for n in range(3)]}
    sides = {
        "request": features,
        "candidate": [
            {"kind": "categorical", "column": "Item"},
            {"kind": "numeric", "column": "index", "source": "catalog", "name": "place"},
        ],
    }
    store = make_store(tmp_path, tables, features=sides, **sections)
    found = decode_all(store)
    for n, row in enumerate(rows):
        example = found[n]
        assert [example.values[f"f{place}"] for place in range(len(features))] == [row[name] for name in names[:-1]]
        assert example.values["Item"] == row["Item"]
        earlier = [other for other in rows[:n] if other["user"] == row["user"] and other["select"] == "select 0"]
        assert [event["f0"] for event in example.histories["select"]] == [other["user"] for other in earlier]


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ({"kind": "geo", "name": "place", "latitude": "lat", "longitude": "lon", "resolutions": [16]}, "resolutions"),
        ({"kind": "categorical", "column": "kind", "hash_buckets": 5, "pretrained": "x.parquet"}, "pretrained"),
        ({"kind": "numeric", "column": "kind", "transform": "sqrt"}, "sqrt"),
        ({"kind": "numerical", "column": "kind"}, "unknown 'numerical'; available: categorical"),
        ({"kind": "categorical", "column": "kind", "mincount": 5}, "0.mincount'. Did you mean 'min_count'"),
    ],
)  # fmt: skip
def test_impossible_features(feature: Row, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        data_config(features={"candidate": [feature]})
    assert words in str(caught.value)


def test_a_request_does_not_count_the_events_of_an_item() -> None:
    log = {"log": {"table": "log", "user": "user", "item": "item", "time": "time"}}
    for by in ("item", "user_item"):
        window = {"kind": "window_count", "name": "clicks", "events": "log", "by": by, "days": 7}
        with pytest.raises(ConfigError, match=f"'clicks'.*by {by!r}.*candidate"):
            data_config(events=log, features={"request": [window]})
