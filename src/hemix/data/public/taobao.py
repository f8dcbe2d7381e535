"""Taobao ads: display ads that were clicked or not, 6 to 13 May 2017, and 22 days of what their users did in the shop.

Tables:
    samples     the published columns, part (test: 13 May in China) and has_profile: whether `users` has the user
    ads         adgroup_id, cate_id, campaign_id, customer, brand (null: not known), price
    users       userid, and eight features as published; an empty cell is null
    behaviors   user, time_stamp, btag (pv, cart, fav, buy), cate, brand, in the order of the file

Times are seconds since 1970. A behaviour names category and brand, no product.

Alibaba, "Ad Display/Click Data on Taobao.com", Tianchi data set 56, 2018.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path

from hemix.data.public.tables import Converter, columns_of, fail, flag, read_text, text_literal

TEST_BEGINS = 1_494_604_800
"""13 May 2017, 00:00 in China."""
ACTIONS = ("pv", "cart", "fav", "buy")
PROFILE = (
    "cms_segid",
    "cms_group_id",
    "final_gender_code",
    "age_level",
    "pvalue_level",
    "shopping_level",
    "occupation",
    "new_user_class_level",
)
SAMPLES = {
    **dict.fromkeys(("user", "time_stamp", "adgroup_id"), "INTEGER"),
    **dict.fromkeys(("pid", "nonclk", "clk"), "VARCHAR"),
}
ADS = {
    **dict.fromkeys(("adgroup_id", "cate_id", "campaign_id", "customer"), "INTEGER"),
    "brand": "VARCHAR",
    "price": "DOUBLE",
}
USERS = {"userid": "INTEGER", **dict.fromkeys(PROFILE, "INTEGER")}
BEHAVIORS = {"user": "INTEGER", "time_stamp": "INTEGER", "btag": "VARCHAR", "cate": "INTEGER", "brand": "INTEGER"}
FILES = {"users": "user_profile", "samples": "raw_sample", "ads": "ad_feature", "behaviors": "behavior_log"}
"""Each table, and the name of its file."""


def convert_taobao(raw: Path, out: Path) -> None:
    """Tables from the four files of Tianchi (`raw_sample.csv` and so on, with headers). Raises InputError."""
    converter = Converter(out)
    _write(converter, raw, "users", USERS, USERS, "userid")
    profiled = f"user IN (SELECT userid FROM {text_literal(out / 'users.parquet')}) AS has_profile"
    part = f"CASE WHEN time_stamp >= {TEST_BEGINS} THEN 'test' ELSE 'train' END AS part"
    samples = ("user", "time_stamp", "adgroup_id", "pid", flag("nonclk"), flag("clk"), part, profiled)
    opposite = ("nonclk must be 1 - clk, it is", "nonclk", "nonclk <> clk")
    _write(converter, raw, "samples", SAMPLES, samples, *samples[:4], rule=opposite)
    ads = ("adgroup_id", "cate_id", "campaign_id", "customer", "TRY_CAST(brand AS INTEGER) AS brand", "price")
    number = ("brand must be a number or NULL, it is", "brand", "regexp_full_match(coalesce(brand, ''), '[0-9]*|NULL')")
    _write(converter, raw, "ads", ADS, ads, "adgroup_id", rule=number)
    actions = ", ".join(map(text_literal, ACTIONS))
    action = (f"btag must be one of {', '.join(ACTIONS)}, it is", "btag", f"btag IN ({actions})")
    _write(converter, raw, "behaviors", BEHAVIORS, BEHAVIORS, *BEHAVIORS, rule=action)


def _write(
    converter: Converter,
    raw: Path,
    table: str,
    columns: Mapping[str, str],
    select: Iterable[str],
    *filled: str,
    rule: tuple[str, str, str] | None = None,
) -> None:
    """Write a table whose columns `filled` have a value in every row; `rule`: a text, its column, its condition."""
    path = raw / f"{FILES[table]}.csv"
    reader = read_text(path, columns_of(path, columns), delimiter=",", header=True)
    rules = [(f"{name} must have a value, it is", name, f"{name} IS NOT NULL") for name in filled]
    rules += [] if rule is None else [rule]
    refused = " ".join(f"WHEN NOT coalesce({good}, false) THEN {fail(text, name)}" for text, name, good in rules)
    converter.write(
        table,
        f"SELECT {', '.join(select)} FROM (SELECT 1 + row_number() OVER () AS line, * FROM {reader}) "
        f"WHERE CAST(CASE {refused} ELSE 'true' END AS BOOLEAN)",
        path,
    )
