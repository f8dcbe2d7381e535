"""KuaiRand-Pure: short videos that were shown to users of Kuaishou, April and May 2022, and what they did.

Tables:
    log      the published columns and time (UTC, of time_ms): the two standard logs, then the one of random exposures,
             each in the order of its file; is_rand tells them apart
    users    user_id, and 30 features as published
    videos   video_id, and the basic features as published (tag: numbers cut at commas)

The published averages of each video (`video_features_statistic_pure.csv`) are no table: they are of the whole month,
so that as features they would tell of the days that are predicted.

C. Gao et al., "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos", CIKM 2022.
"""

from pathlib import Path

from hemix.data.public.tables import Converter, columns_of, fail, flag, read_text, text_literal

LOGS = (
    "log_standard_4_08_to_4_21_pure.csv",
    "log_standard_4_22_to_5_08_pure.csv",
    "log_random_4_22_to_5_08_pure.csv",
)
FLAGS = ("is_click", "is_like", "is_follow", "is_comment", "is_forward", "is_hate", "long_view")
LOG = {
    "user_id": "INTEGER",
    "video_id": "INTEGER",
    "date": "INTEGER",
    "hourmin": "SMALLINT",
    "time_ms": "BIGINT",
    **dict.fromkeys(FLAGS, "VARCHAR"),
    **dict.fromkeys(("play_time_ms", "duration_ms", "profile_stay_time", "comment_stay_time"), "BIGINT"),
    **dict.fromkeys(("is_profile_enter", "is_rand"), "VARCHAR"),
    "tab": "SMALLINT",
}
COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
ENCRYPTED = tuple(f"onehot_feat{index}" for index in range(18))
USERS = {
    "user_id": "INTEGER",
    "user_active_degree": "VARCHAR",
    **dict.fromkeys(("is_lowactive_period", "is_live_streamer", "is_video_author"), "DOUBLE"),
    **{name: kind for count in COUNTS for name, kind in ((count, "DOUBLE"), (f"{count}_range", "VARCHAR"))},
    **dict.fromkeys(ENCRYPTED, "DOUBLE"),
}
VIDEOS = {
    "video_id": "INTEGER",
    "author_id": "DOUBLE",
    "video_type": "VARCHAR",
    "upload_dt": "DATE",
    "upload_type": "VARCHAR",
    **dict.fromkeys(
        ("visible_status", "video_duration", "server_width", "server_height", "music_id", "music_type"), "DOUBLE"
    ),
    "tag": "VARCHAR",
}


def convert_kuairand(raw: Path, out: Path) -> None:
    """Tables from the three logs and the features of users and videos (CSV with headers). Raises InputError."""
    converter = Converter(out)
    parts: list[str] = []
    for number, name in enumerate(LOGS):
        _write(converter, f"log-{number}", raw / name, LOG, "make_timestamptz(time_ms * 1000) AS time")
        parts.append(text_literal(out / f"log-{number}.parquet"))
    converter.write("log", f"SELECT * FROM read_parquet([{', '.join(parts)}])", raw / LOGS[0])
    converter.drop(*(f"log-{number}" for number in range(len(LOGS))))
    _write(converter, "users", raw / "user_features_pure.csv", USERS)
    _write(converter, "videos", raw / "video_features_basic_pure.csv", VIDEOS)


def _write(converter: Converter, table: str, path: Path, columns: dict[str, str], *more: str) -> None:
    reader = read_text(path, columns_of(path, columns), delimiter=",", header=True, quote='"')
    values = (_value(name, kind) for name, kind in columns.items())
    numbered = f"(SELECT 1 + row_number() OVER () AS line, * FROM {reader})"
    converter.write(table, f"SELECT {', '.join((*values, *more))} FROM {numbered}", path)


def _value(name: str, kind: str) -> str:
    """Flags are 0 or 1; a column of whole numbers with gaps is published as 3.0, 4.0."""
    if name in LOG and kind == "VARCHAR":
        return flag(name)
    if kind == "DOUBLE":
        refused = fail(f"{name} must be a whole number, it is", name)
        whole = f"WHEN {name} = trunc({name}) THEN CAST({name} AS BIGINT)"
        return f"CASE WHEN {name} IS NULL THEN NULL {whole} ELSE CAST({refused} AS BIGINT) END AS {name}"
    return name
