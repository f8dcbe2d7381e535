"""Criteo in miniature, written as it is published."""

import re

import duckdb
import pytest

from hemix.data.public.criteo import CATEGORIES, NUMBERS, convert_criteo
from hemix.errors import InputError

FULL = ["1", *map(str, range(13)), *(f"{index:08x}" for index in range(26))]
EMPTY = ["0", *[""] * 39]
ODD = ["0", "", "-3", *["23159456"] * 11, "68fd1e64", *[""] * 24, "e5ba7672"]


def write(folder, *rows):
    folder.mkdir(exist_ok=True)
    (folder / "train.txt").write_text("".join("\t".join(row) + "\n" for row in rows))


def changed(index, value):
    return [*FULL[:index], value, *FULL[index + 1 :]]


def test_rows_numbers_and_categories(tmp_path):
    write(tmp_path / "raw", FULL, EMPTY, ODD, *[FULL] * 9)
    convert_criteo(tmp_path / "raw", tmp_path)
    table = f"'{tmp_path / 'examples.parquet'}'"
    kinds = {name: kind for name, kind, *_ in duckdb.execute(f"DESCRIBE FROM {table}").fetchall()}
    assert kinds == {"row": "BIGINT", "label": "TINYINT"} | dict.fromkeys(NUMBERS, "INTEGER") | dict.fromkeys(
        CATEGORIES, "VARCHAR"
    )
    rows = duckdb.execute(f"FROM {table}").fetchall()
    assert [row[0] for row in rows] == list(range(12))
    assert rows[0] == (0, 1, *range(13), *FULL[14:])
    assert rows[1] == (1, 0, *[None] * 39)
    assert rows[2] == (2, 0, None, -3, *[23_159_456] * 11, "68fd1e64", *[None] * 24, "e5ba7672")


@pytest.mark.slow
def test_rows_keep_the_order_of_the_file(tmp_path):
    """More rows than DuckDB reads or writes at once."""
    num_rows = 150_000
    write(tmp_path / "raw", *([str(n % 2), str(n), *[""] * 37, "0a"] for n in range(num_rows)))
    convert_criteo(tmp_path / "raw", tmp_path)
    found = duckdb.execute(
        f"SELECT count(*), count(*) FILTER (row = I1), count(*) FILTER (row = place - 1) FROM "
        f"(SELECT *, row_number() OVER () AS place FROM '{tmp_path / 'examples.parquet'}')"
    ).fetchall()
    assert found == [(num_rows, num_rows, num_rows)]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (changed(0, "2"), "Line: 3: label must be 0 or 1, it is 2"),
        (changed(0, ""), "Line: 3: label must be 0 or 1, it is empty"),
        (changed(5, "many"), "Line: 3.*many"),
        (changed(5, "3000000000"), "Line: 3.*3000000000"),
        (changed(14, "68fd1e64a"), "Line: 3: C1-C26 must be .*68fd1e64a"),
        (changed(39, "home page"), "Line: 3: C1-C26 must be .*home page"),
        (FULL[:-1], "Line: 3.*Expected Number of Columns: 40 Found: 39"),
        ([*FULL, "1"], "Line: 3.*Expected Number of Columns: 40 Found: 41"),
    ],
)
def test_a_bad_line(tmp_path, row, message):
    write(tmp_path / "raw", FULL, EMPTY, row)
    with pytest.raises(InputError, match=re.compile(rf"train\.txt .*{message}", re.DOTALL)):
        convert_criteo(tmp_path / "raw", tmp_path)


def test_a_missing_and_an_empty_file(tmp_path):
    with pytest.raises(InputError, match=r"train\.txt is missing"):
        convert_criteo(tmp_path, tmp_path)
    (tmp_path / "train.txt").touch()
    with pytest.raises(InputError, match=r"train\.txt is empty"):
        convert_criteo(tmp_path, tmp_path)
