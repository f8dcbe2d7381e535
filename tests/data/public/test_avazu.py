"""Avazu in miniature, written as it is published."""

import gzip
import re
from datetime import UTC, datetime

import duckdb
import pytest

from hemix.data.public.avazu import CODES, COLUMNS, NAMES, convert_avazu
from hemix.errors import InputError

HEADER = (
    "id,click,hour,C1,banner_pos,site_id,site_domain,site_category,app_id,app_domain,app_category,device_id,device_ip,"
    "device_model,device_type,device_conn_type,C14,C15,C16,C17,C18,C19,C20,C21"
)
ROW = (
    "1000009418151094273,0,14102100,1005,0,1fbe01fe,f3845767,28905ebd,ecad2386,7801e8d9,07d7df22,a99f214a,ddd2926e,"
    "44956a24,1,2,15706,320,50,1722,0,35,-1,79"
)
CLICKED = ROW.replace("1000009418151094273,0,14102100", "07,1,14103023")


def write(folder, *lines, header=HEADER):
    folder.mkdir(exist_ok=True)
    (folder / "train").write_text("".join(f"{line}\n" for line in (header, *lines)))


def test_rows_and_types(tmp_path):
    assert list(COLUMNS) == HEADER.split(",")
    write(tmp_path / "raw", *[ROW] * 11, CLICKED)
    convert_avazu(tmp_path / "raw", tmp_path)
    table = f"'{tmp_path / 'examples.parquet'}'"
    kinds = {name: kind for name, kind, *_ in duckdb.execute(f"DESCRIBE FROM {table}").fetchall()}
    assert list(kinds) == list(COLUMNS)
    assert {kinds[name] for name in ("id", *NAMES)} == {"VARCHAR"}
    assert {kinds[name] for name in ("C1", "banner_pos", *CODES)} == {"INTEGER"}
    assert (kinds["click"], kinds["hour"]) == ("TINYINT", "TIMESTAMP WITH TIME ZONE")
    rows = duckdb.execute(f"SELECT * REPLACE (epoch(hour) AS hour) FROM {table}").fetchall()
    hours = [datetime(2014, 10, 21, 0, tzinfo=UTC), datetime(2014, 10, 30, 23, tzinfo=UTC)]
    names = tuple(ROW.split(",")[5:14])
    codes = (1, 2, 15706, 320, 50, 1722, 0, 35, -1, 79)
    assert rows[0] == ("1000009418151094273", 0, hours[0].timestamp(), 1005, 0, *names, *codes)
    assert rows[11] == ("07", 1, hours[1].timestamp(), 1005, 0, *names, *codes)
    assert len(rows) == 12


def test_packed_as_published(tmp_path):
    """The same table from `train.gz`; a file that broke off is refused."""
    write(tmp_path / "raw", *[ROW] * 5000, CLICKED)
    convert_avazu(tmp_path / "raw", tmp_path)
    plain = (tmp_path / "raw" / "train").read_bytes()
    (tmp_path / "raw" / "train").unlink()
    packed = tmp_path / "raw" / "train.gz"
    packed.write_bytes(gzip.compress(plain))
    (tmp_path / "packed").mkdir()
    convert_avazu(tmp_path / "raw", tmp_path / "packed")
    query = "SELECT * REPLACE (epoch(hour) AS hour) FROM '{}'"
    files = [folder / "examples.parquet" for folder in (tmp_path, tmp_path / "packed")]
    tables = [duckdb.execute(query.format(file)).fetchall() for file in files]
    assert tables[0] == tables[1]
    whole = packed.read_bytes()
    for wrong in (whole[:-60], whole[:30], plain, whole[:-8] + bytes(4) + whole[-4:]):
        packed.write_bytes(wrong)
        with pytest.raises(InputError, match=r"train\.gz is not a whole gzip file \(.*\): remove it and get it again"):
            convert_avazu(tmp_path / "raw", tmp_path / "packed")


def test_columns_in_another_order(tmp_path):
    order = HEADER.split(",")[::-1]
    write(tmp_path / "raw", ",".join(ROW.split(",")[::-1]), header=",".join(order))
    convert_avazu(tmp_path / "raw", tmp_path)
    found = duckdb.execute(f"SELECT id, C1, C21 FROM '{tmp_path / 'examples.parquet'}'").fetchall()
    assert found == [("1000009418151094273", 1005, 79)]


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER.replace("id,click,", "id,"), "lacks click and has besides none"),
        (HEADER + ",C22", "lacks none and has besides C22"),
        (HEADER.replace("banner_pos", "position"), "lacks banner_pos and has besides position"),
        (HEADER + ",C21", "must name id"),
        (ROW, "lacks id, click"),
    ],
)
def test_a_wrong_header(tmp_path, header, message):
    write(tmp_path / "raw", ROW, header=header)
    with pytest.raises(InputError, match=rf"train is not in its published format: Line: 1: .*{message}"):
        convert_avazu(tmp_path / "raw", tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (CLICKED.replace(",1,14103023", ",2,14103023"), "Line: 3: click must be 0 or 1, it is 2"),
        (CLICKED.replace(",1,14103023", ",,14103023"), "Line: 3: click must be 0 or 1, it is empty"),
        (CLICKED.replace("14103023", "14103024"), "Line: 3: hour must be written YYMMDDHH, it is 14103024"),
        (CLICKED.replace("14103023", "1410303"), "Line: 3: hour must be written YYMMDDHH, it is 1410303"),
        (CLICKED.replace("14103023", ""), "Line: 3: hour must be written YYMMDDHH, it is empty"),
        (CLICKED.replace("1005", "wide"), "Line: 3.*wide"),
        (CLICKED.rsplit(",", 1)[0], "Line: 3.*Expected Number of Columns: 24 Found: 23"),
    ],
)
def test_a_bad_line(tmp_path, line, message):
    write(tmp_path / "raw", ROW, line)
    with pytest.raises(InputError, match=re.compile(rf"train .*{message}", re.DOTALL)):
        convert_avazu(tmp_path / "raw", tmp_path)


def test_a_missing_and_an_empty_file(tmp_path):
    with pytest.raises(InputError, match=r"train\.gz is missing"):
        convert_avazu(tmp_path, tmp_path)
    (tmp_path / "train").touch()
    with pytest.raises(InputError, match="train is empty"):
        convert_avazu(tmp_path, tmp_path)
