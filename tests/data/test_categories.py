"""Values of a set: vocabularies, hashes, lists, tables that several features share, given start values."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.encoded import NAN, NUM_ROWS, column, encoded, md5_id, rows_of, values
from data.tables import UNKNOWN, Row, data_config, make_store, vocabulary, write_table
from hemix.batch import FIRST_ID, NULL_ID, PADDING_ID
from hemix.data.prepare import prepare
from hemix.errors import ConfigError, InputError


def test_categorical(tmp_path: Path) -> None:
    """Frequent values first, equals by value; nulls have their own id. a 15, b and c 10 each, d 5, null 20 times."""
    cells = ["a", "b", "c", "a", None, None, "a", "b", "c", "d", None, None]
    store = encoded(tmp_path, rows_of(kind=cells), {"kind": "categorical", "column": "kind"})
    assert vocabulary(store, "kind") == ["a", "b", "c", "d"]
    assert store.encoder.vocabularies["kind"].counts.tolist() == [15, 10, 10, 5]
    ids = {"a": FIRST_ID, "b": FIRST_ID + 1, "c": FIRST_ID + 2, "d": FIRST_ID + 3, None: NULL_ID}
    assert column(store, "kind")[:, 0].tolist() == [ids[cells[n % 12]] for n in range(NUM_ROWS)]
    assert {table.name: table.num_ids for table in store.inputs.tables} == {"kind": FIRST_ID + 4}


@pytest.mark.parametrize(
    ("limits", "known"),
    [
        ({"min_count": 5}, ["a", "b", "c", "d"]),
        ({"min_count": 6}, ["a", "b", "c"]),
        ({"min_count": 11}, ["a"]),
        ({"max_size": 2}, ["a", "b"]),
        ({"min_count": 6, "max_size": 9}, ["a", "b", "c"]),
    ],
)
def test_rare_values_are_unknown(tmp_path: Path, limits: Row, known: list[str]) -> None:
    cells = ["a", "b", "c", "a", None, None, "a", "b", "c", "d", None, None]
    store = encoded(tmp_path, rows_of(kind=cells), {"kind": "categorical", "column": "kind", **limits})
    assert vocabulary(store, "kind") == known
    expected = [cell if cell is None or cell in known else UNKNOWN for cell in cells]
    assert values(store, "kind") == expected * 5


def test_hash_buckets(tmp_path: Path) -> None:
    """The id is that of MD5, computed here by Python, also for lists, numbers and texts beyond ASCII."""
    cells, tags = ["a", "\N{GREEK SMALL LETTER ALPHA}", None], [["x", "y"], [], None, ["\N{SNOWMAN}"]]
    store = encoded(
        tmp_path,
        rows_of(kind=cells, tags=tags, number=[7, 12]),
        {"kind": "categorical", "column": "kind", "hash_buckets": 50},
        {"kind": "categorical", "column": "number", "hash_buckets": 10},
        {"kind": "multi_categorical", "column": "tags", "hash_buckets": 20, "max_length": 3},
    )
    for n in range(NUM_ROWS):
        cell, tag = cells[n % 3], tags[n % 4]
        assert column(store, "kind")[n] == (NULL_ID if cell is None else md5_id(cell, 50))
        assert column(store, "number")[n] == md5_id(["7", "12"][n % 2], 10)
        expected = [NULL_ID] if tag is None else [md5_id(text, 20) for text in tag]
        assert column(store, "tags")[n].tolist() == (expected + [PADDING_ID] * 3)[:3]
    assert {table.name: table.num_ids for table in store.inputs.tables} == {
        "kind": FIRST_ID + 50,
        "number": FIRST_ID + 10,
        "tags": FIRST_ID + 20,
    }


@pytest.mark.parametrize("form", ["list", "text"])
def test_multi_categorical(tmp_path: Path, form: str) -> None:
    """At most `max_length` values; null has the null id, an empty set is padding alone."""
    sets = [["a", "b", "c", "d"], ["b"], [], None, ["c", "a"]]
    cells = sets if form == "list" else ["a| b||c |d", "b", "", None, "c|a"]
    feature = {"kind": "multi_categorical", "column": "tags", "max_length": 3}
    store = encoded(tmp_path, rows_of(tags=cells), feature | ({"delimiter": "|"} if form == "text" else {}))
    expected = [["a", "b", "c"], ["b"], [], [None], ["c", "a"]]
    assert values(store, "tags") == expected * 12
    assert sorted(vocabulary(store, "tags")) == ["a", "b", "c"]
    assert column(store, "tags")[2].tolist() == [PADDING_ID] * 3
    assert store.inputs.candidate[0].width == 3


def test_nulls_within_a_list_are_left_out(tmp_path: Path) -> None:
    store = encoded(
        tmp_path, rows_of(tags=[[None, "a"], ["b", None, "a"]]), {"kind": "multi_categorical", "column": "tags"}
    )
    assert values(store, "tags")[:2] == [["a"], ["b", "a"]]


def test_a_shared_table(tmp_path: Path) -> None:
    """The category of the page and of the item are the same things: one vocabulary, counted over both."""
    rows = rows_of(page=["x", "y", "x"], kind=["y", "z"])
    sides = {
        "request": [{"kind": "categorical", "column": "page", "table": "category"}],
        "candidate": [
            {"kind": "categorical", "column": "kind", "table": "category"},
            {"kind": "multi_categorical", "column": "kind", "name": "kinds", "delimiter": " ", "table": "category"},
        ],
    }
    store = make_store(tmp_path, {"log": rows}, features=sides)
    counts = Counter(row["page"] for row in rows) + Counter(row["kind"] for row in rows * 2)
    known = dict(
        zip(vocabulary(store, "category"), store.encoder.vocabularies["category"].counts.tolist(), strict=True)
    )
    assert known == counts
    assert [table.name for table in store.inputs.tables] == ["category"]
    assert values(store, "page") == [row["page"] for row in rows]
    assert values(store, "kinds") == [[row["kind"]] for row in rows]


@pytest.mark.parametrize("change", [{"min_count": 2}, {"max_size": 9}, {"dim": 4}, {"hash_buckets": 10}])
def test_fields_of_a_shared_table_must_agree(tmp_path: Path, change: Row) -> None:
    features = [{"kind": "categorical", "column": name, "table": "both"} for name in ("page", "kind")]
    with pytest.raises(ConfigError, match="'page' and 'kind' share the table 'both' but differ in"):
        encoded(tmp_path, rows_of(page=["x"], kind=["y"]), features[0], features[1] | change)


def test_whole_numbers_are_the_same_value_in_any_type(tmp_path: Path) -> None:
    """Users, items and categories as 4, 4.0 or '4': tables join, and vocabularies are shared."""
    rows = [{**row, "user": float(n % 5), "item": n % 7, "rating": float(n % 3)} for n, row in enumerate(rows_of())]
    items = [{"item": f"{n}", "kind": n / 2} for n in range(7)]
    people = [{"user": n, "age": n} for n in range(5)]
    features = {
        "request": [{"kind": "categorical", "column": "age"}],
        "candidate": [{"kind": "categorical", "column": name} for name in ("item", "kind", "rating")],
    }
    sections = {"catalog": {"table": "items", "key": "item"}, "profiles": {"table": "people", "key": "user"}}
    store = make_store(tmp_path, {"log": rows, "items": items, "people": people}, features=features, **sections)
    assert sorted(vocabulary(store, "item")) == [f"{n}" for n in range(7)]
    assert sorted(vocabulary(store, "kind")) == ["0", "0.5", "1", "1.5", "2", "2.5", "3"]
    assert sorted(vocabulary(store, "rating")) == ["0", "1", "2"]
    assert values(store, "age") == [f"{n % 5}" for n in range(NUM_ROWS)]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (None, "pretrained must be a Parquet file of columns 'value' and 'vector'"),
        ({"value": ["a"], "vectors": [[1.0]]}, "pretrained must be a Parquet file of columns 'value' and 'vector'"),
        ({"value": ["a", "b"], "vector": [[1.0, 2.0], [1.0]]}, "equally long lists"),
        ({"value": ["a", "b"], "vector": [[1.0, 2.0], [1.0, NAN]]}, "NaN"),
    ],
)  # fmt: skip
def test_bad_start_values(tmp_path: Path, table: dict[str, Any] | None, words: str) -> None:
    if table is not None:
        pq.write_table(pa.table(table), tmp_path / "vectors.parquet")
    feature = {"kind": "categorical", "column": "kind", "pretrained": "vectors.parquet", "dim": 2}
    with pytest.raises(InputError, match=words):
        encoded(tmp_path, rows_of(kind=["a"]), feature)
    assert not (tmp_path / "store").exists()


def test_start_values_have_the_width_of_the_embedding(tmp_path: Path) -> None:
    pq.write_table(pa.table({"value": ["a"], "vector": [[1.0, 2.0]]}), tmp_path / "vectors.parquet")
    feature = {"kind": "categorical", "column": "kind", "pretrained": "vectors.parquet", "dim": 8}
    with pytest.raises(ConfigError, match="have 2 numbers but its dim is 8; set dim: 2"):
        encoded(tmp_path, rows_of(kind=["a"]), feature)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64()])
def test_not_a_number_is_no_value(tmp_path: Path, kind: pa.DataType) -> None:
    """Many tools write NaN where a column of whole numbers has a gap; Inf is a value like others."""
    rows = rows_of(kind=[1.0, NAN, 2.5, math.inf], tags=[[3.0, NAN], [4.0], None, [3.0]])
    names = ("user", "item", "time", "click", "kind", "tags")
    types = dict(zip(names, [pa.string(), pa.string(), pa.int64(), pa.int64(), kind, pa.list_(kind)], strict=True))
    write_table(tmp_path / "log.parquet", rows, pa.schema(types.items()))
    features = [{"kind": "categorical", "column": "kind"}, {"kind": "multi_categorical", "column": "tags"}]
    config = data_config(features={"candidate": [*features, {**features[0], "name": "hashed", "hash_buckets": 9}]})
    store = prepare(config, tmp_path / "store", root=tmp_path, threads=1)
    assert values(store, "kind") == ["1", None, "2.5", "inf"] * (NUM_ROWS // 4)
    assert values(store, "tags") == [["3"], ["4"], [None], ["3"]] * (NUM_ROWS // 4)
    assert [found is None for found in values(store, "hashed")] == [False, True, False, False] * (NUM_ROWS // 4)


def test_not_a_number_is_no_key(tmp_path: Path) -> None:
    rows = [{**row, "item": NAN if n == 3 else float(n)} for n, row in enumerate(rows_of())]
    with pytest.raises(InputError, match="row 4: column item: the item must not be null"):
        encoded(tmp_path, rows, {"kind": "categorical", "column": "item"})
