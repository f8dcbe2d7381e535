"""A data section that cannot be meant: refused with its key, its value and what to do."""

from typing import Any

import pytest

from data.tables import data_config
from hemix.errors import ConfigError

EVENTS = {"log": {"table": "log", "user": "user", "item": "item", "time": "time"}}

CLICKS = {"kind": "window_count", "name": "clicks", "events": "log", "by": "item", "days": 7}


def history(**values: Any) -> dict[str, Any]:
    return {"events": EVENTS, "histories": {"all": {"events": "log", **values}}}


def test_known_keys_are_listed_once() -> None:
    """For all wrong keys of sections of one kind; each still has its place and its suggestion."""
    features = {"candidate": [{"kind": "numeric", "column": name, "transfrom": "log"} for name in ("a", "b")]}
    with pytest.raises(ConfigError) as caught:
        data_config(history={}, event={}, features=features)
    message = str(caught.value)
    assert message.count("Known keys: ") == 2
    assert message.count("history_delay, labels") == 1
    for words in (
        "unknown key 'history'. Did you mean 'histories'?",
        "unknown key 'event'. Did you mean 'events'? Known keys: ",
        "unknown key 'features.candidate.0.transfrom'. Did you mean 'transform'?",
        "unknown key 'features.candidate.1.transfrom'. Did you mean 'transform'? Known keys: ",
    ):
        assert words in message


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"history": {}}, ["unknown key 'history'", "Did you mean 'histories'", "Known keys: ", "catalog"]),
        ({"examples": {"table": "log", "usr": "x"}}, ["unknown key 'examples.usr'", "Did you mean 'user'"]),
        ({"tables": {"log": {}}}, ["tables.log", "exactly one of 'path' and 'sql'"]),
        ({"tables": {"log": {"path": "a", "sql": "b"}}}, ["exactly one of 'path' and 'sql'"]),
        ({"tables": {"log": {"path": "a", "format": "xls"}}}, ["tables.log.format", "'xls'", "'parquet'"]),
        ({"labels": []}, ["labels", "at least 1"]),
        ({"labels": [{"name": "a", "column": "b", "sql": "c"}]}, ["'column' and 'sql', not both"]),
        ({"labels": [{"name": "a"}, {"name": "a"}]}, ["label 'a' is declared twice"]),
        ({"labels": [{"name": "a", "mask": "b"}]}, ["mask of label 'a'", "label 'b'"]),
        ({"labels": [{"name": "a", "mask": "a"}]}, ["mask of label 'a'"]),
        ({"downsample": {"label": "clik", "keep": 0.5}}, ["downsample", "Did you mean 'click'"]),
        ({"downsample": {"label": "click", "keep": 0}}, ["downsample.keep", "greater than 0"]),
        ({"downsample": {"label": "click", "keep": 1.5}}, ["downsample.keep", "less than or equal to 1"]),
        ({"history_delay": -1}, ["history_delay", "greater than or equal to 0"]),
        ({"catalog": {"table": "itms", "key": "item"}}, ["catalog refers to table 'itms'"]),
        (
            {"catalog": {"table": "log", "key": "item"}, "examples": {"table": "log"}},
            ["a catalog needs examples.item"],
        ),
        (
            {"profiles": {"table": "log", "key": "user"}, "examples": {"table": "log"}},
            ["profiles need examples.user"],
        ),
        (
            {"events": {"log": {**EVENTS["log"], "table": "lg"}}},
            ["events.log refers to table 'lg'", "Did you mean 'log'"],
        ),
        (history(events="lg"), ["histories.all refers to events 'lg'", "Did you mean 'log'"]),
        (history(cut="last_k", part="older"), ["older side of a cut", "data.timezone", "time_gap: false"]),
        (history(cut="same_day", part="older"), ["cut by 'same_day'", "data.timezone"]),
        (history(cut="last_k"), ["'part' must be 'older' or 'recent' where there is a cut"]),
        (history(part="older"), ["'part' must be 'older' or 'recent' where there is a cut"]),
        (history(cut="last_k", part="recent", k=30, max_length=20), ["max_length 20 is below k 30"]),
        (history(cut="last_k", part="recent", k=0), ["histories.all.k", "greater than or equal to 1"]),
        (history(cut="last_n", part="recent"), ["histories.all.cut", "'last_n'", "'last_k'"]),
        (
            {**history(), "examples": {"table": "log", "item": "item", "time": "time"}},
            ["histories.all needs examples.user and examples.time"],
        ),
        (
            {"features": {"request": [{"kind": "categorical", "column": "user"}] * 2}},
            ["feature 'user' is declared twice"],
        ),
        (
            {"features": {"pair": [{"kind": "distance", "name": "away", "origin": "a", "target": "b"}]}},
            ["feature 'away' refers to geo feature of the request 'a'"],
        ),
        ({"features": {"candidates": []}}, ["unknown key 'features.candidates'", "Did you mean 'candidate'"]),
    ],
)
def test_impossible_configuration(sections: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        data_config(**sections)
    message = str(caught.value)
    assert message.startswith("data: ")
    assert [word for word in words if word not in message] == [], message


def test_several_problems_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        data_config(history_delay=-1, timezne="UTC")
    assert "history_delay" in str(caught.value)
    assert "Did you mean 'timezone'" in str(caught.value)


def test_a_data_section_can_be_written_and_read_back() -> None:
    """Equal, also by way of JSON."""
    config = data_config(**history(cut="last_k", part="older"), timezone="UTC", weight="price")
    assert type(config).model_validate(config.model_dump(mode="json")) == config
    assert type(config).model_validate_json(config.model_dump_json()) == config
