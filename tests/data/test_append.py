"""A new day joins a store: known ids keep their meaning, new users and items come in, old rows become training rows."""

import hashlib
import shutil
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.references import window_count
from data.refusals import files_below
from data.tables import UNKNOWN, Row, data_config, decode, vocabulary, write_table
from hemix.data.expressions import exact_text_sql
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.errors import InputError, StoreError
from hemix.schema import DataConfig

SECTIONS: dict[str, Any] = {
    "tables": {name: {"path": f"{name}.parquet"} for name in ("log", "items", "people")},
    "catalog": {"table": "items", "key": "item"},
    "profiles": {"table": "people", "key": "user"},
    "events": {"log": {"table": "log", "user": "user", "item": "item", "time": "time"}},
    "histories": {"all": {"events": "log", "time_gap": False}},
    "features": {
        "request": [
            {"kind": "categorical", "column": "city"},
            {"kind": "geo", "name": "home", "latitude": "lat", "longitude": "lon"},
        ],
        "candidate": [
            {"kind": "categorical", "column": "item"},
            {"kind": "categorical", "column": "kind"},
            {"kind": "numeric", "column": "price"},
            {"kind": "geo", "name": "shop", "latitude": "y", "longitude": "x"},
            {"kind": "timestamp", "column": "made", "parts": ["since"]},
            {"kind": "window_count", "name": "clicks", "events": "log", "by": "item", "days": 1.0, "transform": "none"},
        ],
        "pair": [{"kind": "distance", "name": "away", "origin": "home", "target": "shop"}],
    },
    "split": {"by": "time", "fractions": [0.6, 0.2, 0.2]},
}


def day(number: int, users: list[str], items: list[str]) -> list[Row]:
    """Forty rows of one day, each at a time of its own."""
    return [
        {
            "user": users[n % len(users)],
            "item": items[n // 2 % len(items)],
            "time": number * 86_400 + n * 60,
            "click": n // 3 % 2,
        }
        for n in range(40)
    ]


def items_of(names: list[str], **kinds: str) -> list[Row]:
    return [
        {"item": name, "kind": kinds.get(name, "plain"), "price": 5.0, "y": 10.0, "x": 20.0, "made": 1000}
        for name in names
    ]


def people_of(names: list[str], city: str = "Rome") -> list[Row]:
    return [{"user": name, "city": city, "lat": 41.9, "lon": 12.5} for name in names]


def write_day(folder: Path, rows: list[Row], items: list[Row], people: list[Row]) -> None:
    for name, table in {"log": rows, "items": items, "people": people}.items():
        write_table(folder / f"{name}.parquet", table)


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Day 1: users a b, items x y. Day 2: also user c and item z, and y is now fancy. Day 3: y is plain again."""
    folder = tmp_path_factory.mktemp("days")
    write_day(folder, day(1, ["a", "b"], ["x", "y"]), items_of(["x", "y"]), people_of(["a", "b"]))
    prepare(data_config(**SECTIONS), folder / "store", root=folder, threads=1)
    shutil.copytree(folder / "store", folder / "first")
    write_day(
        folder,
        day(2, ["a", "c"], ["y", "z"]),
        items_of(["x", "y", "z"], y="fancy"),
        people_of(["a", "b"]) + people_of(["c"], "Oslo"),
    )
    prepare(data_config(**SECTIONS), folder / "store", root=folder, append=True, threads=1)
    write_day(folder, day(3, ["b", "d"], ["y", "x"]), items_of(["y"]), people_of(["d"]))
    prepare(data_config(**SECTIONS), folder / "store", root=folder, append=True, threads=1)
    return folder


@pytest.fixture
def store(days: Path) -> Store:
    return Store.open(days / "store", verify=True)


def test_earlier_rows_are_training_rows(days: Path, store: Store) -> None:
    """Validation and test are of the newest day alone."""
    first = Store.open(days / "first")
    assert [first.split(name).num_rows for name in ("train", "valid", "test")] == [24, 8, 8]
    assert [store.split(name).num_rows for name in ("train", "valid", "test")] == [40 + 40 + 24, 8, 8]
    times = {name: sorted(decode(store.split(name), by_time=True)) for name in ("train", "valid", "test")}
    assert times["train"][-1] < times["valid"][0] < times["valid"][-1] < times["test"][0]
    assert times["valid"][0] > 3 * 86_400


def test_meaning_of_ids_stays(days: Path, store: Store) -> None:
    first = Store.open(days / "first")
    assert store.inputs == first.inputs
    assert store.manifest.encoder_hash == first.manifest.encoder_hash
    assert store.hash != first.hash
    assert store.manifest.segments[0].files == first.manifest.segments[0].files
    assert sorted(vocabulary(store, "item")) == ["x", "y"]


def test_rows_of_all_days(store: Store) -> None:
    """New items and values are unknown; changed rows of the catalog hold from their day on, also back to old values."""
    rows = {1: day(1, ["a", "b"], ["x", "y"]), 2: day(2, ["a", "c"], ["y", "z"]), 3: day(3, ["b", "d"], ["y", "x"])}
    log = [row for number in rows for row in rows[number]]
    found = {
        time: row
        for name in ("train", "valid", "test")
        for time, row in decode(store.split(name), by_time=True).items()
    }
    assert sorted(found) == sorted(row["time"] for row in log)
    for number in rows:
        for row in rows[number]:
            example = found[row["time"]]
            known = row["item"] != "z"
            assert example.values["item"] == (row["item"] if known else UNKNOWN)
            fancy = number == 2 and row["item"] == "y"
            assert example.values["kind"] == (UNKNOWN if fancy else "plain")
            assert example.values["city"] == (UNKNOWN if row["user"] == "c" else "Rome")
            assert example.values["clicks"] == window_count(log, row, ["item"], 1)
            assert np.isfinite(example.values["away"])
            earlier = [event["item"] for event in log if event["user"] == row["user"] and event["time"] < row["time"]]
            assert [event["item"] for event in example.histories["all"]] == [
                UNKNOWN if item == "z" else item for item in earlier
            ]


def test_counts_of_each_day(store: Store) -> None:
    segments = store.manifest.segments
    assert [segment.num_users for segment in segments] == [2, 3, 4]
    assert [segment.catalog_rows for segment in segments] == [1 + 2, 2, 1]
    assert [segment.profile_rows for segment in segments] == [1 + 2, 1, 1]
    assert [segment.events for segment in segments] == [{"log": 40}] * 3


@pytest.mark.parametrize("changes", [{"price": 6.0}, {"x": 21.0}, {"made": 2000}])
def test_any_column_that_a_feature_looks_at_counts_as_a_change(days: Path, tmp_path: Path, changes: Row) -> None:
    """Also those of distances and ages, which are computed for each request."""
    shutil.copytree(days / "first", tmp_path / "store")
    rows = day(2, ["a"], ["x", "y"])
    write_day(tmp_path, rows, [{**items_of(["x"])[0], **changes}, *items_of(["y"])], people_of(["a"]))
    before = decode(Store.open(tmp_path / "store").split("train"), by_time=True)
    store = prepare(data_config(**SECTIONS), tmp_path / "store", root=tmp_path, append=True)
    assert store.manifest.segments[1].catalog_rows == 1
    after = decode(store.split("train"), by_time=True)
    assert {time: str(after[time].values) for time in before} == {time: str(row.values) for time, row in before.items()}
    mine = {row["item"]: after[row["time"]].values for row in rows if row["time"] in after}
    name = {"price": "price", "x": "away", "made": "made_since"}[next(iter(changes))]
    if name != "made_since":
        assert mine["x"][name] != mine["y"][name]


def test_what_tells_rows_of_the_catalog_apart(days: Path) -> None:
    """The last 8 bytes of the MD5 of all values with their lengths: no version of the engine may change it, or the next
    day would write every item again.
    """
    store = Store.open(days / "first")
    keys = pq.read_table(store.path / store.manifest.segments[0].folder / "keys" / "catalog.parquet").to_pylist()
    for row in keys:
        # item, kind, price, place of the shop; what is looked at for each request: made, and the place again
        text = f"1:{row['_hemix_key']}" + "5:plain" + "3:5.0" + "4:10.0" + "4:20.0" + "4:1000" + "4:10.0" + "4:20.0"
        digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
        assert row["_hemix_print"] == int.from_bytes(digest[8:], "little")


@settings(max_examples=15)
@example(a=["a", None], b=["a"])
@example(a=[""], b=[None])
@example(a=["1:a", ""], b=["1", "a"])
@given(a=st.lists(st.none() | st.text("a1:[-", max_size=3)), b=st.lists(st.none() | st.text("a1:[-", max_size=3)))
def test_values_with_equal_texts_are_equal(a: list[str | None], b: list[str | None]) -> None:
    """Lists, and values side by side: no text runs into the next, and a null is not an empty text."""
    with duckdb.connect() as connection:
        side_by_side = " || ".join(exact_text_sql(f"v[{index + 1}]") for index in range(3))
        query = f"SELECT {exact_text_sql('v', many=True)}, {side_by_side} FROM (SELECT $1::VARCHAR[] AS v)"
        texts = [connection.execute(query, [values]).fetchall()[0] for values in (a, b)]
    assert (texts[0][0] == texts[1][0]) == (a == b)
    first, second = ((values + [None] * 3)[:3] for values in (a, b))
    assert (texts[0][1] == texts[1][1]) == (first == second)


def test_other_files_under_the_same_names(days: Path, tmp_path: Path) -> None:
    shutil.copytree(days / "first", tmp_path / "store")
    write_table(tmp_path / "tuesday.csv", day(2, ["a"], ["x", "y"]))
    write_table(tmp_path / "items.parquet", items_of(["x", "y"]))
    write_table(tmp_path / "people.parquet", people_of(["a"]))
    tables = {**SECTIONS["tables"], "log": {"path": "tuesday.csv"}}
    store = prepare(data_config(**{**SECTIONS, "tables": tables}), tmp_path / "store", root=tmp_path, append=True)
    assert store.split("train").num_rows == 40 + 24


@pytest.mark.parametrize(
    ("changes", "section"),
    [
        ({"history_delay": 60}, "history_delay"),
        ({"timezone": "Asia/Tokyo"}, "timezone"),
        ({"split": {"by": "time"}}, "split"),
        ({"tables": {**SECTIONS["tables"], "more": {"path": "x.csv"}}}, "tables"),
        ({"histories": {}}, "histories"),
    ],
)
def test_another_configuration_is_refused(days: Path, changes: Row, section: str) -> None:
    before = files_below(days / "store")
    with pytest.raises(StoreError, match=f"another data section: {section} differs.*prepare into a new folder"):
        prepare(data_config(**SECTIONS | changes), days / "store", root=days, append=True)
    assert files_below(days / "store") == before


def test_down_sampled_rows_are_not_mixed_with_others(days: Path, tmp_path: Path) -> None:
    """Old validation rows would become training rows without being down-sampled."""
    write_day(tmp_path, day(1, ["a", "b"], ["x", "y"]), items_of(["x", "y"]), people_of(["a", "b"]))
    config = data_config(**SECTIONS, downsample={"label": "click", "keep": 0.9})
    prepare(config, tmp_path / "store", root=tmp_path)
    with pytest.raises(StoreError, match=r"down-sampled.*split by 'time'.*prepare all days again"):
        prepare(config, tmp_path / "store", root=tmp_path, append=True)


def test_bad_rows_leave_the_store_as_it_was(days: Path) -> None:
    """The third day's file with a label of 2."""
    rows = day(3, ["b", "d"], ["y", "x"])
    write_table(days / "log.parquet", [{**rows[0], "click": 2}, *rows[1:]])
    before = files_below(days / "store")
    with pytest.raises(InputError, match="row 1: label click"):
        prepare(data_config(**SECTIONS), days / "store", root=days, append=True)
    assert files_below(days / "store") == before


@pytest.fixture
def two_tables(tmp_path: Path) -> Path:
    """A store of one day with the events in a table of their own, and a SQL table over files of the examples."""
    write_table(tmp_path / "monday.csv", day(1, ["a", "b"], ["x"]))
    write_table(tmp_path / "seen.parquet", day(1, ["a", "b"], ["x"]))
    write_table(tmp_path / "items.csv", items_of(["x"]))
    prepare(two_tables_config("monday"), tmp_path / "store", root=tmp_path, threads=1)
    return tmp_path


def two_tables_config(name: str, seen: str = "seen.parquet") -> DataConfig:
    tables = {"log": {"sql": f"SELECT * FROM '{name}.csv'"}, "seen": {"path": seen}, "items": {"path": "items.csv"}}
    events = {"seen": {"table": "seen", "user": "user", "item": "item", "time": "time"}}
    catalog = {"table": "items", "key": "item"}
    return data_config(tables=tables, events=events, histories={"all": {"events": "seen"}}, catalog=catalog)


@pytest.mark.parametrize(
    ("name", "seen", "words"),
    [
        (
            "monday",
            "seen.parquet",
            r"table 'log' \(its SQL\) holds .* from table 'log' \(its SQL\).*under tables.log\.",
        ),
        ("tuesday", "seen.parquet", r"table 'seen' \(seen.parquet\) holds .* from table 'seen' \(seen.parquet\)"),
        ("renamed", "more.parquet", "table 'log'"),
        ("tuesday", "*e*.parquet", r"table 'seen' \(seen.parquet\)"),
        ("tuesday", "renamed.parquet", r"table 'seen' \(renamed.parquet\) holds .* from table 'seen' \(seen.parquet\)"),
    ],
)
def test_no_file_is_appended_twice(two_tables: Path, name: str, seen: str, words: str) -> None:
    """Neither its own name nor a glob pattern nor SQL hides that its rows are there."""
    write_table(two_tables / "tuesday.csv", day(2, ["a", "b"], ["x"]))
    write_table(two_tables / "more.parquet", day(2, ["a", "b"], ["x"]))
    shutil.copy(two_tables / "monday.csv", two_tables / "renamed.csv")
    shutil.copy(two_tables / "seen.parquet", two_tables / "renamed.parquet")
    before = files_below(two_tables / "store")
    with pytest.raises(InputError, match=words):
        prepare(two_tables_config(name, seen), two_tables / "store", root=two_tables, append=True, threads=1)
    assert files_below(two_tables / "store") == before


def test_a_catalog_may_come_again(two_tables: Path) -> None:
    """And a day that was appended is known like the first, though its segment may have been merged since."""
    write_table(two_tables / "tuesday.csv", day(2, ["a", "b"], ["x"]))
    write_table(two_tables / "more.parquet", day(2, ["a", "b"], ["x"]))
    config = two_tables_config("tuesday", "more.parquet")
    store = prepare(config, two_tables / "store", root=two_tables, append=True, threads=1)
    assert [file.name for file in store.manifest.raw_files] == ["sql", "seen.parquet", "sql", "more.parquet"]
    with pytest.raises(InputError, match="Rows may be appended once"):
        prepare(config, two_tables / "store", root=two_tables, append=True, threads=1)


def test_files_of_other_places_are_the_same_data(two_tables: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tmp_path_factory.mktemp("other")
    for name in ("seen.parquet", "items.csv"):
        shutil.copy(two_tables / name, other / name)
    shutil.copy(two_tables / "monday.csv", other / "day.csv")
    again = prepare(two_tables_config("day"), other / "store", root=other, threads=1)
    mine = Store.open(two_tables / "store").manifest
    assert again.manifest.model_copy(update={"config": mine.config}).hash == mine.hash


def test_there_is_no_store_to_append_to(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No finished store"):
        prepare(data_config(), tmp_path / "store", root=tmp_path, append=True)
    assert not (tmp_path / "store").exists()


def test_given_splits_stay_given(tmp_path: Path) -> None:
    names = ("train", "valid", "test")
    examples = {"table": {name: name for name in names}, "user": "user", "item": "item", "time": "time"}
    config = data_config(tables={name: {"path": f"{name}.parquet"} for name in names}, examples=examples)
    for append in (False, True):
        for name in names:
            write_table(tmp_path / f"{name}.parquet", day(1 + append, ["a", "b"], ["x"]))
        store = prepare(config, tmp_path / "store", root=tmp_path, append=append)
    assert [store.split(name).num_rows for name in names] == [80, 80, 80]


def test_texts_stay_texts(tmp_path: Path) -> None:
    """User 007 is not user 7, though the second day's file has nothing but digits."""
    first = [{**row, "user": ["007", "bond"][n % 2]} for n, row in enumerate(day(1, ["a"], ["x"]))]
    write_table(tmp_path / "log.csv", first)
    config = data_config(tables={"log": {"path": "log.csv"}})
    prepare(config, tmp_path / "store", root=tmp_path)
    (tmp_path / "log.csv").write_text(
        "user,item,time,click\n" + "".join(f"007,x,{200_000 + n},{n % 2}\n" for n in range(9))
    )
    store = prepare(config, tmp_path / "store", root=tmp_path, append=True)
    assert store.manifest.segments[1].num_users == 2
    assert {row.values["user"] for row in decode(store.split("train"), by_time=True).values()} == {"007", "bond"}
