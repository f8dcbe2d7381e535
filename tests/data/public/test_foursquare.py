"""TSMC2014 in miniature, written as it is published."""

from datetime import UTC, datetime

import duckdb
import pytest

from hemix.data.public.foursquare import convert_nyc, convert_tky
from hemix.errors import InputError

LINES = (
    "470\t49bbd6c0f964a520f4531fe3\t4bf58dd8d48988d127951735\tArts & Crafts Store\t40.719810375488535\t"
    "-74.00258103213994\t-240\tTue Apr 03 18:00:09 +0000 2012\n"
    "979\t4a43c0aef964a520c6a61fe3\t4bf58dd8d48988d16d941735\tCafé\t40.6067\t-74.0441\t-300\t"
    "Sat Feb 16 02:35:36 +0000 2013\n"
    '470\t4a43c0aef964a520c6a61fe3\t4bf58dd8d48988d16d941735\tCafe "Two"\t40.6\t-74.0\t-300\t'
    "Sat Feb 16 02:35:36 +0000 2013\n"
)


def test_check_ins_and_venues(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "dataset_TSMC2014_NYC.txt").write_text(LINES, encoding="latin-1")
    convert_nyc(raw, tmp_path)
    checkins = f"'{tmp_path / 'checkins.parquet'}'"
    assert duckdb.execute(f"SELECT user_id, venue_id, epoch(time), utc_offset FROM {checkins}").fetchall() == [
        (470, "49bbd6c0f964a520f4531fe3", datetime(2012, 4, 3, 18, 0, 9, tzinfo=UTC).timestamp(), -240),
        (979, "4a43c0aef964a520c6a61fe3", datetime(2013, 2, 16, 2, 35, 36, tzinfo=UTC).timestamp(), -300),
        (470, "4a43c0aef964a520c6a61fe3", datetime(2013, 2, 16, 2, 35, 36, tzinfo=UTC).timestamp(), -300),
    ]
    kinds = dict(row[:2] for row in duckdb.execute(f"DESCRIBE SELECT * FROM {checkins}").fetchall())
    assert kinds["time"] == "TIMESTAMP WITH TIME ZONE"
    assert duckdb.execute(f"FROM '{tmp_path / 'venues.parquet'}'").fetchall() == [
        (
            "49bbd6c0f964a520f4531fe3",
            "4bf58dd8d48988d127951735",
            "Arts & Crafts Store",
            40.719810375488535,
            -74.00258103213994,
        ),
        ("4a43c0aef964a520c6a61fe3", "4bf58dd8d48988d16d941735", "Café", 40.6067, -74.0441),
    ]


def test_tokyo_has_a_file_of_its_own(tmp_path):
    with pytest.raises(InputError, match=r"dataset_TSMC2014_TKY\.txt is missing"):
        convert_tky(tmp_path, tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("Tue Apr 03 18:00:09 +0000 2012", "2012-04-03T18:00:09", "2012-04-03T18:00:09"),
        ("40.719810375488535", "north", r"Line: 1.*north"),
        ("\t-240", "", r"Line: 1.*utc_offset.*Tue Apr"),
        ("\t-240\tTue", "Tue", r"Line: 1"),
    ],
)
def test_a_bad_line_is_named(tmp_path, old, new, message):
    (tmp_path / "dataset_TSMC2014_NYC.txt").write_text(LINES.replace(old, new), encoding="latin-1")
    with pytest.raises(InputError, match=rf"dataset_TSMC2014_NYC\.txt .*{message}"):
        convert_nyc(tmp_path, tmp_path)
