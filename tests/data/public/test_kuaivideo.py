"""KuaiVideo_x1 in miniature, written as it is published."""

import io
import re

import duckdb
import numpy as np
import pytest

from data.public.test_taobao import common
from data.tables import decode
from hemix.data.prepare import prepare
from hemix.data.public.kuaivideo import convert_kuaivideo
from hemix.errors import InputError
from hemix.recipes import kuaivideo
from published_sequences import array

HEADER = "timestamp,user_id,item_id,is_click,is_like,is_follow,pos_items,neg_items"
TRAIN = [
    "1,7,0,1,1,0,,",
    "2,7,1,0,0,0,0,",
    "3,7,2,1,0,1,0,1",
    "3,7,3,0,0,0,0,1",
    "4,7,4,0,0,0,0^2,1^3",
    "4,8,2,1,0,0,,",
]
TEST = ["6,7,5,1,0,0,0^2,1^3^4", "7,7,0,0,0,0,0^2^5,1^3^4"]


def write(folder, train=TRAIN, test=TEST, header=HEADER, visual=None):
    folder.mkdir(exist_ok=True)
    for part, lines in (("train", train), ("test", test)):
        (folder / f"{part}.csv").write_text("\n".join([header, *lines]) + "\n")
    (folder / "visual64_select.npy").write_bytes(array(6) if visual is None else visual)


def table(folder, name):
    return duckdb.execute(f"FROM '{folder / f'{name}.parquet'}'").fetchall()


def test_tables(tmp_path):
    """An event has the last step at which it is not in the list yet."""
    write(tmp_path / "raw")
    convert_kuaivideo(tmp_path / "raw", tmp_path)
    log = table(tmp_path, "log")
    assert log[0] == ("train", 1.0, 7, 0, 1, 1, 0, 0, 0, 1)
    assert log[2] == ("train", 3.0, 7, 2, 1, 0, 1, 1, 1, 3)
    assert [row[0] for row in log] == ["train"] * 6 + ["test"] * 2
    assert [row[-1] for row in log] == [1, 2, 3, 3, 5, 1, 6, 7]
    assert table(tmp_path, "clicks") == [(7, 1, 0), (7, 3, 2), (7, 6, 5)]
    assert table(tmp_path, "passed") == [(7, 2, 1), (7, 3, 3), (7, 5, 4)]
    videos = table(tmp_path, "videos")
    assert [row[0] for row in videos] == list(range(6))
    vectors = np.load(tmp_path / "raw" / "visual64_select.npy")
    np.testing.assert_array_equal(np.array([row[1] for row in videos], np.float32), vectors)
    names = sorted(path.name for path in tmp_path.glob("*.parquet"))
    assert names == ["clicks.parquet", "log.parquet", "passed.parquet", "videos.parquet"]


def rows_of(store, split):
    """Label, video, clicked and passed videos before it of each row of a split, sorted."""
    found = []
    for row in decode(store.split(split)).values():
        histories = [[event["item_id"] for event in row.histories[name]] for name in ("clicks", "passed")]
        found.append((row.labels[0], row.values["item_id"], *histories))
    return sorted(found)


def test_split_labels_and_histories(tmp_path):
    """What a row has before it in the store is what its lists say; each vector is that of its video."""
    train = [*TRAIN, "9,7,1,0,0,0,0^2,1^3", "9,7,2,1,0,0,0^2,1^3"]
    write(tmp_path / "raw", train=train)
    convert_kuaivideo(tmp_path / "raw", tmp_path)
    store = prepare(common(kuaivideo().data), tmp_path / "store", root=tmp_path, threads=1)
    assert rows_of(store, "train") == [
        (0.0, "1", ["0"], []),
        (0.0, "3", ["0"], ["1"]),
        (0.0, "4", ["0", "2"], ["1", "3"]),
        (1.0, "0", [], []),
        (1.0, "2", [], []),
        (1.0, "2", ["0"], ["1"]),
    ]
    assert rows_of(store, "valid") == [
        (0.0, "1", ["0", "2"], ["1", "3"]),
        (1.0, "2", ["0", "2"], ["1", "3"]),
    ]
    new = "<unknown>"
    assert rows_of(store, "test") == [
        (0.0, "0", ["0", "2", new], ["1", "3", "4"]),
        (1.0, new, ["0", "2"], ["1", "3", "4"]),
    ]
    vectors = np.load(tmp_path / "raw" / "visual64_select.npy")
    batch = store.split("test").batch(np.arange(1))
    np.testing.assert_array_equal(batch.candidates.numbers.numpy(), vectors[[5]])
    np.testing.assert_array_equal(batch.requests.histories["clicks"].events.numbers[0].numpy(), vectors[[0, 2]])


def test_lists_that_grow_in_no_one_order_show_less(tmp_path):
    """Rows of (1, 0) and (0, 1) ids: neither can be said to come first, so neither sees the event of its list."""
    train = ["1,7,0,1,0,0,,", "2,7,1,0,0,0,0,", "3,7,2,1,0,0,,1"]
    write(tmp_path / "raw", train=train, test=["4,7,3,0,0,0,0,1"])
    convert_kuaivideo(tmp_path / "raw", tmp_path)
    assert [row[-1] for row in table(tmp_path, "log")] == [1, 2, 2, 3]
    assert table(tmp_path, "clicks") == [(7, 2, 0)]
    assert table(tmp_path, "passed") == [(7, 2, 1)]


@pytest.mark.parametrize(
    ("part", "lines", "message"),
    [
        ("train", ["1,7,0,3,1,0,,"], "Line: 2: is_click must be 0 or 1, it is 3"),
        (
            "train",
            [TRAIN[0], "1,7,6,0,0,0,,"],
            "Line: 3: item_id must be a row of visual64_select.npy, 0 to 5, it is 6",
        ),
        ("train", [TRAIN[0], "1,7,,0,0,0,,"], "Line: 3: item_id must be a row .* it is empty"),
        ("train", [TRAIN[0], "1,,1,0,0,0,,"], "Line: 3: user_id must be a number, it is empty"),
        ("test", [TEST[0], "inf,7,1,0,0,0,,"], "Line: 3: timestamp must be a number, it is inf"),
        ("test", [TEST[0], "noon,7,1,0,0,0,,"], "Line: 3.*noon"),
        ("train", [*TRAIN, "5,7,1,0,0,0,0^^2,"], "Line: 8: pos_items must be ids cut at .*, it is 0..2"),
        ("train", [*TRAIN, "5,7,1,0,0,0,2,"], "Line: 8: pos_items must be the beginning .*, it is 2"),
        ("test", [*TEST, "5,7,1,0,0,0,0,1^4"], "Line: 4: neg_items must be the beginning .*, it is 1.4"),
        ("train", ["1,7,0,1,1,0,"], "Line: 2.*Expected Number of Columns: 8 Found: 7"),
    ],
)
def test_a_bad_line(tmp_path, part, lines, message):
    write(tmp_path / "raw", **{part: lines})
    with pytest.raises(InputError, match=re.compile(rf"{part}\.csv is not in its published.*{message}", re.DOTALL)):
        convert_kuaivideo(tmp_path / "raw", tmp_path)


def test_a_wrong_header(tmp_path):
    write(tmp_path / "raw", header=HEADER.replace("is_click", "click"))
    with pytest.raises(InputError, match=r"train\.csv .* Line: 1: .*lacks is_click and has besides click"):
        convert_kuaivideo(tmp_path / "raw", tmp_path)


@pytest.mark.parametrize("file", ["train.csv", "test.csv", "visual64_select.npy"])
def test_a_missing_file(tmp_path, file):
    write(tmp_path / "raw")
    (tmp_path / "raw" / file).unlink()
    with pytest.raises(InputError, match=rf"{re.escape(file)} is missing"):
        convert_kuaivideo(tmp_path / "raw", tmp_path)


def saved(array):
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("visual", "message"),
    [
        (array(6)[:-7], "not a whole .npy file"),
        (b"\x89HDF\r\n\x1a\n", "not a whole .npy file"),
        (b"", "not a whole .npy file"),
        (saved(np.array([{}], object)), "not a whole .npy file"),
        (saved(np.zeros((6, 2048), np.float32)), r"matrix of fractions with 64 columns; this one is .* \(6, 2048\)"),
        (saved(np.zeros((6, 64), np.int64)), "this one is of int64"),
        (saved(np.zeros(64)), "has the shape"),
        (saved(np.full((6, 64), np.nan)), "has NaN or Inf in rows from 0 on"),
    ],
)
def test_a_wrong_array(tmp_path, visual, message):
    write(tmp_path / "raw", visual=visual)
    with pytest.raises(InputError, match=rf"visual64_select\.npy .*{message}"):
        convert_kuaivideo(tmp_path / "raw", tmp_path)
