"""Taobao's ads in miniature, written as Tianchi publishes them."""

import re

import duckdb
import pytest

from data.tables import decode
from hemix.data.prepare import prepare
from hemix.data.public.taobao import BEHAVIORS, TEST_BEGINS, USERS, convert_taobao
from hemix.errors import InputError
from hemix.recipes import taobao_ad
from hemix.schema import DataConfig, parse_config

SAMPLE = "user,time_stamp,adgroup_id,pid,nonclk,clk"
AD = "adgroup_id,cate_id,campaign_id,customer,brand,price"
USER = (
    "userid,cms_segid,cms_group_id,final_gender_code,age_level,pvalue_level,shopping_level,occupation,"
    "new_user_class_level "
)
BEHAVIOR = "user,time_stamp,btag,cate,brand"
EARLY, MIDNIGHT = 1494137644, TEST_BEGINS
"""7 May and 13 May 2017; the last second of 12 May is one before midnight."""
FILES = {
    "raw_sample.csv": [
        SAMPLE,
        f"234,{EARLY},1,430548_1007,1,0",
        f"234,{EARLY},2,430548_1007,0,1",
        f"234,{MIDNIGHT - 1},1,430539_1007,1,0",
        f"234,{MIDNIGHT - 1},2,430539_1007,0,1",
        f"581738,{EARLY},1,430548_1007,0,1",
        f"523,{MIDNIGHT},2,430548_1007,0,1",
        f"523,{MIDNIGHT + 60},1,430548_1007,1,0",
    ],
    "ad_feature.csv": [AD, "1,6406,83237,9,95471,170.0", "2,6250,83238,9,NULL,9.9", "3,7211,1,1,,1688.0"],
    "user_profile.csv": [USER, "234,0,5,2,5,,3,0,3", "523,5,2,2,2,1,3,1,"],
    "behavior_log.csv": [
        BEHAVIOR,
        f"234,{EARLY},buy,6250,91286",
        f"234,{EARLY - 5},pv,6406,95471",
        f"234,{EARLY - 9},cart,11800,62353",
        f"523,{MIDNIGHT + 60},pv,6250,1",
        f"523,{MIDNIGHT + 59},fav,6406,95471",
        f"523,{EARLY},pv,6250,91286",
        f"581738,{EARLY - 1},pv,6250,91286",
    ],
}


def write(folder, **changed):
    folder.mkdir(exist_ok=True)
    for name, lines in FILES.items():
        (folder / name).write_text("\n".join(changed.get(name.removesuffix(".csv"), lines)) + "\n")


def table(folder, name):
    return duckdb.execute(f"FROM '{folder / f'{name}.parquet'}'").fetchall()


def test_tables(tmp_path):
    write(tmp_path / "raw")
    convert_taobao(tmp_path / "raw", tmp_path)
    samples = table(tmp_path, "samples")
    assert samples[0] == (234, EARLY, 1, "430548_1007", 1, 0, "train", True)
    assert [row[6] for row in samples] == ["train"] * 5 + ["test"] * 2
    assert [row[7] for row in samples] == [True] * 4 + [False] + [True] * 2
    assert table(tmp_path, "ads") == [
        (1, 6406, 83237, 9, 95471, 170.0),
        (2, 6250, 83238, 9, None, 9.9),
        (3, 7211, 1, 1, None, 1688.0),
    ]
    assert table(tmp_path, "users") == [(234, 0, 5, 2, 5, None, 3, 0, 3), (523, 5, 2, 2, 2, 1, 3, 1, None)]
    behaviors = table(tmp_path, "behaviors")
    assert [",".join(map(str, row)) for row in behaviors] == FILES["behavior_log.csv"][1:]
    for name, columns in (("users", USERS), ("behaviors", BEHAVIORS)):
        described = duckdb.execute(f"DESCRIBE FROM '{tmp_path / f'{name}.parquet'}'").fetchall()
        assert {column: kind for column, kind, *_ in described} == columns


def test_rows_keep_the_order_of_the_file(tmp_path):
    """More rows than DuckDB reads or writes at once, each looked up among the users."""
    lines = [f"{n % 1000},{1494000000 + n},1,430548_1007,1,0" for n in range(150_000)]
    write(tmp_path / "raw", raw_sample=[SAMPLE, *lines])
    convert_taobao(tmp_path / "raw", tmp_path)
    found = duckdb.execute(
        f"SELECT count(*) FILTER (time_stamp - 1494000000 = place - 1), count(*) FILTER (has_profile) "
        f"FROM (SELECT *, row_number() OVER () AS place FROM '{tmp_path / 'samples.parquet'}')"
    ).fetchall()
    assert found == [(150_000, 300)]


def common(config):
    """The same data section, in which a value need not stand in ten rows."""
    return parse_config(DataConfig, _lowered(config.model_dump(mode="json", exclude_unset=True)), "data")


def _lowered(value):
    if isinstance(value, dict):
        return {key: 1 if key == "min_count" else _lowered(below) for key, below in value.items()}
    return [_lowered(below) for below in value] if isinstance(value, list) else value


def rows_of(store, split):
    """Label, ad, and category, brand and action of the events before it, of each row of a split, sorted."""
    found = []
    for row in decode(store.split(split)).values():
        events = [*row.histories["global"], *row.histories["real_time"]]
        history = [(event["cate_id"], event["brand"], event["btag"]) for event in events]
        found.append((row.labels[0], row.values["adgroup_id"], row.values["cate_id"], history))
    return sorted(found)


def test_split_labels_and_histories(tmp_path):
    """Users without a profile are left out; a behaviour at the very second of the ad is not before it."""
    write(tmp_path / "raw")
    convert_taobao(tmp_path / "raw", tmp_path)
    store = prepare(common(taobao_ad().data), tmp_path / "store", root=tmp_path, threads=1)
    before = [("11800", "62353", "cart"), ("6406", "95471", "pv")]
    assert rows_of(store, "train") == [(0.0, "1", "6406", before), (1.0, "2", "6250", before)]
    later = [*before, ("6250", "<unknown>", "<unknown>")]  # a purchase: no training row has one before it
    assert rows_of(store, "valid") == [(0.0, "1", "6406", later), (1.0, "2", "6250", later)]
    seen = ("6250", "<unknown>", "pv")
    assert rows_of(store, "test") == [
        (0.0, "1", "6406", [seen, ("6406", "95471", "<unknown>")]),
        (1.0, "2", "6250", [seen]),
    ]


def test_the_last_behaviours_are_kept(tmp_path):
    """Fifty of them, of which the last twenty are the real-time history."""
    log = [f"234,{EARLY - 1000 + n},pv,{n},{n}" for n in range(70)]
    write(tmp_path / "raw", behavior_log=[BEHAVIOR, *log])
    convert_taobao(tmp_path / "raw", tmp_path)
    store = prepare(common(taobao_ad().data), tmp_path / "store", root=tmp_path, threads=1)
    for row in decode(store.split("train")).values():
        histories = {name: [event["cate_id"] for event in events] for name, events in row.histories.items()}
        assert histories == {
            "global": [str(n) for n in range(20, 50)],
            "real_time": [str(n) for n in range(50, 70)],
        }


@pytest.mark.parametrize(
    ("file", "line", "message"),
    [
        ("raw_sample", f"234,{EARLY},1,430548_1007,1,1", "Line: 3: nonclk must be 1 - clk, it is 1"),
        ("raw_sample", f"234,{EARLY},1,430548_1007,5,0", "Line: 3: nonclk must be 0 or 1, it is 5"),
        ("raw_sample", f"234,{EARLY},1,430548_1007,1,", "Line: 3: nonclk must be 1 - clk"),
        ("raw_sample", f"234,{EARLY},,430548_1007,1,0", "Line: 3: adgroup_id must have a value, it is empty"),
        ("raw_sample", "234,noon,1,430548_1007,1,0", "Line: 3.*noon"),
        ("ad_feature", "7,1,1,1,none,1.0", "Line: 3: brand must be a number or NULL, it is none"),
        ("ad_feature", "7,1,1,1,1,cheap", "Line: 3.*cheap"),
        ("user_profile", "7,0,5,2,5,,3,0", "Line: 3.*Expected Number of Columns: 9 Found: 8"),
        ("user_profile", ",0,5,2,5,,3,0,3", "Line: 3: userid must have a value, it is empty"),
        ("behavior_log", f"234,{EARLY},click,1,1", "Line: 3: btag must be one of pv, cart, fav, buy, it is click"),
        ("behavior_log", f"234,{EARLY},pv,1,", "Line: 3: brand must have a value, it is empty"),
    ],
)
def test_a_bad_line(tmp_path, file, line, message):
    write(tmp_path / "raw", **{file: [*FILES[f"{file}.csv"][:2], line]})
    with pytest.raises(InputError, match=re.compile(rf"{file}\.csv is not in .*{message}", re.DOTALL)):
        convert_taobao(tmp_path / "raw", tmp_path)


@pytest.mark.parametrize("file", FILES)
def test_a_wrong_header_and_a_missing_file(tmp_path, file):
    write(tmp_path / "raw", **{file.removesuffix(".csv"): [FILES[file][0].replace("user", "nick") + ",x", "1"]})
    with pytest.raises(InputError, match=rf"{file} is not in its published format: Line: 1: .*has besides .*x\."):
        convert_taobao(tmp_path / "raw", tmp_path)
    (tmp_path / "raw" / file).unlink()
    with pytest.raises(InputError, match=rf"{re.escape(file)} is missing"):
        convert_taobao(tmp_path / "raw", tmp_path)
