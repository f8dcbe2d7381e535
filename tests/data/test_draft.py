import math
import random
from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import drafted_tables
from drafted_tables import START, awkward_names, flat, shop, write_csv, write_parquet
from hemix.config import parse_config
from hemix.config_file import parse_yaml
from hemix.data.draft import draft, write_draft
from hemix.data.prepare import prepare
from hemix.errors import InputError
from hemix.experiment import Experiment, load_experiment


def section(text: str) -> dict:
    """The `data` section of a draft, as a reader of the file sees it."""
    return parse_yaml(text, "draft")["data"]


def features(text: str, side: str) -> dict[str, dict]:
    found = section(text)["features"].get(side, [])
    return {feature.get("name") or str(feature.get("column", "time")): feature for feature in found}


def drafted(make, folder: Path) -> str:
    return draft(make(folder), root=folder)


@pytest.fixture(scope="module")
def shop_text(tmp_path_factory) -> str:
    return drafted(shop, tmp_path_factory.mktemp("shop"))


@pytest.mark.parametrize("make", drafted_tables.ALL, ids=lambda make: make.__name__)
def test_every_draft_validates_and_prepares(make, tmp_path):
    out = write_draft(make(tmp_path), tmp_path / "experiment.yaml")
    experiment = load_experiment(out)
    store = prepare(experiment.data, tmp_path / "store", root=tmp_path)
    assert store.split("train").num_rows > 0
    assert store.split("test").num_rows > 0


def test_the_shop_is_understood(shop_text):
    data = section(shop_text)
    assert data["examples"]["user"] == "visitor"
    assert data["examples"]["item"] == "sku"
    assert data["examples"]["time"] == {"column": "seen_at"}
    assert data["labels"] == [{"name": "clicked", "column": "clicked"}]
    assert data["profiles"] == {"table": "shoppers", "key": "visitor"}
    assert data["catalog"] == {"table": "goods", "key": "sku"}
    assert data["events"]["history"]["features"] == [{"kind": "categorical", "column": "clicked"}]
    assert {history["cut"] for history in data["histories"].values()} == {"same_day"}
    assert "QUALIFY row_number()" in data["tables"]["shoppers"]["sql"], "a repeated key is dropped"
    request, candidate, pair = (features(shop_text, side) for side in ("request", "candidate", "pair"))
    assert request["request_place"]["kind"] == "geo"
    assert candidate["tags"]["kind"] == "multi_categorical"
    assert candidate["colours"]["delimiter"] == "|"
    assert pair["slot"]["served_as"] == "0"
    assert pair["distance"] == {
        "kind": "distance",
        "name": "distance",
        "origin": "request_place",
        "target": "place",
    }


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ("dwell_seconds", "may hold the label: its value decides the label"),
        ("click_token", "may hold the label: its value decides the label"),
        ("basket_value", "by its name known only after the request"),
        ("last_seen", "a time that moves on"),
        ("impression", "nearly every row has a value of its own"),
        ("title", "like the key"),
        ("description", "free text, 18 words on average"),
        ("site", "the same value in every row"),
        ("nothing", "null in every row"),
    ],
)
def test_what_is_left_out_has_a_reason(shop_text, column, reason):
    comments = [line.strip() for line in shop_text.splitlines() if f"left out: {column} (" in line]
    assert len(comments) == 1
    assert reason in comments[0]
    assert f"column: {column}" not in shop_text


KEYS = ["user: visitor", "item: sku", "time: {", "profiles: {", "catalog: {", "by: time", "- {name: clicked"]


@pytest.mark.parametrize("key", KEYS)
def test_every_guess_has_a_comment(shop_text, key):
    lines = shop_text.splitlines()
    first = next(index for index, line in enumerate(lines) if line.strip().startswith(key))
    assert "  # " in lines[first] + lines[first - 1]


def test_every_feature_has_a_comment(shop_text):
    listed = [line for line in shop_text[: shop_text.index("events:")].splitlines() if "- {kind: " in line]
    assert len(listed) > 10
    assert all("  # " in line for line in listed)


def test_awkward_names_values_and_types(tmp_path):
    text = drafted(awkward_names, tmp_path)
    data = section(text)
    assert data["labels"] == [{"name": "liked", "sql": "\"liked\" = 'Yes'"}]
    assert data["examples"]["where"] == '"User Id" IS NOT NULL AND "liked" IS NOT NULL'
    assert "try_strptime" in data["tables"]["table_1st_log"]["sql"]
    assert data["split"]["by"] == "time"
    assert "left out: broken (18 rows hold NaN or Inf" in text
    pair = features(text, "pair")
    assert pair["vector"] == {"kind": "vector", "column": "vector", "size": 4}
    assert pair["true"]["column"] == "true"
    assert pair["example_time"]["column"] == "time"
    assert features(text, "candidate")["catalog_time"]["source"] == "catalog"


def test_a_flat_file_has_no_user_and_no_history(tmp_path):
    text = drafted(flat, tmp_path)
    data = section(text)
    assert "user" not in data["examples"]
    assert "events" not in data
    assert data["split"]["by"] == "random"
    assert parse_yaml(text, "draft")["model"]["name"] == "dlrm"
    assert "# user: no column looks like one" in text


def test_actions_become_a_label_and_an_event_feature(tmp_path):
    data = section(drafted(drafted_tables.actions, tmp_path))
    assert data["labels"] == [{"name": "transaction", "sql": "\"event\" = 'transaction'"}]
    assert data["events"]["history"]["features"] == [{"kind": "categorical", "column": "event"}]
    assert data["examples"]["time"] == {"column": "timestamp", "unit": "ms"}


def test_ratings_of_another_scale_and_days_in_another_format(tmp_path):
    data = section(drafted(drafted_tables.ratings, tmp_path))
    assert data["labels"][0]["sql"] == '"stars" >= 8.5'
    assert data["examples"]["time"] == {"column": "when", "format": "%d.%m.%Y"}
    assert "try_strptime" in data["examples"]["where"]
    assert {history["cut"] for history in data["histories"].values()} == {"last_k"}
    assert data["catalog"] == {"table": "books", "key": "ISBN"}
    assert data["profiles"] == {"table": "readers", "key": "id"}


def test_files_of_a_split_and_files_of_days(tmp_path):
    data = section(drafted(drafted_tables.parts, tmp_path))
    assert data["examples"]["table"] == {"train": "train", "valid": "valid", "test": "test"}
    data = section(drafted(drafted_tables.impressions_and_log, tmp_path))
    assert data["tables"]["imps_1"] == {"path": ["imps-1.csv", "imps-2.csv"]}
    assert data["events"]["history"]["table"] == "reads"
    assert data["events"]["history"]["user"] == "userId"


@pytest.mark.parametrize(("unit", "factor"), [("s", 1), ("ms", 1_000), ("us", 1_000_000), ("ns", 1_000_000_000)])
def test_units_of_time_by_size(tmp_path, unit, factor):
    rows = [
        {"user": n % 7, "item": n % 5, "ts": int(START.timestamp() + 3600 * n) * factor, "click": n * 7 % 3 % 2}
        for n in range(300)
    ]
    data = section(draft([write_csv(tmp_path / "log.csv", rows)], root=tmp_path))
    assert data["examples"]["time"] == {"column": "ts", "unit": unit}


def test_a_split_by_time_that_would_hold_one_label_is_not_drafted(tmp_path):
    rows = [
        {"user": n % 7, "item": n % 5, "ts": int(START.timestamp()) + n, "click": int(n < 150 and n % 2)}
        for n in range(300)
    ]
    data = section(draft([write_csv(tmp_path / "log.csv", rows)], root=tmp_path))
    assert data["split"]["by"] == "random"


@pytest.mark.parametrize("leak", ["equal", "negated", "only_with_label", "nearly"])
def test_a_column_that_tells_the_label_is_left_out(tmp_path, leak):
    def value(n: int, label: int) -> object:
        return {
            "equal": label,
            "negated": 1 - label,
            "only_with_label": n if label else "",
            "nearly": label * 1000 + n % 90,
        }[leak]

    rows = [
        {"user": n % 7, "item": n % 5, "click": (label := n * 13 % 3 % 2), "tell": value(n, label), "fine": n % 4}
        for n in range(400)
    ]
    text = draft([write_csv(tmp_path / "log.csv", rows)], root=tmp_path)
    assert "left out: tell (may hold the label" in text
    assert "fine" in features(text, "request")


def test_paths_start_at_the_file(tmp_path):
    (tmp_path / "raw").mkdir()
    files = flat(tmp_path / "raw")
    out = write_draft(files, tmp_path / "conf" / "mine.yaml")
    values = yaml.safe_load(out.read_text(encoding="utf-8"))
    assert values["data"]["tables"]["click_log"]["path"] == "../raw/click log.tsv"
    assert values["name"] == "mine"


def test_an_existing_file_is_kept_unless_forced(tmp_path):
    files = flat(tmp_path)
    out = tmp_path / "experiment.yaml"
    out.write_text("mine")
    with pytest.raises(InputError, match=r"experiment\.yaml exists already.*--force"):
        write_draft(files, out)
    assert out.read_text() == "mine"
    write_draft(files, out, force=True)
    assert out.read_text().startswith("# Drafted by")


def bad_file(folder: Path, name: str, content: bytes) -> list[Path]:
    (folder / name).write_bytes(content)
    return [folder / name]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"", r"empty \(0 bytes\)"),
        ("a.csv", b"user,item,click\n", "columns but no row"),
        ("a.xlsx", b"PK", r"the ending of .*a\.xlsx says no format"),
        ("a.parquet", b"not parquet at all", r"a\.parquet\) cannot be read"),
        ("a.csv", b"user,item,colour\n1,2,red\n2,3,blue\n", "needs something to predict.*user, item, colour"),
        ("a.csv", b"user,user,click\n1,2,0\n2,3,1\n", "'user' is named twice"),
        ("a.csv", b"user,item,click\n1,2,0\n2,3,0\n", "needs something to predict"),
        ("a.csv", b"click,site\n1,a\n0,a\n", "predict click from; site: the same value in every row"),
    ],
)
def test_a_file_that_cannot_be_drafted_from(tmp_path, name, content, message):
    out = tmp_path / "experiment.yaml"
    with pytest.raises(InputError, match=message):
        write_draft(bad_file(tmp_path, name, content), out)
    assert not out.exists()


def test_missing_repeated_or_no_files(tmp_path):
    with pytest.raises(InputError, match=r"There is no file .*none\.csv"):
        draft([tmp_path / "none.csv"])
    with pytest.raises(InputError, match="at least one file"):
        draft([])
    file = flat(tmp_path)[0]
    with pytest.raises(InputError, match="named twice"):
        draft([file, file])


def test_lines_that_do_not_parse_are_told(tmp_path):
    lines = "".join(f"{n % 7},{n % 5},{n % 2}\n" for n in range(100))
    path = tmp_path / "log.csv"
    path.write_text("user,item,click\n" + lines + "1,2,0,4,5\n" + lines)
    assert "1 lines do not parse: mend them" in draft([path], root=tmp_path)


NAMES = ["user_id", "item", "ts", "when", "price", "lat", "lon", "city", "tags", "note", "x y", "select", "rating"]
VALUES = {
    "whole": lambda dice: dice.randrange(-50, 50),
    "key": lambda dice: dice.randrange(8),
    "real": lambda dice: dice.gauss(0, 1e3),
    "nan": lambda dice: dice.choice([math.nan, 1.5, -2.0]),
    "word": lambda dice: dice.choice(["a", "b", "it's", 'say "x"', "c|d", "a|b", "", "\u00e9\u00df"]),
    "text": lambda dice: " ".join(str(dice.randrange(99)) for _ in range(9)),
    "time": lambda dice: START + timedelta(seconds=dice.randrange(10**6)),
    "flag": lambda dice: dice.random() < 0.5,
    "list": lambda dice: dice.sample(["u", "v", "w"], dice.randrange(4)),
    "same": lambda dice: "same",
}


@pytest.mark.slow
@settings(max_examples=20, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    kinds=st.dictionaries(st.sampled_from(NAMES), st.sampled_from(sorted(VALUES)), min_size=1, max_size=7),
    nulls=st.sets(st.sampled_from(NAMES)),
    empty=st.sets(st.sampled_from(NAMES), max_size=1),
    seed=st.integers(0, 99),
)
def test_any_table_with_a_label_gives_a_draft_that_prepares(kinds, nulls, empty, seed, tmp_path_factory):
    dice, folder = random.Random(seed), tmp_path_factory.mktemp("drafted")

    def value(name: str, kind: str) -> object:
        missing = name in empty or (name in nulls and dice.random() < 0.2)
        return None if missing else VALUES[kind](dice)

    rows = [
        {name: value(name, kind) for name, kind in kinds.items()} | {"click": int(dice.random() < 0.4), "fine": n % 3}
        for n in range(200)
    ]
    path = write_parquet(folder / "rows.parquet", rows)
    text = draft([path], root=folder)
    experiment = parse_config(Experiment, parse_yaml(text, "draft"), "draft")
    store = prepare(experiment.data, folder / "store", root=folder)
    assert sum(store.split(name).num_rows for name in ("train", "valid", "test")) > 0
