"""How examples are divided: by the clock, by each user's clock, by user, at random, or as given."""

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.refusals import changed, expect_refused, files_below, good_rows
from data.tables import Row, data_config, decode, make_store, split_of_rows, write_table
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.errors import ConfigError, InputError

SPLITS = ("train", "valid", "test")


def random_rows(num_rows: int, num_times: int, seed: int = 0) -> list[Row]:
    """Rows in no order; several of one user at one time are a request."""
    random = np.random.default_rng(seed)
    users, times = random.integers(0, 9, num_rows).tolist(), random.integers(0, num_times, num_rows).tolist()
    clicks = random.integers(0, 2, num_rows).tolist()
    return [
        {"user": f"u{user}", "item": f"i{row % 7}", "time": time, "click": click}
        for row, (user, time, click) in enumerate(zip(users, times, clicks, strict=True))
    ]


def split(folder: Path, rows: list[Row], by: str, **options: Any) -> dict[int, str]:
    (folder / by).mkdir()
    return split_of_rows(make_store(folder / by, {"log": rows}, split={"by": by, **options}))


def requests_are_whole(rows: list[Row], found: dict[int, str]) -> None:
    """All rows of one user at one time are in one split."""
    assert sorted(found) == list(range(len(rows)))
    places = defaultdict(set)
    for number, row in enumerate(rows):
        places[row["user"], row["time"]].add(found[number])
    assert max(len(place) for place in places.values()) == 1


@pytest.mark.parametrize(
    ("num_times", "fractions"),
    [(1000, (0.8, 0.1, 0.1)), (12, (0.6, 0.2, 0.2)), (1000, (0.5, 0.0, 0.5)), (1000, (0.7, 0.3, 0.0))],
)
def test_by_time(tmp_path: Path, num_times: int, fractions: tuple[float, float, float]) -> None:
    """Everything in training is before everything in validation, that before test; no split has more than its share
    of rows before its end, but as many whole times as fit.
    """
    rows = random_rows(200, num_times)
    found = split(tmp_path, rows, "time", fractions=fractions)
    requests_are_whole(rows, found)
    times = sorted(row["time"] for row in rows)
    for names, share in ((SPLITS[:1], fractions[0]), (SPLITS[:2], fractions[0] + fractions[1])):
        before = [rows[number]["time"] for number, name in found.items() if name in names]
        after = [rows[number]["time"] for number, name in found.items() if name not in names]
        assert len(before) <= share * len(rows) + 1e-9
        if after:
            assert max(before) < min(after)
            assert len(before) + times.count(min(after)) > share * len(rows)


def test_by_time_shares_are_exact(tmp_path: Path) -> None:
    rows = [
        {"user": "u", "item": "i", "time": n, "click": n % 2} for n in np.random.default_rng(1).permutation(20).tolist()
    ]
    counts = Counter(split(tmp_path, rows, "time").values())
    assert counts == {"train": 16, "valid": 2, "test": 2}


def test_by_time_the_first_moment_is_for_training(tmp_path: Path) -> None:
    """Nine rows of ten at one time: they are not left out, though more than the share."""
    rows = [{"user": f"u{n}", "item": "i", "time": 5 + n // 16, "click": n % 2} for n in range(20)]
    found = split(tmp_path, rows, "time", fractions=[0.5, 0.0, 0.5])
    assert Counter(found.values()) == {"train": 16, "test": 4}


def test_by_user_time(tmp_path: Path) -> None:
    """The same within each user."""
    rows = random_rows(400, 40)
    fractions = (0.6, 0.2, 0.2)
    found = split(tmp_path, rows, "user_time", fractions=fractions)
    requests_are_whole(rows, found)
    for user in {row["user"] for row in rows}:
        own = [number for number, row in enumerate(rows) if row["user"] == user]
        for names, share in ((SPLITS[:1], fractions[0]), (SPLITS[:2], fractions[0] + fractions[1])):
            before = [rows[number]["time"] for number in own if found[number] in names]
            after = [rows[number]["time"] for number in own if found[number] not in names]
            assert max(before) < min(after)
            assert len(before) <= share * len(own) + 1e-9
            assert len(before) + after.count(min(after)) > share * len(own)


def test_by_user_time_shares_are_exact(tmp_path: Path) -> None:
    """Users with 10, 5 and 1 rows: 8/1/1, 4/0/1, 1/0/0."""
    sizes = {"a": 10, "b": 5, "c": 1}
    rows = [{"user": user, "item": "i", "time": n, "click": n % 2} for user, size in sizes.items() for n in range(size)]
    rows += [{"user": "d", "item": "i", "time": n // 3, "click": n % 2} for n in range(30)]
    found = split(tmp_path, rows, "user_time")
    counts = {user: Counter(found[n] for n, row in enumerate(rows) if row["user"] == user) for user in "abcd"}
    assert counts == {
        "a": {"train": 8, "valid": 1, "test": 1},
        "b": {"train": 4, "test": 1},
        "c": {"train": 1},
        "d": {"train": 24, "valid": 3, "test": 3},
    }


def test_by_user(tmp_path: Path) -> None:
    """All of a user's rows are in one split; another seed divides otherwise."""
    rows = [{**row, "user": f"u{number % 300}"} for number, row in enumerate(random_rows(600, 50))]
    found = split(tmp_path, rows, "user")
    places = defaultdict(set)
    for number, row in enumerate(rows):
        places[row["user"]].add(found[number])
    assert max(len(place) for place in places.values()) == 1
    counts = Counter(found.values())
    assert 0.7 < counts["train"] / 600 < 0.9
    assert min(counts["valid"], counts["test"]) > 20
    (tmp_path / "again").mkdir()
    assert split(tmp_path / "again", rows, "user", seed=5) != found


def test_at_random(tmp_path: Path) -> None:
    rows = random_rows(600, 30)
    found = split(tmp_path, rows, "random")
    requests_are_whole(rows, found)
    assert 0.7 < Counter(found.values())["train"] / 600 < 0.9


def test_at_random_requests_of_nobody_stay_whole(tmp_path: Path) -> None:
    """Without users, rows with one request key are one request."""
    rows = [{"page": f"p{n // 4}", "item": f"i{n % 7}", "click": n % 2} for n in range(400)]
    features = {"request": [], "candidate": [{"kind": "categorical", "column": "item"}]}
    examples = {"table": "log", "item": "item", "request": "page"}
    store = make_store(tmp_path, {"log": rows}, examples=examples, split={"by": "random"}, features=features)
    for name in SPLITS:
        view = store.split(name)
        requests = np.arange(view.num_requests)
        assert set(view.counts(requests).tolist()) == {4}
        assert (view.batch(requests).requests.users == -1).all()


@pytest.mark.parametrize("tables", [False, True], ids=["by a column", "by tables"])
def test_given(tmp_path: Path, tables: bool) -> None:
    rows = random_rows(90, 20)
    parts = [SPLITS[n % 3] for n in range(90)]
    if tables:
        for name in SPLITS:
            write_table(
                tmp_path / f"{name}.parquet", [row for row, part in zip(rows, parts, strict=True) if part == name]
            )
        examples = {"table": {name: name for name in SPLITS}, "user": "user", "item": "item", "time": "time"}
        config = data_config(tables={name: {"path": f"{name}.parquet"} for name in SPLITS}, examples=examples)
        store = prepare(config, tmp_path / "store", root=tmp_path)
    else:
        rows = [{**row, "part": part} for row, part in zip(rows, parts, strict=True)]
        store = make_store(tmp_path, {"log": rows}, split={"by": "given", "column": "part"})
    for name in SPLITS:
        mine = Counter((row["time"], row["item"]) for row, part in zip(rows, parts, strict=True) if part == name)
        batch = store.split(name).batch(np.arange(store.split(name).num_requests))
        times = np.repeat(batch.requests.times.numpy(), np.diff(batch.offsets.numpy())) // 1_000_000
        items = [store.encoder.vocabularies["item"].values[i - 3].as_py() for i in batch.candidates.ids[:, 0].tolist()]
        assert Counter(zip(times.tolist(), items, strict=True)) == mine


def grouped(store: Store) -> list[list[int]]:
    """Raw rows by request, as the store has them."""
    found = defaultdict(list)
    for row, example in decode(store.split("train")).items():
        found[example.request].append(row)
    return sorted(sorted(rows) for rows in found.values())


def test_rows_of_one_user_and_time_are_candidates_of_one_request(tmp_path: Path) -> None:
    rows = random_rows(120, 15)
    expected = defaultdict(list)
    for number, row in enumerate(rows):
        expected[row["user"], row["time"]].append(number)
    assert grouped(make_store(tmp_path, {"log": rows})) == sorted(expected.values())


def test_a_request_key_tells_requests_apart(tmp_path: Path) -> None:
    rows = [{**row, "page": f"p{number % 2}"} for number, row in enumerate(random_rows(120, 15))]
    examples = {"table": "log", "user": "user", "item": "item", "time": "time", "request": "page"}
    expected = defaultdict(list)
    for number, row in enumerate(rows):
        expected[row["user"], row["time"], row["page"]].append(number)
    assert grouped(make_store(tmp_path, {"log": rows}, examples=examples)) == sorted(expected.values())


def test_other_request_features_are_another_request(tmp_path: Path) -> None:
    """A request has one value of each of its features: rows that differ in them are not merged."""
    rows = [
        {**row, "device": ["phone", "desk", None][row["time"] % 2 * (number % 3)]}
        for number, row in enumerate(random_rows(120, 15))
    ]
    features = {
        "request": [{"kind": "categorical", "column": "device"}],
        "candidate": [{"kind": "categorical", "column": "item"}],
    }
    store = make_store(tmp_path, {"log": rows}, features=features)
    for number, example in decode(store.split("train")).items():
        assert example.values["device"] == rows[number]["device"]
    for request in grouped(store):
        assert len({(rows[row]["user"], rows[row]["time"]) for row in request}) == 1


def test_rows_without_keys_are_requests_of_their_own(tmp_path: Path) -> None:
    """A flat table: no user, item or time."""
    rows = [{"color": ["red", "blue"][n % 2], "click": n // 2 % 2} for n in range(40)]
    features = {"request": [], "candidate": [{"kind": "categorical", "column": "color"}]}
    store = make_store(tmp_path, {"log": rows}, examples={"table": "log"}, features=features)
    assert grouped(store) == [[n] for n in range(40)]
    found = decode(store.split("train"))
    assert [found[n].values["color"] for n in range(40)] == [row["color"] for row in rows]


@pytest.mark.parametrize("name", ["valid", "test"])
def test_a_split_is_empty(tmp_path: Path, name: str) -> None:
    write_table(tmp_path / "log.parquet", [{**row, "part": "train"} for row in good_rows()])
    split = {"by": "given", "column": "part", "fractions": [0.5, 0.5, 0] if name == "valid" else [0.5, 0, 0.5]}
    expect_refused(tmp_path, f"The {name} split is empty", "'given' gives it no row", "Change data.split", split=split)


@pytest.mark.parametrize("click", [0, 1])
@pytest.mark.parametrize("name", SPLITS)
def test_a_split_has_a_single_class(tmp_path: Path, name: str, click: int) -> None:
    rows = [{**row, "part": SPLITS[n % 6 // 2]} for n, row in enumerate(good_rows(60))]
    rows = [{**row, "click": click if row["part"] == name else row["click"]} for row in rows]
    write_table(tmp_path / "log.parquet", rows)
    words = f"The {name} split has a single class: {20 * click} of its 20 rows have click = 1"
    expect_refused(tmp_path, words, "data.split", split={"by": "given", "column": "part"})


@pytest.mark.parametrize("order", [0, 1])
def test_every_label_has_both_classes_in_training(tmp_path: Path, order: int) -> None:
    """A second label, masked or not, may lack one elsewhere: rare orders need not reach a small test split."""
    rows = [{**row, "part": SPLITS[n % 6 // 2]} for n, row in enumerate(good_rows(60))]
    settings: Row = {
        "labels": [{"name": "click"}, {"name": "order", "mask": "click"}],
        "split": {"by": "given", "column": "part"},
    }
    everywhere_same = [{**row, "order": order} for row in rows]
    write_table(tmp_path / "log.parquet", everywhere_same)
    expect_refused(
        tmp_path, f"The train split has a single class: {10 * order} of its 10 rows have order = 1", **settings
    )
    # two clicked training rows that differ; none are left elsewhere
    mixed = changed(changed(everywhere_same, 1, order=0), 7, order=1)
    write_table(tmp_path / "log.parquet", mixed)
    store = prepare(data_config(**settings), tmp_path / "mixed", root=tmp_path, threads=1)
    assert [store.manifest.count(name).positives[1] for name in SPLITS] == [[1, 9][order], 10 * order, 10 * order]


def of_day(number: int) -> list[Row]:
    return [{**row, "time": row["time"] + number * 86_400} for row in good_rows()]


def append_days(folder: Path, split: Row, *days: list[Row]) -> Store:
    for number, rows in enumerate(days):
        write_table(folder / "log.parquet", rows)
        prepare(data_config(split=split), folder / "store", root=folder, append=number > 0, threads=1)
    return Store.open(folder / "store")


def test_appended_days_are_the_new_test(tmp_path: Path) -> None:
    """By time, validation and test are of the new day: one class is too few. Older rows must not stand in for them."""
    first, second = of_day(0), of_day(1)
    append_days(tmp_path, {"by": "time"}, first)
    before = files_below(tmp_path / "store")
    for rows, words in (
        ([{**row, "click": 1} for row in second], "The valid split has a single class: 4 of its 4 rows"),
        ([{**row, "time": second[0]["time"]} for row in second], "The valid split is empty"),
    ):
        write_table(tmp_path / "log.parquet", rows)
        with pytest.raises(InputError, match=words):
            prepare(data_config(split={"by": "time"}), tmp_path / "store", root=tmp_path, append=True, threads=1)
        assert files_below(tmp_path / "store") == before


def test_an_appended_day_of_one_class_joins_older_ones(tmp_path: Path) -> None:
    """By user, rows of a split are those of all days: no day needs both classes, or rows for each split."""
    lonely = [{**row, "user": "u1", "click": 0} for row in of_day(1)]
    store = append_days(tmp_path, {"by": "user", "fractions": [0.5, 0.25, 0.25], "seed": 4}, good_rows(), lonely)
    assert sorted(count.rows for count in store.manifest.segments[1].splits.values()) == [0, 0, 40]
    assert sum(store.manifest.count(name).rows for name in SPLITS) == 80
    assert sum(store.manifest.count(name).positives[0] for name in SPLITS) == 20


def test_all_rows_at_one_time(tmp_path: Path) -> None:
    write_table(tmp_path / "log.parquet", [{**row, "time": 7} for row in good_rows()])
    expect_refused(tmp_path, "The valid split is empty", "'time'", split={"by": "time"})


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"split": {"by": "time", "fractions": [0.5, 0.4, 0.2]}}, "add up to 1"),
        ({"split": {"by": "time", "fractions": [0, 0.5, 0.5]}}, "train > 0"),
        ({"split": {"by": "tme"}}, "split.by"),
        ({"split": {"by": "given"}}, "split.column"),
        ({"split": {"by": "time"}, "examples": {"table": "log", "user": "user"}}, "needs examples.time"),
        ({"split": {"by": "user_time"}, "examples": {"table": "log", "time": "time"}}, "needs examples.user"),
        ({"split": {"by": "user"}, "examples": {"table": "log", "time": "time"}}, "needs examples.user"),
        ({"examples": {"table": {"valid": "log"}}}, "needs a 'train' table"),
        ({"examples": {"table": "lg"}}, "Did you mean 'log'"),
    ],
)
def test_impossible_splits(sections: Row, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        data_config(**sections)
    assert words in str(caught.value)
