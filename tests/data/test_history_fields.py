"""What the events of a history have: chosen features of their items, their own, and the gap in time."""

import math
from pathlib import Path
from typing import Any

import pytest

from data.refusals import expect_refused, good_rows
from data.tables import Row, data_config, decode_all, write_table
from hemix.data.prepare import prepare
from hemix.errors import ConfigError

ITEMS = [
    {
        "item": f"i{n}",
        "cost": float(n),
        "image": [n, n / 2],
        "lat": n * 5.0,
        "lon": n * 9.0,
        "tags": ["a", "b"][: n % 3],
    }
    for n in range(7)
]
EVENT_FEATURES = [
    {"kind": "categorical", "column": "action"},
    {"kind": "multi_categorical", "column": "words", "delimiter": " "},
    {"kind": "numeric", "column": "amount", "transform": "none"},
    {"kind": "vector", "column": "embedding", "size": 2},
]
CANDIDATE = [
    {"kind": "categorical", "column": "item"},
    {"kind": "numeric", "column": "cost", "transform": "none"},
    {"kind": "vector", "column": "image", "size": 2},
    {"kind": "geo", "name": "place", "latitude": "lat", "longitude": "lon", "resolutions": [3, 5]},
    {"kind": "multi_categorical", "column": "tags"},
    {"kind": "categorical", "column": "click_row", "source": "examples"},
]


def sections(**history: Any) -> Row:
    event = {"table": "events", "user": "user", "item": "item", "time": "time", "features": EVENT_FEATURES}
    return {
        "tables": {name: {"path": f"{name}.parquet"} for name in ("log", "events", "items")},
        "catalog": {"table": "items", "key": "item"},
        "events": {"log": event},
        "histories": {"all": {"events": "log", **history}},
        "features": {"candidate": CANDIDATE},
    }


def write_tables(folder: Path) -> dict[str, list[Row]]:
    rows = [{**row, "click_row": n % 3} for n, row in enumerate(good_rows())]
    events = [
        {**row, "action": "ab"[n % 2], "words": ["x y", None, ""][n % 3], "amount": n / 4, "embedding": [n, -n]}
        for n, row in enumerate(rows)
    ]
    tables = {"log": rows, "events": events, "items": ITEMS}
    for name, table in tables.items():
        write_table(folder / f"{name}.parquet", table)
    return tables


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (None, ["item", "place_h3_3", "place_h3_5", "tags"]),
        ([], []),
        (["image", "cost", "place"], ["cost", "image", "place_h3_3", "place_h3_5"]),
        (["place_h3_5"], ["place_h3_5"]),
    ],
)
@pytest.mark.parametrize("time_gap", [True, False])
def test_fields_of_events(tmp_path: Path, chosen: list[str] | None, names: list[str], time_gap: bool) -> None:
    """By default the ids of the catalog; columns of the examples are no features of an item."""
    tables = write_tables(tmp_path)
    options = sections(item_features=chosen, time_gap=time_gap)
    store = prepare(data_config(**options), tmp_path / "store", root=tmp_path, threads=1)
    (spec,) = store.inputs.histories
    own = ["action", "words", "amount", "embedding"]
    assert [field.name for field in spec.fields] == names + own + ["time_gap"] * time_gap
    assert list(spec.shared) == names
    candidate = {field.name: (field.kind, field.table) for field in store.inputs.candidate}
    assert all(candidate[field.name] == (field.kind, field.table) for field in spec.fields if field.name in names)
    candidates = {example.values["item"]: example.values for example in decode_all(store).values()}
    for number, example in decode_all(store).items():
        earlier = [n for n in range(number) if n % 5 == number % 5]
        assert len(example.histories["all"]) == len(earlier)
        for event, n in zip(example.histories["all"], earlier, strict=True):
            raw = tables["events"][n]
            assert {name: event[name] for name in names} == {name: candidates[raw["item"]][name] for name in names}
            words = {"x y": ["x", "y"], None: [None], "": []}[raw["words"]]
            assert (event["action"], event["words"]) == (raw["action"], words)
            assert (event["amount"], event["embedding"]) == (raw["amount"], raw["embedding"])
            if time_gap:
                assert event["time_gap"] == 3 + math.floor(math.log2(1 + number - n))


def test_an_unknown_item_feature(tmp_path: Path) -> None:
    write_tables(tmp_path)
    for name in ("prize", "click_row"):
        words = [
            f"histories.all.item_features: {name!r} is not a candidate feature from the catalog",
            "item, cost, image",
        ]
        expect_refused(tmp_path, *words, kind=ConfigError, **sections(item_features=[name]))


def test_events_without_any_field(tmp_path: Path) -> None:
    write_tables(tmp_path)
    bare = sections(item_features=[], time_gap=False)
    bare["events"]["log"] = {**bare["events"]["log"], "features": []}
    expect_refused(tmp_path, "histories.all: its events have no features", "declare", kind=ConfigError, **bare)
