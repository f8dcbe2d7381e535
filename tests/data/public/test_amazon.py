"""AmazonElectronics_x1 in miniature, written as it is published."""

import re

import duckdb
import pytest

from data.tables import decode
from hemix.data.prepare import prepare
from hemix.data.public.amazon import convert_amazon
from hemix.errors import InputError
from hemix.recipes import amazon_electronics

HEADER = "label,user_id,item_id,cate_id,item_history,cate_history"
TRAIN = [
    "0,0,16,1,10^11,1^2",
    "1,1,10,1,11,2",
    "1,0,12,1,10^11,1^2",
    "1,0,11,2,10,1",
    "0,0,15,3,10,1",
    "1,0,13,3,10^11^12,1^2^1",
    "0,1,14,2,11,2",
    "0,0,15,3,10^11^12,1^2^1",
]
TEST = [
    "1,0,14,2,10^11^12^13,1^2^1^3",
    "0,0,16,1,10^11^12^13,1^2^1^3",
    "1,1,13,3,11^10,2^1",
    "0,1,15,3,11^10,2^1",
]


def write(folder, train=TRAIN, test=TEST, header=HEADER):
    folder.mkdir(exist_ok=True)
    for part, lines in (("train", train), ("test", test)):
        (folder / f"{part}.csv").write_text("\n".join([header, *lines]) + "\n")


def table(folder, name):
    return duckdb.execute(f"FROM '{folder / f'{name}.parquet'}'").fetchall()


def test_tables(tmp_path):
    """Two users of five and three reviews."""
    write(tmp_path / "raw")
    convert_amazon(tmp_path / "raw", tmp_path)
    assert table(tmp_path, "reviews") == [(0, n, 10 + n) for n in range(5)] + [(1, 0, 11), (1, 1, 10), (1, 2, 13)]
    assert table(tmp_path, "items") == [(10, 1), (11, 2), (12, 1), (13, 3), (14, 2), (15, 3), (16, 1)]
    assert table(tmp_path, "examples") == [
        ("train", 0, 0, 16, 2),
        ("train", 1, 1, 10, 1),
        ("train", 1, 0, 12, 2),
        ("train", 1, 0, 11, 1),
        ("train", 0, 0, 15, 1),
        ("train", 1, 0, 13, 3),
        ("train", 0, 1, 14, 1),
        ("train", 0, 0, 15, 3),
        ("test", 1, 0, 14, 4),
        ("test", 0, 0, 16, 4),
        ("test", 1, 1, 13, 2),
        ("test", 0, 1, 15, 2),
    ]
    names = sorted(path.name for path in tmp_path.glob("*.parquet"))
    assert names == ["examples.parquet", "items.parquet", "reviews.parquet"]


def rows_of(store, split):
    """Label, item and whole history of each row of a split, sorted."""
    found = []
    for row in decode(store.split(split)).values():
        events = [*row.histories["global"], *row.histories["real_time"]]
        found.append((row.labels[0], row.values["item_id"], [(e["item_id"], e["cate_id"]) for e in events]))
    return sorted(found)


def test_split_labels_and_histories(tmp_path):
    """What a row has before it in the store is what its lists say. Training knows items 10-12, 15 and 16."""
    write(tmp_path / "raw")
    convert_amazon(tmp_path / "raw", tmp_path)
    store = prepare(amazon_electronics().data, tmp_path / "store", root=tmp_path, threads=1)
    new = "<unknown>"
    ten, eleven, twelve, thirteen = ("10", "1"), ("11", "2"), ("12", "1"), (new, "3")
    assert rows_of(store, "train") == [
        (0.0, "15", [ten]),
        (0.0, "16", [ten, eleven]),
        (1.0, "11", [ten]),
        (1.0, "12", [ten, eleven]),
    ]
    assert rows_of(store, "valid") == [
        (0.0, "15", [ten, eleven, twelve]),
        (0.0, new, [eleven]),
        (1.0, "10", [eleven]),
        (1.0, new, [ten, eleven, twelve]),
    ]
    assert rows_of(store, "test") == [
        (0.0, "15", [eleven, ten]),
        (0.0, "16", [ten, eleven, twelve, thirteen]),
        (1.0, new, [ten, eleven, twelve, thirteen]),
        (1.0, new, [eleven, ten]),
    ]
    assert [store.split(name).num_requests for name in ("train", "valid", "test")] == [2, 2, 2]


def test_the_test_rows_may_validate(tmp_path):
    """As in BARS: all training rows train, and both other splits are the test part."""
    write(tmp_path / "raw")
    convert_amazon(tmp_path / "raw", tmp_path)
    store = prepare(amazon_electronics(validate_on_test=True).data, tmp_path / "store", root=tmp_path, threads=1)
    assert store.split("train").num_rows == 8
    assert rows_of(store, "valid") == rows_of(store, "test")
    assert len(rows_of(store, "test")) == 4


@pytest.mark.parametrize(
    ("part", "lines", "message"),
    [
        ("train", [*TRAIN, "2,0,11,2,10,1"], "Line: 10: label must be 0 or 1, it is 2"),
        ("train", [TRAIN[0], "1,,11,2,10,1"], "Line: 3: a row must have ids .* it is 1,11,2,10,1"),
        ("train", [TRAIN[0], "1,0,11,2,10^11,1"], "Line: 3: a row must have ids .* it is 1,0,11,2,10.11,1"),
        ("train", [TRAIN[0], "1,0,11,2,,"], "Line: 3: a row must have ids"),
        ("train", [TRAIN[0], "1,0,11,2,10|9,1^1"], "Line: 3: a row must have ids"),
        ("train", [TRAIN[0], "1,0,many,2,10,1"], "Line: 3.*many"),
        ("train", [*TRAIN[:3], "1,0,11,2,10"], "Line: 5.*Expected Number of Columns: 6 Found: 5"),
        ("train", ["0,0,16,1,10^12,1^2", *TRAIN[1:]], "Line: 2: item_history and .* item_history is 10.12"),
        ("train", ["0,0,16,1,10^11,1^1", *TRAIN[1:]], "Line: 2: item_history and .* item_history is 10.11"),
        ("test", [*TEST[:2], "1,1,14,2,11^10,2^1", "1,1,13,3,11^10^14,2^1^1"], "Line: 4: item_history and .* 11.10"),
        ("test", [*TEST, "0,2,15,3,11,2"], "Line: 6: item_history and .* item_history is 11"),
        ("train", ["0,0,16,2,10^11,1^2", *TRAIN[1:]], "item 16 must have one category, it has 1 and 2"),
    ],
)
def test_a_bad_line(tmp_path, part, lines, message):
    write(tmp_path / "raw", **{part: lines})
    with pytest.raises(InputError, match=re.compile(rf"{part}\.csv is not in its published.*{message}", re.DOTALL)):
        convert_amazon(tmp_path / "raw", tmp_path)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("clk,user_id,item_id,cate_id,item_history,cate_history", "lacks label and has besides clk"),
        (HEADER + ",time", "lacks none and has besides time"),
        (TRAIN[0], "lacks label, user_id"),
    ],
)
def test_a_wrong_header(tmp_path, header, message):
    write(tmp_path / "raw", header=header)
    with pytest.raises(InputError, match=rf"train\.csv is not in its published format: Line: 1: .*{message}"):
        convert_amazon(tmp_path / "raw", tmp_path)


@pytest.mark.parametrize("part", ["train", "test"])
def test_a_missing_and_an_empty_file(tmp_path, part):
    write(tmp_path / "raw")
    (tmp_path / "raw" / f"{part}.csv").write_text("")
    with pytest.raises(InputError, match=rf"{part}\.csv is empty"):
        convert_amazon(tmp_path / "raw", tmp_path)
    (tmp_path / "raw" / f"{part}.csv").unlink()
    with pytest.raises(InputError, match=rf"{part}\.csv is missing"):
        convert_amazon(tmp_path / "raw", tmp_path)
