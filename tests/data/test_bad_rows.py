"""Rows that break a rule: refused with their place, or set aside into a quarantine file."""

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from data.refusals import changed, expect_refused, good_rows
from data.tables import Row, data_config, decode_all, write_table
from hemix.data.prepare import prepare

CSV = {"log": {"path": "log.csv"}}
NAN, INF = float("nan"), float("inf")
BAD_CELLS: dict[str, tuple[dict[str, Any], str]] = {
    "null user": ({"user": None}, "column user: the user must not be null"),
    "null item": ({"item": None}, "column item: the item must not be null"),
    "null time": ({"time": None}, "column time: expected a time"),
    "time in milliseconds": (
        {"time": 1_700_000_000_000},
        "column time: a time must lie between 1970 and 2200 (unit is now 's': is it s, ms, us or ns?), got 17000000",
    ),
    "time in microseconds": ({"time": 1_700_000_000_000_000}, "is it s, ms, us or ns?), got 1700000000000000"),
    "time in nanoseconds": ({"time": 1_700_000_000_000_000_000}, "is it s, ms, us or ns?), got 1700000000000000000"),
    "time before 1970": ({"time": -5}, "a time must lie between 1970 and 2200"),
    "null label": ({"click": None}, "label click (column click) must be 0 or 1, got null"),
    "label of 2": ({"click": 2}, "label click (column click) must be 0 or 1, got 2"),
    "negative label": ({"click": -1}, "must be 0 or 1, got -1"),
    "label in between": ({"click": 0.5}, "must be 0 or 1, got 0.5"),
    "label NaN": ({"click": NAN}, "must be 0 or 1, got nan"),
    "null in the label's SQL": ({"rating": None}, "label liked (SQL rating >= 4) must be 0 or 1, got null"),
    "number NaN": ({"price": NAN}, "feature price: NaN or Inf; leave the value empty"),
    "number Inf": ({"price": -INF}, "feature price: NaN or Inf; leave the value empty"),
    "weight null": ({"weight": None}, "the weight must be a finite number >= 0, got null"),
    "weight negative": ({"weight": -0.5}, "the weight must be a finite number >= 0, got -0.5"),
    "weight NaN": ({"weight": NAN}, "the weight must be a finite number >= 0, got nan"),
    "weight Inf": ({"weight": INF}, "the weight must be a finite number >= 0, got inf"),
    "latitude": ({"lat": 90.5}, "feature place_h3_6: latitude must be in -90..90 and longitude in -180..180, got"),
    "latitude NaN": ({"lat": NAN}, "feature place_h3_6: latitude must be in -90..90"),
    "longitude": ({"lon": -181.0}, "latitude must be in -90..90 and longitude in -180..180, got"),
    "vector too short": ({"image": [1.0]}, "feature image: a vector must have 2 finite numbers, got [1.0]"),
    "vector with NaN": ({"image": [1.0, NAN]}, "feature image: a vector must have 2 finite numbers, got [1.0, nan]"),
    "vector with null": ({"image": [1.0, None]}, "feature image: a vector must have 2 finite numbers"),
    "text of a date": ({"born": "1990-13-01"}, "feature born_month: expected a time, got 1990-13-01"),
    "request": ({"page": None}, "column page: the request must not be null"),
}  # fmt: skip


def rich_rows() -> list[Row]:
    more = {"weight": 1.0, "lat": 1.0, "lon": 2.0, "image": [1.0, 2.0], "born": "1990-12-01", "page": "a"}
    return [{**row, **more, "click": float(row["click"]), "rating": 4 - n % 2} for n, row in enumerate(good_rows())]


def rich_sections() -> dict[str, Any]:
    return {
        "examples": {"table": "log", "user": "user", "item": "item", "time": "time", "request": "page"},
        "labels": [{"name": "click"}, {"name": "liked", "sql": "rating >= 4"}],
        "weight": "weight",
        "timezone": "UTC",
        "features": {
            "request": [
                {"kind": "geo", "name": "place", "latitude": "lat", "longitude": "lon"},
                {"kind": "timestamp", "column": "born", "parts": ["month"]},
            ],
            "candidate": [{"kind": "numeric", "column": "price"}, {"kind": "vector", "column": "image", "size": 2}],
        },
    }


@pytest.mark.parametrize("name", BAD_CELLS)
def test_bad_cell(tmp_path: Path, name: str) -> None:
    values, reason = BAD_CELLS[name]
    write_table(tmp_path / "log.parquet", changed(rich_rows(), 17, **values))
    message = expect_refused(tmp_path, "table log", "log.parquet, row 18: ", reason, **rich_sections())
    assert message.startswith("Bad row in ")
    assert message.endswith("Mend the rows, or set them aside with --on-bad-rows quarantine.")
    assert "such rows in all" not in message


def test_all_bad_cells_at_once_in_quarantine(tmp_path: Path) -> None:
    """Every bad row is in the file with its place and reason; the good ones are in the store, as if alone."""
    rows = rich_rows()
    for number, (values, _) in enumerate(BAD_CELLS.values()):
        rows = changed(rows, number + 2, **values)
    write_table(tmp_path / "log.parquet", rows)
    config = data_config(**rich_sections())
    store = prepare(config, tmp_path / "store", root=tmp_path, on_bad_rows="quarantine")
    segment = store.manifest.segments[0]
    assert segment.quarantined == len(BAD_CELLS)
    with (store.path / segment.folder / "quarantine.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    assert [(row["table"], row["file"]) for row in found] == [("log", "log.parquet")] * len(BAD_CELLS)
    assert [int(row["row"]) for row in found] == [number + 3 for number in range(len(BAD_CELLS))]
    for row, (_, reason) in zip(found, BAD_CELLS.values(), strict=True):
        assert reason in row["reason"]
    good = [number for number in range(len(rows)) if not 2 <= number < 2 + len(BAD_CELLS)]
    assert sorted(decode_all(store)) == good
    write_table(tmp_path / "log.parquet", [rows[number] for number in good])
    alone = prepare(config, tmp_path / "alone", root=tmp_path)
    assert store.manifest.encoder == alone.manifest.encoder
    assert [example.values for example in decode_all(store).values()] == [
        example.values for example in decode_all(alone).values()
    ]


@pytest.mark.parametrize("time", [NAN, INF, 1.7e15, 1.7e300])
def test_bad_time_that_is_a_fraction(tmp_path: Path, time: float) -> None:
    rows = [{**row, "time": row["time"] + 0.5} for row in good_rows()]
    write_table(tmp_path / "log.parquet", changed(rows, 2, time=time))
    expect_refused(tmp_path, "row 3: column time: a time must lie between 1970 and 2200", "got")


def test_several_bad_rows_are_counted(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", [{**row, "click": row["click"] * 3} for row in good_rows()])
    expect_refused(tmp_path, "row 2: ", "got 3 (20 such rows in all)")


def test_a_condition_spares_bad_rows(tmp_path: Path) -> None:
    """Rows that the configuration leaves out need not be good."""
    write_table(tmp_path / "log.parquet", changed(good_rows(), 4, click=9))
    examples = {"table": "log", "user": "user", "item": "item", "time": "time", "where": "click < 2"}
    assert len(decode_all(prepare(data_config(examples=examples), tmp_path / "store", root=tmp_path))) == 39


@pytest.mark.parametrize("name", ["log.csv", "log.csv.gz"])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("u1,i1,1700000004,0,2.0,surplus", "too many columns, in line 6: 'u1,i1,1700000004,0,2.0,surplus'"),
        ("u1,i1,1700000004", "too few columns, in line 6: 'u1,i1,1700000004'"),
        ('"u1,i1,1700000004,0,2.0', "a quote is not closed"),
    ],
)
def test_csv_line_is_broken(tmp_path: Path, name: str, line: str, reason: str) -> None:
    lines = write_table(tmp_path / "good.csv", good_rows()).read_text().splitlines()
    lines[5] = line
    content = ("\n".join(lines) + "\n").encode()
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    expect_refused(tmp_path, "able", "log", f"{name}, row 5: ", reason, tables={"log": {"path": name}})


def test_csv_lines_in_quarantine(tmp_path: Path) -> None:
    """Rows behind broken lines keep their place: those with a label of 7, whether or not others were read."""
    broken, bad = (0, 4, 5, 20), (1, 3, 6, 19, 21, 39)
    rows = [{**row, "click": 7} if number in bad else row for number, row in enumerate(good_rows())]
    header, *lines = write_table(tmp_path / "log.csv", rows).read_text().splitlines()
    lines = [f"{line},surplus" if number in broken else line for number, line in enumerate(lines)]
    (tmp_path / "log.csv").write_text("\n".join([header, *lines]) + "\n")
    store = prepare(data_config(tables=CSV), tmp_path / "store", root=tmp_path, on_bad_rows="quarantine")
    segment = store.manifest.segments[0]
    with (store.path / segment.folder / "quarantine.csv").open(newline="") as file:
        found = {int(row["row"]): row["reason"] for row in csv.DictReader(file)}
    assert segment.quarantined == len(found) == len(broken) + len(bad)
    assert {row - 1 for row, reason in found.items() if "too many columns" in reason} == set(broken)
    assert {row - 1 for row, reason in found.items() if "got 7" in reason} == set(bad)
    assert segment.total("rows") == 40 - len(found)


def test_csv_without_a_header(tmp_path: Path) -> None:
    """The first line is row 1."""
    lines = write_table(tmp_path / "log.csv", good_rows()).read_text().splitlines()[1:]
    lines[3] += ",surplus"
    (tmp_path / "log.csv").write_text("\n".join(lines) + "\n")
    columns = ["user", "item", "time", "click", "price"]
    expect_refused(
        tmp_path, "log.csv, row 4: ", "too many columns", tables={"log": {"path": "log.csv", "columns": columns}}
    )


@pytest.mark.parametrize("ending", ["csv", "parquet", "jsonl"])
def test_the_place_is_that_in_its_file(tmp_path: Path, ending: str) -> None:
    """Of several files, the one with the bad row is named, and its own row number."""
    write_table(tmp_path / f"log-1.{ending}", good_rows())
    write_table(tmp_path / f"log-2.{ending}", changed(good_rows(), 3, click=5))
    expect_refused(tmp_path, f"log-2.{ending}, row 4: ", "got 5", tables={"log": {"path": f"log-*.{ending}"}})


@pytest.mark.parametrize("ending", [".jsonl", ".jsonl.gz"])
def test_lines_that_are_no_json(tmp_path: Path, ending: str) -> None:
    """Cut off, followed by something, of another kind, not UTF-8: each is named; rows after them keep their place."""
    lines = [json.dumps(row).encode() for row in changed(good_rows(), 20, click=5)]
    lines[3], lines[7], lines[9], lines[12] = lines[3][:20], lines[7] + b" x", b"[1, 2]", b'{"user": "\xff"}'
    write = gzip.compress if ending.endswith(".gz") else bytes
    (tmp_path / f"log-1{ending}").write_bytes(write(b"\n".join([*lines[:5], b"", *lines[5:]])))
    (tmp_path / f"log-2{ending}").write_bytes(write(b"\n".join(lines[:2])))
    tables = {"log": {"path": f"log-*{ending}"}}
    expect_refused(
        tmp_path,
        f'table log, file {tmp_path}/log-1{ending}, row 4: not a JSON object, in line 4: \'{{"user"',
        tables=tables,
    )
    store = prepare(data_config(tables=tables), tmp_path / "rest", root=tmp_path, on_bad_rows="quarantine", threads=1)
    with (store.path / store.manifest.segments[0].folder / "quarantine.csv").open(newline="") as file:
        found = [(row["file"], int(row["row"]), row["reason"]) for row in csv.DictReader(file)]
    assert [row[:2] for row in found] == [(f"log-1{ending}", row) for row in (4, 8, 10, 13, 21)]
    assert [reason.split(":")[0] for _, _, reason in found[:4]] == [
        f"not a JSON object, in line {line}" for line in (4, 9, 11, 14)
    ]
    assert "label click" in found[4][2]
    assert store.split("train").num_rows == 40 - 5 + 2


def test_no_line_is_json(tmp_path: Path) -> None:
    (tmp_path / "log.jsonl").write_text("user,item\nu1,i1\n")
    expect_refused(tmp_path, "Table 'log'", "no line of", "is a JSON object", tables={"log": {"path": "log.jsonl"}})


def test_the_place_in_one_of_the_given_tables(tmp_path: Path) -> None:
    tables = {name: {"path": f"{name}.parquet"} for name in ("train", "valid", "test")}
    for name in tables:
        write_table(tmp_path / f"{name}.parquet", changed(good_rows(), 6, click=int(name == "valid") * 4))
    examples = {"table": {name: name for name in tables}, "user": "user", "item": "item", "time": "time"}
    expect_refused(tmp_path, "table valid", "valid.parquet, row 7: ", tables=tables, examples=examples)


def test_unknown_split(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", changed([{**row, "part": "train"} for row in good_rows()], 2, part="dev"))
    split = {"by": "given", "column": "part"}
    expect_refused(tmp_path, "row 3: column part: the split must be train, valid or test, got dev", split=split)


EVENTS = {"events": {"events": {"table": "events", "user": "user", "item": "item", "time": "time"}}}


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"user": None}, "column user: the user must not be null"),
        ({"item": None}, "column item: the item must not be null"),
        ({"time": None}, "column time: expected a time"),
        ({"time": 10**13}, "a time must lie between 1970 and 2200"),
    ],
)
def test_bad_event(tmp_path: Path, values: Row, reason: str) -> None:
    write_table(tmp_path / "log.parquet", good_rows())
    write_table(tmp_path / "events.parquet", changed(good_rows(), 11, **values))
    tables = {name: {"path": f"{name}.parquet"} for name in ("log", "events")}
    expect_refused(tmp_path, "table events", "events.parquet, row 12: ", reason, tables=tables, **EVENTS)


@pytest.mark.parametrize("place", ["catalog", "profiles"])
def test_keys_that_stand_twice(tmp_path: Path, place: str) -> None:
    """Two rows with one key; two versions with one start. In quarantine the first stays."""
    write_table(tmp_path / "log.parquet", good_rows())
    key = {"catalog": "i2", "profiles": "u2"}[place]
    rows = [{"key": f"{key[0]}{n}", "since": 0, "kind": f"kind{n}"} for n in range(5)]
    write_table(tmp_path / "things.csv", [*rows, {"key": key, "since": 9, "kind": "other"}])
    feature = {"kind": "categorical", "column": "kind"}
    side = {"catalog": "candidate", "profiles": "request"}[place]
    sections = {
        "tables": {"log": {"path": "log.parquet"}, "things": {"path": "things.csv"}},
        "features": {side: [feature], {"request": "candidate", "candidate": "request"}[side]: []},
        place: {"table": "things", "key": "key"},
    }
    reason = f"the {place} must have one row per key; this is another one with key {key}"
    expect_refused(tmp_path, "table things", "things.csv, row 6: ", reason, **sections)
    store = prepare(data_config(**sections), tmp_path / "new", root=tmp_path, on_bad_rows="quarantine")
    assert store.manifest.segments[0].quarantined == 1
    kinds = {example.values["kind"] for example in decode_all(store).values()}
    assert "other" not in kinds
    assert "kind2" in kinds
    versioned = {**sections, place: {"table": "things", "key": "key", "valid_from": "since"}}
    prepare(data_config(**versioned), tmp_path / "versioned", root=tmp_path)
    write_table(tmp_path / "things.csv", [*rows, {"key": key, "since": 0, "kind": "other"}])
    expect_refused(tmp_path, "things.csv, row 6: ", f"{reason}, 0", **versioned)


@pytest.mark.parametrize("place", ["catalog", "profiles"])
def test_bad_entity(tmp_path: Path, place: str) -> None:
    write_table(tmp_path / "log.parquet", good_rows())
    rows = [{"key": f"i{n}", "size": float(n)} for n in range(7)]
    side = {"catalog": "candidate", "profiles": "request"}[place]
    sections = {
        "tables": {"log": {"path": "log.parquet"}, "things": {"path": "things.parquet"}},
        "features": {side: [{"kind": "numeric", "column": "size"}]},
        place: {"table": "things", "key": "key"},
    }
    write_table(tmp_path / "things.parquet", changed(rows, 4, key=None))
    expect_refused(tmp_path, "things.parquet, row 5: column key: the key must not be null", **sections)
    write_table(tmp_path / "things.parquet", changed(rows, 4, size=INF))
    expect_refused(tmp_path, "things.parquet, row 5: feature size: NaN or Inf", **sections)


def test_a_masked_label_may_be_null(tmp_path: Path) -> None:
    """What follows a click is not known without one; after one it must be."""
    rows = [{**row, "order": 1 - n % 3 // 2 if row["click"] else None} for n, row in enumerate(good_rows())]
    labels = [{"name": "click"}, {"name": "order", "mask": "click"}]
    write_table(tmp_path / "log.parquet", rows)
    store = prepare(data_config(labels=labels), tmp_path / "new", root=tmp_path)
    for row, example in decode_all(store).items():
        order = rows[row]["order"]
        assert str(example.labels) == str([float(rows[row]["click"]), NAN if order is None else float(order)])
    write_table(tmp_path / "log.parquet", changed(rows, 3, order=None))
    expect_refused(tmp_path, "row 4: label order (column order) must be 0 or 1, got null", labels=labels)
