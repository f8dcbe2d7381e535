"""Candidates drawn beside positives: who may be drawn, when they are drawn anew, and what their features are."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

import h3
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.cities import START, candidates, city, kilometres, places, sections, visits
from data.tables import data_config, make_store, write_table
from hemix.batch import Batch
from hemix.data.drawing import first_new, permuted, request_keys
from hemix.data.drawing_tables import parent_cells
from hemix.data.loader import Loader
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.data.unlabelled import rows_to_score
from hemix.errors import ConfigError, InputError, StoreError
from hemix.schema import Table

KINDS: dict[str, dict[str, Any]] = {
    "uniform": {"kind": "uniform", "num": 8},
    "popularity": {"kind": "popularity", "num": 8},
    "nearby": {"kind": "nearby", "num": 8},
    "nearby and popular": {"kind": "nearby", "num": 8, "popular": 0.5},
}
DELAY = 1800


@pytest.fixture(scope="module", params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return city(tmp_path_factory.mktemp("city"), negatives=KINDS[request.param])


def whole(store: Store, split: str, draw: int = 0) -> Batch:
    view = store.split(split)
    return view.batch(np.arange(view.num_requests), draw)


def same(a: Batch, b: Batch) -> bool:
    pairs = ((a.candidates.ids, b.candidates.ids), (a.candidates.numbers, b.candidates.numbers))
    return all(torch.equal(x.nan_to_num(-9), y.nan_to_num(-9)) for x, y in pairs)


def first_met() -> dict[int, int]:
    met: dict[int, int] = {}
    for row in sorted(visits(), key=lambda row: row["time"]):
        met.setdefault(int(row["place"][1:]), row["time"])
    return met


@given(st.lists(st.integers(1, 400), min_size=1, max_size=5), st.integers(0, 2**32), st.integers(1, 60))
def test_a_random_order_holds_every_place_once(sizes, seed, width):
    keys = request_keys(seed, 0, np.arange(len(sizes)))
    orders = permuted(np.array(sizes), keys, max(width, max(sizes)))
    for size, order in zip(sizes, orders.tolist(), strict=True):
        assert sorted(order[:size]) == list(range(size))
        assert min([*order[size:], size]) >= size
    assert (permuted(np.array(sizes), keys, width) == orders[:, :width])[np.array(sizes) >= width].all()


@pytest.mark.parametrize("size", [2, 5, 9, 51, 1000])
def test_each_place_is_as_likely_as_the_others_and_so_is_each_pair(size):
    keys = request_keys(3, 4, np.arange(20_000))
    first, second = permuted(np.full(len(keys), size), keys, 2).T
    for values, cells in ((first, size), (second, size), ((second - first) % size - 1, size - 1)):
        counts = np.bincount(values, minlength=cells)
        expected = len(keys) / cells
        chi_square = ((counts - expected) ** 2 / expected).sum()
        assert chi_square < cells - 1 + 5 * math.sqrt(2 * cells) + 5


def test_the_first_new_entries():
    drawn = np.array([[4, 4, 1, 2, 3, 5], [7, 7, 7, 7, -1, 8], [-1, 9, 0, 9, 1, 2]])
    taken = np.array([[1, -1], [8, 2], [0, -1]])
    assert first_new(drawn, taken, 3).tolist() == [[4, 2, 3], [7, -1, -1], [9, 1, 2]]


def test_a_cell_belongs_to_its_parents():
    cells = [h3.latlng_to_cell(lat, lon, 9) for lat, lon in ((40.7, -74.0), (-33.9, 151.2), (64.1, -21.9))]
    numbers = np.array([int(cell, 16) for cell in cells])
    for resolution in range(10):
        expected = [int(h3.cell_to_parent(cell, resolution), 16) for cell in cells]
        assert parent_cells(numbers, resolution).tolist() == expected


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_drawn_places_are_different_known_and_not_the_users_own(store, split):
    view, met = store.split(split), first_met()
    batch = whole(store, split)
    rows = list(candidates(view, batch))
    assert len(rows) == view.num_rows == batch.num_rows
    logged = Counter((row["user"], row["time"], int(row["place"][1:])) for row in visits())
    for request in range(view.num_requests):
        own = [row for row in rows if row.request == request]
        positives = [row for row in own if row.label == 1]
        drawn = [row.place for row in own if row.label == 0]
        assert len(drawn) == len(set(drawn)) == 8
        user, time = own[0].user, own[0].time
        expected = Counter({place: n for (who, when, place), n in logged.items() if (who, when) == (user, time)})
        found = Counter(row.place for row in positives)
        assert not found - expected
        assert all(met[place] >= time - DELAY for place in expected - found), "only what is new is left out"
        assert not set(drawn) & set(found)
        assert all(met[row.place] < time - DELAY for row in own)


def test_a_request_is_left_out_if_too_few_places_were_known(tmp_path):
    store = city(tmp_path)
    met, size = first_met(), max(Counter((row["user"], row["time"]) for row in visits()).values())
    known_from = sorted(met.values())[8 + size - 1]
    kept = [r for r in visits() if r["time"] - DELAY > max(known_from, met[int(r["place"][1:])])]
    positives = [sum(count.positives) for count in store.manifest.segments[0].splits.values()]
    assert sum(positives) == len(kept)
    assert store.manifest.segments[0].rows_too_new == len(visits()) - len(kept) > 0


def test_drawn_rows_have_the_features_of_logged_ones(store):
    log = visits()
    points = {int(row["place"][1:]): (row["lat"], row["lon"]) for row in places()}
    for split in ("train", "test"):
        view = store.split(split)
        logged = view._candidates(np.arange(view.num_requests), *request_keys_of(view), 0)
        assert logged.labels.sum() == view.num_rows - 8 * view.num_requests
        for row in list(candidates(view, whole(store, split)))[::7]:
            window = [r for r in log if row.time - 3 * 86400 <= r["time"] < row.time - DELAY]
            visited = [r for r in window if r["place"] == f"p{row.place}"]
            assert row.values["visits"] == len(visited)
            assert row.values["own"] == sum(r["user"] == row.user for r in visited)
            assert row.values["of_user"] == sum(r["user"] == row.user for r in window)
            assert row.values["time_hour"] == 3 + row.time // 3600 % 24
            here = next((r["lat"], r["lon"]) for r in log if (r["user"], r["time"]) == (row.user, row.time))
            expected = math.nan if here[1] is None else kilometres(here, points[row.place])
            assert row.values["km"] == pytest.approx(expected, abs=1e-3, nan_ok=True)


def request_keys_of(view) -> tuple[np.ndarray, np.ndarray]:
    requests = np.arange(view.num_requests)
    return view._read["user"].take(requests), view._read["time"].take(requests)


def test_numbers_of_logged_rows_are_those_that_sql_computed(store):
    view = store.split("valid")
    requests = np.arange(view.num_requests)
    with_drawn = view._candidates(requests, *request_keys_of(view), 0)
    stored = view._read["row_numbers"].take(view._rows(requests)[0])
    np.testing.assert_allclose(with_drawn.numbers[with_drawn.labels[:, 0] == 1], stored, rtol=1e-6, atol=1e-6)


def test_training_is_drawn_anew_and_evaluation_stays(store):
    assert same(whole(store, "train", 1), whole(store, "train", 1))
    assert not same(whole(store, "train", 1), whole(store, "train", 2))
    assert same(whole(store, "valid", 1), whole(store, "valid", 2))
    again = Store.open(store.path)
    assert same(whole(store, "test"), whole(again, "test"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_training_takes_some_of_the_drawn_items(kind, tmp_path):
    (tmp_path / "every").mkdir()
    (tmp_path / "some").mkdir()
    every = city(tmp_path / "every", negatives=KINDS[kind])
    some = city(tmp_path / "some", negatives=KINDS[kind] | {"train_num": 4})
    assert same(whole(every, "valid"), whole(some, "valid"))
    assert some.split("train").num_rows == len(whole(some, "train").candidates.ids)
    drawn = {True: [], False: []}
    for store, rows in ((every, drawn[True]), (some, drawn[False])):
        rows += [(row.request, row.place) for row in candidates(store.split("train"), whole(store, "train", 3))]
    positives = every.split("train").num_rows - 8 * every.split("train").num_requests
    assert len(drawn[False]) == positives + 4 * some.split("train").num_requests
    assert set(drawn[False]) < set(drawn[True])
    (task,) = some.inputs.tasks
    assert task.logit_shift == pytest.approx(math.log(4 / 8))
    assert every.inputs.tasks[0].logit_shift == 0


def test_a_request_has_the_same_draws_in_any_batch(store):
    view = store.split("train")
    numbers = np.array([7, 3, 3, 20])
    together = list(candidates(view, view.batch(numbers, 5)))
    for place, number in enumerate(numbers):
        alone = list(candidates(view, view.batch(np.array([number]), 5)))
        assert [row.place for row in together if row.request == place] == [row.place for row in alone]


def test_a_loader_draws_by_seed_and_epoch_and_resumes_with_the_same_draws(store):
    view = store.split("train")

    def loader() -> Loader:
        return Loader(view, batch_size=60, seed=1, prefetch=0)

    first = loader()
    epochs = [list(first), list(first)]
    assert sum(batch.num_rows for batch in epochs[0]) == view.num_rows == first.num_rows
    assert not same(epochs[0][0], epochs[1][0])
    resumed = loader()
    resumed.load_state_dict({"epoch": 1, "position": sum(len(batch.requests.users) for batch in epochs[1][:2])})
    assert all(same(a, b) for a, b in zip(list(resumed), epochs[1][2:], strict=True))
    other = next(iter(Loader(view, batch_size=view.num_rows, seed=2)))
    assert sorted(other.candidates.numbers[:, 0].tolist()) != sorted(
        torch.cat([batch.candidates.numbers[:, 0] for batch in epochs[0]]).tolist()
    )


def test_nearby_is_the_smallest_cell_that_holds_enough(tmp_path):
    store = city(tmp_path, negatives=KINDS["nearby"])
    met, view = first_met(), store.split("test")
    points = {int(row["place"][1:]): (row["lat"], row["lon"]) for row in places()}
    rows = list(candidates(view, whole(store, "test")))
    quarters = []
    for request in range(view.num_requests):
        own = [row for row in rows if row.request == request]
        positives = {row.place for row in own if row.label == 1}
        if len(positives) > 1:
            continue
        known = [place for place, time in met.items() if time < own[0].time - DELAY]
        smallest = h3.latlng_to_cell(*points[next(iter(positives))], 9)
        for resolution in range(9, -1, -1):
            cell = h3.cell_to_parent(smallest, resolution)
            around = {n for n in known if h3.cell_to_parent(h3.latlng_to_cell(*points[n], 9), resolution) == cell}
            if len(around) >= 9:
                break
        assert {row.place for row in own} <= around
        quarters.append(len({n % 2 for n in around}))
    assert quarters.count(1) > quarters.count(2), "the other quarter is far away"


@pytest.mark.slow
def test_popular_places_are_drawn_as_often_as_they_were_visited(tmp_path):
    train = city(tmp_path, negatives={"kind": "popularity", "num": 1}).split("train")
    last = np.arange(train.num_requests)[-20:]
    number = next(field.start for field in train.store.inputs.candidate if field.name == "number")
    drawn = Counter[int]()
    for draw in range(100):
        batch = train.batch(last, draw)
        assert batch.labels is not None
        drawn.update(batch.candidates.numbers[batch.labels[:, 0] == 0, number].int().tolist())
    first = int(train.batch(last).requests.times.min()) / 1e6
    past = Counter(int(row["place"][1:]) for row in visits() if row["time"] < first)
    for place, count in past.most_common(5):
        assert 0.6 < drawn[place] / drawn.total() / (count / past.total()) < 1.5
    assert drawn[past.most_common()[0][0]] > 3 * drawn[past.most_common()[-1][0]]


def test_draws_and_features_do_not_see_the_future(tmp_path):
    """Rows of the log from a moment on are others; what training rows before it are given is the same."""
    cut = START + 250 * 3600
    tables = {}
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        past = [row for row in visits() if row["time"] < cut]
        later = [row for row in visits(600, seed) if row["time"] >= cut]
        rows = [{**row, "split": "train" if row["time"] < cut else "valid"} for row in past + later]
        split = {"by": "given", "column": "split", "fractions": [0.8, 0.2, 0]}
        tables[name] = city(tmp_path / name, rows, negatives=KINDS["nearby and popular"], split=split)
    assert same(whole(tables["a"], "train", 3), whole(tables["b"], "train", 3))
    assert tables["a"].split("valid").num_rows != tables["b"].split("valid").num_rows


def test_scalers_see_drawn_rows(tmp_path):
    store = city(tmp_path)
    batch = whole(store, "train")
    column = next(field.start for field in store.inputs.candidate if field.name == "km")
    values = batch.candidates.numbers[:, column]
    values = values[~values.isnan()]
    assert abs(float(values.mean())) < 0.05
    assert abs(float(values.std()) - 1) < 0.05


@pytest.mark.slow
def test_threads_do_not_show_in_the_manifest(tmp_path):
    write_table(tmp_path / "log.parquet", visits())
    write_table(tmp_path / "places.parquet", places())
    tables = {name: {"path": f"{name}.parquet"} for name in ("log", "places")}
    config = data_config(**sections(tables=tables, negatives=KINDS["nearby and popular"]))
    hashes = {prepare(config, tmp_path / f"s{n}", root=tmp_path, threads=n).hash for n in (1, 2)}
    assert len(hashes) == 1


def test_rows_to_score_are_candidates_as_they_are(store, tmp_path):
    write_table(tmp_path / "new.parquet", visits()[:30])
    with rows_to_score(store, Table(path="new.parquet"), tmp_path) as rows:
        assert rows.view.num_rows == 30
        assert rows.view.batch(np.arange(rows.view.num_requests)).num_rows == 30


def test_weights_are_those_of_the_positive(tmp_path):
    store = city(tmp_path, weight="2 + 0 * time", examples=sections()["examples"] | {"request": "user"})
    assert set(whole(store, "train").weights.tolist()) == {2.0}


@pytest.mark.parametrize(
    ("changed", "kind", "words"),
    [
        ({"labels": [{"name": "visit", "sql": "lat > 40.7"}]}, InputError, "holds positives only, but .* of 400 rows"),
        ({"negatives": {"kind": "uniform", "num": 60}}, InputError, "draws 60 other items .* lower"),
        ({"negatives": {"kind": "near"}}, ConfigError, "near"),
        ({"negatives": {"kind": "uniform", "num": 8, "train_num": 9}}, ConfigError, "it is 9, num is 8"),
        ({"negatives": {"kind": "uniform", "popular": 0.5}}, ConfigError, "popular"),
        ({"negatives": {"kind": "nearby", "place": "home"}}, ConfigError, "negatives.place refers to .*'home'"),
        ({"labels": [{"name": "a", "sql": "true"}, {"name": "b", "sql": "true"}]}, ConfigError, "one binary label"),
        ({"downsample": {"label": "visit", "keep": 0.5}}, ConfigError, "downsample"),
        ({"examples": {"table": "log", "user": "user", "item": "place"}}, ConfigError, "needs examples.time"),
        (
            {"catalog": {"table": "places", "key": "place", "valid_from": "number"}},
            ConfigError,
            "one row per item, not with catalog.valid_from",
        ),
    ],
)
def test_what_cannot_be_drawn_is_refused(changed, kind, words, tmp_path):
    with pytest.raises(kind, match=words):
        city(tmp_path, **changed)
    assert not (tmp_path / "store").exists()


def test_a_candidate_feature_of_the_examples_is_refused(tmp_path):
    features = sections()["features"]
    features["pair"].append({"kind": "numeric", "column": "price"})
    rows = [{**row, "price": 1.0} for row in visits()]
    with pytest.raises(ConfigError, match=r"'price' has no value for items that data\.negatives draws"):
        city(tmp_path, rows, features=features)


def test_append_is_refused_and_the_store_stays(store, tmp_path):
    before = {path: path.read_bytes() for path in Path(store.path).rglob("*") if path.is_file()}
    with pytest.raises(StoreError, match="does not extend; prepare all days again"):
        prepare(store.config, store.path, root=store.path.parent, append=True)
    assert before == {path: path.read_bytes() for path in Path(store.path).rglob("*") if path.is_file()}


def test_items_without_a_catalog_table(tmp_path):
    rows = [{"user": f"u{n % 3}", "item": f"i{n % 7}", "time": 86_400 + n, "click": 1} for n in range(60)]
    store = make_store(tmp_path, {"log": rows}, negatives={"kind": "popularity", "num": 5}, split={"by": "time"})
    batch = whole(store, "train")
    own = batch.candidates.ids[:, 0].reshape(-1, 6)
    assert all(len(set(request)) == 6 for request in own.tolist())
