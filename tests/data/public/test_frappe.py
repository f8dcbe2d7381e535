"""Frappe in miniature, written as it is published."""

import re

import duckdb
import pytest

from hemix.data.public.frappe import FIELDS, convert_log, convert_split
from hemix.errors import InputError

ROW = "1 204:1 4798:1 5041:1 5046:1 5053:1 5055:1 5058:1 5060:1 5073:1 5183:1"


def write_split(raw, test=ROW):
    raw.mkdir()
    for part in ("train", "validation"):
        (raw / f"frappe.{part}.libfm").write_text(f"{ROW}\r\n-{ROW}\r\n", newline="")
    (raw / "frappe.test.libfm").write_text(test + "\r\n", newline="")


def test_the_split(tmp_path):
    write_split(tmp_path / "raw")
    convert_split(tmp_path / "raw", tmp_path)
    ids = (204, 4798, 5041, 5046, 5053, 5055, 5058, 5060, 5073, 5183)
    found = duckdb.execute(f"SELECT label, {', '.join(FIELDS)} FROM '{tmp_path / 'valid.parquet'}'").fetchall()
    assert found == [(1, *ids), (0, *ids)]
    assert len(duckdb.execute(f"FROM '{tmp_path / 'train.parquet'}'").fetchall()) == 2
    assert len(duckdb.execute(f"FROM '{tmp_path / 'test.parquet'}'").fetchall()) == 1


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (ROW.replace("1 204", "2 204"), "label must be 1 or -1, it is 2"),
        (ROW.replace("4798:1", "4798:0.5"), "item must be written <id>:1, it is 4798:0.5"),
        (ROW.replace("4798:1", ""), "Line: 1: item must be written <id>:1, it is empty"),
        (ROW.removeprefix("1"), "Line: 1: the label must be 1 or -1, it is empty"),
        (ROW.replace("5183:1", "city"), "city must be written <id>:1, it is city"),
        (ROW.rsplit(" ", 1)[0], "Line: 1.*Expected Number of Columns: 11 Found: 10"),
    ],
)
def test_a_bad_line_of_the_split(tmp_path, line, message):
    write_split(tmp_path / "raw", line)
    with pytest.raises(InputError, match=re.compile(rf"frappe\.test\.libfm .*{message}", re.DOTALL)):
        convert_split(tmp_path / "raw", tmp_path)


def test_the_log(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "frappe.csv").write_text(
        "user\titem\tcnt\tdaytime\tweekday\tisweekend\thomework\tcost\tweather\tcountry\tcity\n"
        "0\t0\t1\tmorning\tsunday\tweekend\tunknown\tfree\tsunny\tUnited States\t0\n"
        "2\t2\t6\tevening\tmonday\tworkday\thome\tpaid\tcloudy\tSpain\t369\n"
    )
    (raw / "meta.csv").write_text(
        "item\tpackage\tcategory\tdownloads\tdeveloper\ticon\tlanguage\tdescription\tname\tprice\trating\tshort desc\n"
        '0\tcom.a\tTools\t100+\t"""la Caixa"""\thttp://x\ten\t"Two\nlines"\tMóvil\tFree\t4.5\tshort\n'
        "1\tunknown\tunknown\tunknown\tunknown\tunknown\tunknown\tunknown\tunknown\tunknown\tunknown\tunknown\n",
        encoding="utf-8",
    )
    convert_log(raw, tmp_path)
    log = duckdb.execute(f"FROM '{tmp_path / 'log.parquet'}'").fetchall()
    assert log[1] == (2, 2, 6, "evening", "monday", "workday", "home", "paid", "cloudy", "Spain", "369")
    assert duckdb.execute(f"FROM '{tmp_path / 'apps.parquet'}'").fetchall() == [
        (0, "com.a", "Tools", "100+", '"la Caixa"', "en", "Móvil", "Free", 4.5),
        (1, None, None, None, None, None, None, None, None),
    ]


def test_a_bad_line_of_the_log(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "frappe.csv").write_text("a\tb\tc\td\te\tf\tg\th\ti\tj\tk\n0\t0\tmany\t1\t1\t1\t1\t1\t1\t1\t1\n")
    with pytest.raises(InputError, match=r"frappe\.csv .*Line: 2.*many"):
        convert_log(raw, tmp_path)
