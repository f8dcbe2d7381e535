"""Tables that cannot be read, or do not have what the configuration says."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.refusals import changed, expect_refused, good_rows
from data.tables import data_config, write_table
from hemix.data import sources
from hemix.data.prepare import prepare
from hemix.errors import ConfigError

CSV = {"log": {"path": "log.csv"}}
PRICE = {"kind": "numeric", "column": "price"}


def features(*request: Any) -> dict[str, Any]:
    return {"features": {"request": list(request), "candidate": [{"kind": "categorical", "column": "item"}]}}


def test_file_is_missing(tmp_path: Path) -> None:
    expect_refused(tmp_path, "Table 'log'", "log.parquet", "no file", "tables.log.path", "relative paths start at")


def test_pattern_finds_nothing(tmp_path: Path) -> None:
    expect_refused(tmp_path, "Table 'log'", "2024-*.csv", tables={"log": {"path": "2024-*.csv"}})


def test_column_is_missing_from_both_tables(tmp_path: Path) -> None:
    write_table(tmp_path / "log.csv", good_rows())
    write_table(tmp_path / "items.csv", [{"item": "i1", "colour": "red"}])
    tables = {**CSV, "items": {"path": "items.csv"}}
    sections = {"catalog": {"table": "items", "key": "item"}, "tables": tables}
    sections["features"] = {"candidate": [{"kind": "categorical", "column": "color"}]}
    expect_refused(
        tmp_path, "feature 'color'", "items.csv", "log.csv", "do not have", "Did you mean 'colour'", **sections
    )


def test_path_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").mkdir()
    expect_refused(tmp_path, "Table 'log'", "is a folder", "*.parquet")


def test_file_has_no_bytes(tmp_path: Path) -> None:
    (tmp_path / "log.csv").touch()
    expect_refused(tmp_path, "Table 'log'", "log.csv", "is empty (0 bytes)", tables=CSV)


@pytest.mark.parametrize("name", ["log.csv", "log.parquet"])
def test_file_has_no_rows(tmp_path: Path, name: str) -> None:
    rows = write_table(tmp_path / "full.parquet", good_rows())
    write_table(tmp_path / name, [], pq.read_schema(rows))
    expect_refused(tmp_path, "Table 'log'", name, "no row", tables={"log": {"path": name}}, **features(PRICE))


def test_events_have_no_rows(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", good_rows())
    (tmp_path / "events.csv").write_text("user,item,time\n")
    events = {"events": {"table": "events", "user": "user", "item": "item", "time": "time"}}
    tables = {"log": {"path": "log.parquet"}, "events": {"path": "events.csv"}}
    expect_refused(tmp_path, "Table 'events'", "events.csv", "no row", tables=tables, events=events)


def test_condition_leaves_no_row(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", good_rows())
    examples = {"table": "log", "user": "user", "item": "item", "time": "time", "where": "price < 0"}
    expect_refused(tmp_path, "'log'", "no usable row", "where", examples=examples)


def test_parquet_is_truncated(tmp_path: Path) -> None:
    content = write_table(tmp_path / "log.parquet", good_rows()).read_bytes()
    (tmp_path / "log.parquet").write_bytes(content[: len(content) // 2])
    expect_refused(tmp_path, "Table 'log'", "log.parquet", "cannot be read")


def test_parquet_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "log.parquet").write_text("user,item\n1,2\n")
    expect_refused(tmp_path, "Table 'log'", "log.parquet", "cannot be read")


def test_pages_of_a_parquet_file_are_damaged(tmp_path: Path) -> None:
    rows = [{**row, "user": f"user-{n}"} for n, row in enumerate(good_rows(5000))]
    path = write_table(tmp_path / "log.parquet", rows)
    content = bytearray(path.read_bytes())
    content[200:1200] = b"\xff" * 1000
    path.write_bytes(content)
    expect_refused(tmp_path, "log.parquet", "cannot be read")


def test_csv_is_not_utf_8(tmp_path: Path) -> None:
    path = write_table(tmp_path / "log.csv", good_rows())
    path.write_bytes(path.read_bytes().replace(b"u3", "\N{LATIN SMALL LETTER E WITH ACUTE}".encode("latin-1"), 1))
    expect_refused(tmp_path, "table log", "log.csv", "row 4", "UTF-8", tables=CSV)


def test_ending_says_no_format(tmp_path: Path) -> None:
    write_table(tmp_path / "log.csv", good_rows()).rename(tmp_path / "log.data")
    expect_refused(tmp_path, "Table 'log'", "log.data", "tables.log.format", tables={"log": {"path": "log.data"}})


def test_files_have_different_formats(tmp_path: Path) -> None:
    write_table(tmp_path / "a.csv", good_rows())
    write_table(tmp_path / "a.parquet", good_rows())
    expect_refused(tmp_path, "Table 'log'", "csv, parquet", tables={"log": {"path": "a.*"}})


@pytest.mark.parametrize(
    ("changes", "place"),
    [
        ({"examples": {"table": "log", "user": "usr", "item": "item", "time": "time"}}, "examples.user"),
        ({"examples": {"table": "log", "user": "user", "item": "itm", "time": "time"}}, "examples.item"),
        ({"examples": {"table": "log", "user": "user", "item": "item", "time": "tme"}}, "examples.time"),
        ({"labels": [{"name": "clck"}]}, "label 'clck'"),
        (features({"kind": "numeric", "column": "prce"}), "feature 'prce'"),
        ({"split": {"by": "given", "column": "prce"}}, "split.column"),
        ({"catalog": {"table": "log", "key": "itm"}}, "catalog.key"),
        (
            {"events": {"log": {"table": "log", "user": "user", "item": "item", "time": "tme"}}},
            "events.log.time",
        ),
    ],
)
def test_column_is_missing(tmp_path: Path, changes: dict[str, Any], place: str) -> None:
    write_table(tmp_path / "log.csv", good_rows())
    expect_refused(tmp_path, place, "log.csv", "does not have", "user, item, time, click, price", "Did you mean",
            **{"tables": CSV, **changes})  # fmt: skip


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ({"kind": "numeric", "column": "words"}, ["a number", "VARCHAR[]", "categorical"]),
        ({"kind": "vector", "column": "price", "size": 2}, ["a list of numbers", "DOUBLE"]),
        ({"kind": "vector", "column": "words", "size": 2}, ["a list of numbers", "VARCHAR[]"]),
        ({"kind": "multi_categorical", "column": "text"}, ["a list", "VARCHAR", "delimiter"]),
        ({"kind": "categorical", "column": "words"}, ["one value", "VARCHAR[]", "multi_categorical"]),
        ({"kind": "geo", "name": "place", "latitude": "text", "longitude": "price"}, ["degrees", "VARCHAR"]),
        ({"kind": "timestamp", "column": "words"}, ["a time", "VARCHAR[]"]),
        ({"kind": "timestamp", "column": "yes"}, ["a time", "BOOLEAN"]),
    ],
)
def test_column_has_the_wrong_type(tmp_path: Path, feature: dict[str, Any], words: list[str]) -> None:
    rows = [{**row, "text": "a b", "words": ["a", "b"], "yes": True} for row in good_rows()]
    write_table(tmp_path / "log.parquet", rows)
    expect_refused(tmp_path, "needs", "column", "table 'log'", *words, timezone="UTC", **features(feature))


@pytest.mark.parametrize("place", ["examples", "events"])
def test_time_has_the_wrong_type(tmp_path: Path, place: str) -> None:
    write_table(tmp_path / "log.parquet", [{**row, "words": ["a"]} for row in good_rows()])
    columns = {"table": "log", "user": "user", "item": "item", "time": "words"}
    sections = {"examples": columns} if place == "examples" else {"events": {"log": columns}}
    expect_refused(tmp_path, place, "a time", "words", "VARCHAR[]", **sections)


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ({"name": "click", "column": "words"}, ["label 'click'", "words", "VARCHAR[]"]),
        ({"name": "click", "sql": "words >= 4"}, ["label 'click'", "words >= 4"]),
        ({"name": "click", "sql": "prce >= 4"}, ["label 'click'", "prce >= 4"]),
    ],
)
def test_label_cannot_be_computed(tmp_path: Path, label: dict[str, Any], words: list[str]) -> None:
    write_table(tmp_path / "log.parquet", [{**row, "words": ["a"]} for row in good_rows()])
    expect_refused(tmp_path, *words, labels=[label])


def test_condition_cannot_be_computed(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", good_rows())
    examples = {"table": "log", "user": "user", "item": "item", "time": "time", "where": "prce > 0"}
    expect_refused(tmp_path, "SQL", "prce", examples=examples)


def test_sql_of_a_table_does_not_work(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", good_rows())
    tables = {"raw": {"path": "log.parquet"}, "log": {"sql": "SELECT usr FROM raw"}}
    expect_refused(tmp_path, "Table 'log'", "usr", tables=tables)


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz", "log.parquet"])
@pytest.mark.parametrize("twin", ["price", "PRICE"])
def test_column_is_named_twice(tmp_path: Path, name: str, twin: str) -> None:
    table = pa.Table.from_pylist(good_rows())
    twins = pa.table([*table.columns, table["time"]], names=[*table.column_names, twin])
    if name == "log.parquet":
        pq.write_table(twins, tmp_path / name)
    else:
        with pa.output_stream(str(tmp_path / name)) as file:
            pa.csv.write_csv(twins, file)
    expect_refused(
        tmp_path, "Table 'log'", name, f"{twin!r}", "named twice", tables={"log": {"path": name}}, **features(PRICE)
    )


def test_a_number_after_a_name_is_no_twin(tmp_path: Path) -> None:
    """`price` and `price_1` are two columns, as their header says."""
    write_table(tmp_path / "log.csv", [{**row, "price_1": 1} for row in good_rows()])
    store = prepare(data_config(tables=CSV, **features(PRICE)), tmp_path / "store", root=tmp_path)
    assert "price_1" in store.manifest.raw_columns["log"]


@pytest.mark.parametrize("column", ["price", "empty"])
def test_column_is_null_in_all_rows(tmp_path: Path, column: str) -> None:
    rows = [{**row, "price": None, "empty": None} for row in good_rows()]
    schema = pa.Table.from_pylist(good_rows()).schema.append(pa.field("empty", pa.null()))
    write_table(tmp_path / "log.parquet", rows, schema)
    expect_refused(tmp_path, f"Feature {column!r}", "table 'log'", "null in all 40 rows", "remove the feature",
            **features({"kind": "categorical", "column": column}))  # fmt: skip


def test_numbers_are_null_in_all_rows(tmp_path: Path) -> None:
    write_table(tmp_path / "log.csv", [{**row, "price": None} for row in good_rows()])
    expect_refused(tmp_path, "'price'", "table 'log'", "null in all 40 rows", tables=CSV, **features(PRICE))


def test_column_is_ambiguous(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", good_rows())
    write_table(tmp_path / "people.parquet", [{"user": f"u{n}", "price": 1.5} for n in range(5)])
    tables = {"log": {"path": "log.parquet"}, "people": {"path": "people.parquet"}}
    expect_refused(tmp_path, "'price'", "profiles and examples", "source", kind=ConfigError, tables=tables,
            profiles={"table": "people", "key": "user"}, **features(PRICE))  # fmt: skip


def test_one_of_the_given_tables_lacks_a_column(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        rows = [{key: value for key, value in row.items() if split != "valid" or key != "price"} for row in good_rows()]
        write_table(tmp_path / f"{split}.parquet", rows)
    names = ("train", "valid", "test")
    examples = {"table": {name: name for name in names}, "user": "user", "item": "item", "time": "time"}
    tables = {name: {"path": f"{name}.parquet"} for name in names}
    expect_refused(tmp_path, "'price'", "'valid'", "does not have", tables=tables, examples=examples,
            split={"by": "given"}, **features(PRICE))  # fmt: skip


def test_parts_of_a_table_differ(tmp_path: Path) -> None:
    """The second file has a text where the first has a number."""
    write_table(tmp_path / "log-1.parquet", good_rows())
    write_table(tmp_path / "log-2.parquet", [{**row, "price": "cheap"} for row in good_rows()])
    expect_refused(tmp_path, "log-2.parquet", "price", tables={"log": {"path": "log-*.parquet"}}, **features(PRICE))


def test_a_part_of_a_table_lacks_a_column(tmp_path: Path) -> None:
    write_table(tmp_path / "log-1.parquet", good_rows())
    write_table(tmp_path / "log-2.parquet", [{key: row[key] for key in row if key != "price"} for row in good_rows()])
    expect_refused(tmp_path, "log-2.parquet", "price", tables={"log": {"path": "log-*.parquet"}}, **features(PRICE))


@pytest.mark.slow
def test_rows_of_thousands_of_files_are_told_apart(tmp_path: Path) -> None:
    """A partition of hours over some years, say. The bad row is in the last of 4,100 files, the second row of it."""
    write_table(tmp_path / "0000.parquet", good_rows(3))
    for number in range(1, 4100):
        os.link(tmp_path / "0000.parquet", tmp_path / f"{number:04}.parquet")
    write_table(tmp_path / "9999.parquet", changed(good_rows(3), 1, click=7))
    words = ("9999.parquet, row 2: label click", "must be 0 or 1, got 7")
    expect_refused(tmp_path, *words, tables={"log": {"path": "*.parquet"}})


def test_too_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_FILES", 2)
    for number in range(3):
        write_table(tmp_path / f"log-{number}.parquet", good_rows())
    expect_refused(
        tmp_path, "at most 2 Parquet files", "3 fit tables.log.path", tables={"log": {"path": "log-*.parquet"}}
    )


def test_a_column_named_like_one_of_the_engine(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", [{**row, "File_Index": 0} for row in good_rows()])
    expect_refused(tmp_path, "log.parquet: 'File_Index'", "rename it")


@pytest.mark.parametrize("table", ["log", "people"])
def test_zone_is_missing_where_times_are_compared(tmp_path: Path, table: str) -> None:
    """Seconds since 1970 against the time of some clock: which clock decides what was before."""
    clock = [{**row, "time": datetime.fromtimestamp(row["time"], UTC).replace(tzinfo=None)} for row in good_rows()]
    write_table(tmp_path / "log.parquet", clock if table == "log" else good_rows())
    write_table(tmp_path / "people.parquet", good_rows() if table == "log" else clock)
    tables = {"log": {"path": "log.parquet"}, "people": {"path": "people.parquet"}}
    events = {"people": {"table": "people", "user": "user", "item": "item", "time": "time"}}
    expect_refused(
        tmp_path, "time zone", "data.timezone", "events.people.time", kind=ConfigError, tables=tables, events=events
    )


@pytest.mark.parametrize("table", ["log", "items"])
def test_zone_is_missing_where_ages_are_computed(tmp_path: Path, table: str) -> None:
    """The time of the request is a moment, that of the feature the time of some clock."""
    made = datetime(2020, 1, 1)
    write_table(tmp_path / "log.parquet", [row | ({"made": made} if table == "log" else {}) for row in good_rows()])
    write_table(tmp_path / "items.parquet", [{"item": f"i{n}", "made": made, "kind": "a"} for n in range(7)])
    tables = {name: {"path": f"{name}.parquet"} for name in ("log", "items")}
    age = {
        "kind": "timestamp",
        "column": "made",
        "parts": ["since"],
        "source": {"log": "examples"}.get(table, "catalog"),
    }
    sides = {"candidate": [{"kind": "categorical", "column": "item"}, age]}
    expect_refused(tmp_path, "time zone", "feature made_since (column 'made'", "data.timezone", kind=ConfigError,
            tables=tables, catalog={"table": "items", "key": "item"}, features=sides)  # fmt: skip


@pytest.mark.parametrize("place", ["catalog", "profiles"])
def test_an_age_cannot_be_read(tmp_path: Path, place: str) -> None:
    """Also where nothing but the age is computed, which the examples are joined for."""
    key = {"catalog": "item", "profiles": "user"}[place]
    write_table(tmp_path / "log.parquet", good_rows())
    values = ["2020-01-01", "last year", None, "2021-01-01", "2300-01-01", "2020-01-01", "2020-01-01"]
    write_table(tmp_path / "more.parquet", [{key: f"{key[0]}{n}", "made": made} for n, made in enumerate(values)])
    age = {"kind": "timestamp", "column": "made", "parts": ["since"]}
    sides = {"request": [{"kind": "categorical", "column": "user"}], "candidate": []}
    sides = {**sides, {"catalog": "candidate", "profiles": "request"}[place]: [age]}
    sections = {
        "tables": {name: {"path": f"{name}.parquet"} for name in ("log", "more")},
        "features": sides,
        "timezone": "UTC",
        place: {"table": "more", "key": key},
    }
    expect_refused(tmp_path, "table more", "row 2: feature made_since: expected a time, got last year", **sections)
    store = prepare(data_config(**sections), tmp_path / "rest", root=tmp_path, on_bad_rows="quarantine")
    assert store.manifest.segments[0].quarantined == 2


@pytest.mark.parametrize("part", ["hour", "weekday", "month"])
def test_zone_is_missing_where_days_count(tmp_path: Path, part: str) -> None:
    write_table(tmp_path / "log.parquet", good_rows())
    expect_refused(tmp_path, f"{part} of a time", "data.timezone", kind=ConfigError,
            **features({"kind": "timestamp", "parts": [part]}))  # fmt: skip


def test_zone_is_not_known(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", good_rows())
    expect_refused(tmp_path, "data.timezone", "'Europe/Berlim'", "IANA", timezone="Europe/Berlim")


@pytest.mark.parametrize("column", ["price", "time"])
def test_one_cell_of_a_csv_column_is_a_text(tmp_path: Path, column: str) -> None:
    """It makes texts of the whole column; the message names the cell all the same."""
    write_table(
        tmp_path / "log.csv", changed([{**row, column: str(row[column])} for row in good_rows()], 6, **{column: "dear"})
    )
    expect_refused(
        tmp_path, "table log", "log.csv, row 7", column, "expected a", "got dear", tables=CSV, **features(PRICE)
    )
