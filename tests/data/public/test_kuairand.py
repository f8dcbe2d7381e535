"""KuaiRand-Pure in miniature, written as it is published."""

import re
from datetime import date

import duckdb
import pytest

from hemix.data.public.kuairand import LOGS, convert_kuairand
from hemix.errors import InputError

LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view,"
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab"
)
USER = (
    "user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num,"
    "follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range,register_days,"
    "register_days_range," + ",".join(f"onehot_feat{index}" for index in range(18))
)
VIDEO = (
    "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width,server_height,"
    "music_id,music_type,tag"
)
SHOWN = "17387,6,20220421,400,1650485801301,1,0,0,0,0,0,1,151024,104400,0,0,0,0,1"
RANDOM = "0,10,20220422,1600,1650617167095,0,0,0,0,0,0,0,1405,170833,0,0,0,1,14"
PERSON = '0,full_active,0,-124,1,5,"(0,10]",312,"[100,1k)",0,0,3624,730+,' + ",".join(map(str, range(18)))
GAPS = '17387,UNKNOWN,0,0,0,0,0,0,0,0,0,107,91-180,0,1,,1153,14.0,33,0,,453,3,2,1,,,0.0,1.0,0.0,""'
FILM = '6,441,NORMAL,2020-07-08,ShortImport,1.0,17200.0,720.0,1280.0,9155697141,4.0,"12,65"'
BARE = "10,8839734,AD,2022-04-10,Kmovie,,,,,0,,"
FILES = {
    LOGS[0]: [LOG, *[SHOWN] * 10],
    LOGS[1]: [LOG, SHOWN.replace("17387,6", "17387,10")],
    LOGS[2]: [LOG, RANDOM],
    "user_features_pure.csv": [USER, PERSON, GAPS],
    "video_features_basic_pure.csv": [VIDEO, FILM, BARE],
}


def write(folder, **changed):
    folder.mkdir(exist_ok=True)
    for name, lines in FILES.items():
        (folder / name).write_text("\n".join(changed.get(name.removesuffix(".csv"), lines)) + "\n", encoding="utf-8")


def test_the_log(tmp_path):
    write(tmp_path / "raw")
    convert_kuairand(tmp_path / "raw", tmp_path)
    table = f"'{tmp_path / 'log.parquet'}'"
    kinds = {name: kind for name, kind, *_ in duckdb.execute(f"DESCRIBE FROM {table}").fetchall()}
    assert list(kinds) == [*LOG.split(","), "time"]
    assert (kinds["time"], kinds["is_rand"], kinds["time_ms"]) == ("TIMESTAMP WITH TIME ZONE", "TINYINT", "BIGINT")
    rows = duckdb.execute(f"SELECT * EXCLUDE (time), epoch_ms(time) FROM {table}").fetchall()
    assert [row[1] for row in rows] == [6] * 10 + [10, 10]
    assert rows[0] == (*map(int, SHOWN.split(",")), 1650485801301)
    assert rows[11] == (*map(int, RANDOM.split(",")), 1650617167095)
    assert sorted(path.name for path in tmp_path.glob("*.parquet")) == [
        "log.parquet",
        "users.parquet",
        "videos.parquet",
    ]


def test_users_and_videos(tmp_path):
    write(tmp_path / "raw")
    convert_kuairand(tmp_path / "raw", tmp_path)
    known, gaps = duckdb.execute(f"FROM '{tmp_path / 'users.parquet'}'").fetchall()
    assert known[:8] == (0, "full_active", 0, -124, 1, 5, "(0,10]", 312)
    assert known[8:13] == ("[100,1k)", 0, "0", 3624, "730+")
    assert known[13:] == tuple(range(18))
    assert gaps[13:] == (0, 1, None, 1153, 14, 33, 0, None, 453, 3, 2, 1, None, None, 0, 1, 0, None)
    film, bare = duckdb.execute(f"FROM '{tmp_path / 'videos.parquet'}'").fetchall()
    assert film[:5] == (6, 441, "NORMAL", date(2020, 7, 8), "ShortImport")
    assert film[5:] == (1, 17200, 720, 1280, 9155697141, 4, "12,65")
    assert bare == (10, 8839734, "AD", date(2022, 4, 10), "Kmovie", None, None, None, None, 0, None, None)


def test_columns_in_another_order(tmp_path):
    turned = [",".join(line.split(",")[::-1]) for line in (LOG, SHOWN)]
    write(tmp_path / "raw", **{LOGS[1].removesuffix(".csv"): turned})
    convert_kuairand(tmp_path / "raw", tmp_path)
    rows = duckdb.execute(f"SELECT * EXCLUDE (time) FROM '{tmp_path / 'log.parquet'}'").fetchall()
    assert rows[0] == rows[10]


@pytest.mark.parametrize(
    ("file", "lines", "message"),
    [
        (LOGS[1], [LOG, SHOWN, SHOWN.replace(",1,0,0,0,0,0,1,", ",3,0,0,0,0,0,1,")], "Line: 3: is_click .* it is 3"),
        (LOGS[2], [LOG, RANDOM.replace(",1,14", ",,14")], "Line: 2: is_rand must be 0 or 1, it is empty"),
        (LOGS[0], [LOG, SHOWN.replace("1650485801301", "noon")], "Line: 2.*noon"),
        (LOGS[0], [LOG, SHOWN + ",1"], "Line: 2.*Expected Number of Columns: 19 Found: 20"),
        (LOGS[0], [LOG + ",is_good", SHOWN + ",1"], "Line: 1: .*lacks none and has besides is_good"),
        (LOGS[0], [LOG.replace("tab", "page"), SHOWN], "Line: 1: .*lacks tab and has besides page"),
        ("user_features_pure.csv", [USER, PERSON, PERSON.replace("3624", "36.5")], "Line: 3: register_days .* 36.5"),
        ("user_features_pure.csv", [USER, PERSON.replace("3624", "inf")], "register_days|INT64"),
        ("user_features_pure.csv", [VIDEO, PERSON], "Line: 1: .*lacks user_id"),
        ("video_features_basic_pure.csv", [VIDEO, FILM.replace("2020-07-08", "July")], "Line: 2.*July"),
        ("video_features_basic_pure.csv", [VIDEO, FILM.replace(',"12,65"', "")], "Line: 2.*Found: 11"),
    ],
)
def test_a_bad_line(tmp_path, file, lines, message):
    write(tmp_path / "raw", **{file.removesuffix(".csv"): lines})
    with pytest.raises(InputError, match=re.compile(rf"{re.escape(file)} is not in .*{message}", re.DOTALL)):
        convert_kuairand(tmp_path / "raw", tmp_path)


@pytest.mark.parametrize("file", FILES)
def test_a_missing_file(tmp_path, file):
    write(tmp_path / "raw")
    (tmp_path / "raw" / file).unlink()
    with pytest.raises(InputError, match=rf"{re.escape(file)} is missing"):
        convert_kuairand(tmp_path / "raw", tmp_path)
