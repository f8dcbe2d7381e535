"""Raw keys to numbers and back, where items have versions and requests share a name."""

from pathlib import Path

import numpy as np
import pytest

from hemix.data.decode import Decoder
from hemix.data.lookup import Keys
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.errors import InputError
from hemix.explain.case import Case, RequestKey
from hemix.schema import DataConfig

DAY = 86_400


def make_store(folder: Path, **values: object) -> Store:
    """Item a has two versions, from day 1 and day 3; b one from day 2. Two impressions of user u at one time."""
    (folder / "items.csv").write_text(f"item,since,label\na,{DAY},old\na,{3 * DAY},new\nb,{2 * DAY},only\n")
    rows = [f"u,{item},{day * DAY},{impression},{(day + place) % 2}" for day in (2, 4) for impression in "xy"
            for place, item in enumerate("ab")]  # fmt: skip
    rows += [f"v{n},a,{(2 + n) * DAY},z,{n % 2}" for n in range(8)]
    (folder / "shown.csv").write_text("\n".join(["user,item,time,impression,click", *rows]) + "\n")
    config = {
        "tables": {"shown": {"path": "shown.csv"}, "items": {"path": "items.csv"}},
        "examples": {"table": "shown", "user": "user", "item": "item", "time": "time", "request": "impression"},
        "labels": [{"name": "click"}],
        "catalog": {"table": "items", "key": "item", "valid_from": "since"},
        "features": {"candidate": [{"kind": "categorical", "column": "label"}]},
        "split": {"by": "random", "fractions": [1, 0, 0]},
        **values,
    }
    return prepare(DataConfig.model_validate(config), folder / "store", root=folder)


def test_the_version_of_an_item_is_that_of_the_time(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    keys, decoder = Keys(store), Decoder(store)
    field = store.inputs.candidate[0]
    ids = store.entities["catalog"][0]
    for day, label in ((1, "old"), (2.9, "old"), (3, "new"), (9, "new")):
        row = keys.item("a", int(day * DAY * 10**6))
        assert decoder.candidate(field, ids.take(np.array([row]))) == [label]
        assert keys.items([row]) == ["a"]
    with pytest.raises(InputError, match=r"Item 'b' is in the catalog from 1970-01-03T00:00:00 on, which is after"):
        keys.item("b", DAY * 10**6)


def test_requests_of_one_name_are_told_apart_by_a_row(tmp_path: Path) -> None:
    store = make_store(tmp_path)
    with pytest.raises(
        InputError, match=r"2 requests of the train split are named 'u' at 1970-01-05.* row=\d+, row=\d+"
    ):
        Case(store, "train", RequestKey(user="u"))
    first = Case(store, "train", RequestKey(row=0))
    for place, row in enumerate(first.rows):
        assert Case(store, "train", RequestKey(row=int(row))).request == first.request
        assert first.shown(place).item == first.items[place]
    assert sorted(first.items) in (["a"], ["a", "b"])


def test_rows_without_users_or_items(tmp_path: Path) -> None:
    plain = {"table": "shown"}
    features = {"pair": [{"kind": "categorical", "column": "impression"}]}
    store = make_store(tmp_path, examples=plain, catalog=None, features=features)
    case = Case(store, "train", RequestKey(row=3))
    assert (case.user, case.items) == (None, ["(not in the catalog)"])
    with pytest.raises(InputError, match=r"prepared without examples\.user"):
        Case(store, "train", RequestKey(user="u"))
    with pytest.raises(InputError, match=r"prepared without examples\.item"):
        case.candidate("a")
