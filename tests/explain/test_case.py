"""Which request and which candidate is meant by a name, and what is said where there is none."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemix.batch import NULL_ID
from hemix.data.lookup import NO_ITEM
from hemix.data.store import Store
from hemix.errors import ConfigError, InputError
from hemix.explain import explain_model, explain_request
from hemix.explain.case import Case, RequestKey
from hemix.run import Run


def rows_of(shop: Store, name: str) -> list[dict[str, str]]:
    with (shop.path.parent / f"{name}.csv").open() as file:
        return list(csv.DictReader(file))


def raw_row(shop: Store, case: Case, place: int) -> dict[str, str]:
    origin = case.view.origins(np.array([case.request]))[place]
    return rows_of(shop, "shown")[int(origin) & (2**32 - 1)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("user=7", {"user": "7"}),
        ("user=a,b=c,time=2024-01-31 12:00", None),
        ("user=a,b,time=2024-01-31 12:00", {"user": "a,b", "time": "2024-01-31 12:00"}),
        ("row=12", {"row": 12}),
    ],
)
def test_keys(text: str, expected: dict[str, Any] | None) -> None:
    if expected is None:
        with pytest.raises(InputError):
            RequestKey.parse(text)
    else:
        assert RequestKey.parse(text) == RequestKey(**expected)


@pytest.mark.parametrize(
    "text", ["", "7", "usr=7", "time=3", "row=-1", "row=x", "row=1,user=7", "user=", "user=1,user=2"]
)
def test_bad_keys(text: str) -> None:
    with pytest.raises(InputError, match="A request is named by user=KEY"):
        RequestKey.parse(text)


def test_a_row_is_what_the_raw_table_said(shop: Store) -> None:
    """Users, items, times and values come back as they were; numbers in their own unit."""
    items = {row["item"]: row for row in rows_of(shop, "items")}
    log = rows_of(shop, "log")
    for number in (0, 7, 100):
        case = Case(shop, "valid", RequestKey(row=number))
        place = int(np.searchsorted(case.rows, number))
        found, raw = case.shown(place), raw_row(shop, case, place)
        assert (case.user, found.item) == (raw["user"], raw["item"])
        assert case.keys.time(case.time)[0] == int(raw["time"]) * 1_000_000
        values, item = case.candidate_values(found), items[raw["item"]]
        assert (values["reason"], values["colour"]) == (raw["reason"], item["colour"])
        assert values["distance"] == pytest.approx(float(raw["distance"]), rel=1e-5)
        assert values["price"] == pytest.approx(float(item["price"]), rel=1e-4)
        assert values["tags"] == tuple(item["tags"].split("|")) if item["tags"] else not values["tags"]
        low, _, high = str(values["weight"]).rpartition(" to ")
        assert not low or float(low) <= float(item["weight"]) <= float(high)
        assert str(values["maker"]).startswith("bucket ")
        asked = case.request_values()
        assert asked["device"] == raw["device"]
        assert asked["clock_hour"] == f"{int(raw['time']) % 86_400 // 3600}:00"
        mine = [e for e in log if e["user"] == raw["user"] and int(e["time"]) < int(raw["time"])]
        seen = case.events("global").items + case.events("real_time").items
        assert seen == [e["item"] for e in mine][-9:]
        assert case.events("real_time").features["action"] == [e["action"] for e in mine][-3:]
        assert case.events("real_time").times == [case.keys.time_text(int(e["time"]) * 10**6) for e in mine][-3:]


def test_a_user_and_a_time_name_a_request(shop: Store) -> None:
    case = Case(shop, "test", RequestKey(row=5))
    raw = raw_row(shop, case, 0)
    for time in (case.time, f"{case.time}+00:00", raw["time"], f"{raw['time']}.0", case.time.replace("T", " ")):
        assert Case(shop, "test", RequestKey(user=raw["user"], time=time)).request == case.request
    last = Case(shop, "test", RequestKey(user=raw["user"]))
    times = [last.view.key(int(r))[1] for r in last.view.requests_of(last.view.key(last.request)[0])]
    assert last.view.key(last.request)[1] == max(times)


def test_users_and_times_that_are_not_there(shop: Store) -> None:
    with pytest.raises(InputError, match=r"There is no user 'u8O' .* Of its 80, nearest are: 'u"):
        Case(shop, "valid", RequestKey(user="u8O"))
    with pytest.raises(
        InputError, match=r"User 'u3' has no request at 2020-01-01 in the valid split\. Nearest of 1: 20"
    ):
        Case(shop, "valid", RequestKey(user="u3", time="2020-01-01"))
    with pytest.raises(InputError, match=r"A time is ISO 8601 .* got 'noon'"):
        Case(shop, "valid", RequestKey(user="u3", time="noon"))
    with pytest.raises(InputError, match=r"Rows of the valid split are numbered 0 to \d+, got 99,999"):
        Case(shop, "valid", RequestKey(row=99_999))


def test_a_user_of_another_split(tmp_path: Path) -> None:
    from run.clicks import make_store

    store = make_store(tmp_path, split={"by": "user", "fractions": [0.6, 0.2, 0.2]})
    user = Case(store, "train", RequestKey(row=0)).user
    with pytest.raises(InputError, match=rf"User '{user}' has no request in the valid split; there are 15 in train\."):
        Case(store, "valid", RequestKey(user=user))


def test_an_item_that_the_request_did_not_show(shop: Store) -> None:
    """Its own features are there, those of the row are missing, and that is said."""
    case = Case(shop, "valid", RequestKey(row=0))
    other = next(item for n in range(40) if (item := f"i{n}") not in case.items)
    found = case.candidate(other)
    assert (found.place, found.missing) == (None, ("reason", "distance"))
    values = case.candidate_values(found)
    raw = next(row for row in rows_of(shop, "items") if row["item"] == other)
    assert values["colour"] == raw["colour"]
    assert (values["reason"], values["distance"]) == (None, None)
    reason = next(field for field in shop.inputs.candidate if field.name == "reason")
    assert found.columns.ids[0, reason.start] == NULL_ID
    assert case.candidate(case.items[1]).place == 1
    with pytest.raises(InputError, match=r"There is no item 'i4O' .* nearest are: 'i4"):
        case.candidate("i4O")


def test_catalog_rows_have_their_keys(shop: Store) -> None:
    keys = Case(shop, "valid", RequestKey(row=0)).keys
    rows = [keys.item(item, 0) for item in ("i7", "i30")]
    assert keys.items([rows[1], 0, rows[0]]) == ["i30", NO_ITEM, "i7"]


def test_wrong_questions(runs: dict[str, Run]) -> None:
    with pytest.raises(ConfigError, match=r"Unknown task 'by_color'; .* Did you mean 'by_colour'\?"):
        explain_request(runs["dlrm"], "row=0", task="by_color")
    for candidates in (["i1", "i1"], ["i1", "i2", "i3"]):
        with pytest.raises(ConfigError, match="One candidate is explained, or two different ones"):
            explain_request(runs["dlrm"], "row=0", candidates)
    with pytest.raises(ConfigError, match="test split must not be chosen by"):
        explain_model(runs["dlrm"], split="test")
