"""Batches of whole requests: each once an epoch, in a seeded order, the same from any position on."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from data.tables import Row, make_store
from hemix.batch import Batch
from hemix.data import loader as loading
from hemix.data.loader import Loader
from hemix.data.store import SplitView, Store
from hemix.errors import ConfigError


class Sizes(SplitView):
    """A split of which only the number of candidates per request is known."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = np.array(sizes)
        self.num_requests, self.num_rows = len(sizes), sum(sizes)

    def counts(self, requests: np.ndarray) -> np.ndarray:
        return self.sizes[requests]


sizes = st.lists(st.integers(1, 9), min_size=0, max_size=80)


@given(sizes=sizes, batch_size=st.integers(1, 40), seed=st.none() | st.integers(0, 9), look=st.integers(1, 30))
def test_each_request_is_in_one_batch(sizes: list[int], batch_size: int, seed: int | None, look: int) -> None:
    """A batch is closed by the request that fills it: without that one it is too small. The last may be small."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "LOOK_AHEAD", look)
        plan = list(Loader(Sizes(sizes), batch_size=batch_size, seed=seed).plan())
    assert sorted(np.concatenate([np.zeros(0, np.int64), *plan]).tolist()) == list(range(len(sizes)))
    for number, requests in enumerate(plan):
        candidates = np.array(sizes)[requests]
        assert candidates.sum() >= batch_size or number == len(plan) - 1
        assert candidates[:-1].sum() < batch_size
    if seed is None:
        assert np.concatenate([np.zeros(0, np.int64), *plan]).tolist() == list(range(len(sizes)))


@given(sizes=sizes.filter(len), batch_size=st.integers(1, 20), data=st.data(), look=st.integers(1, 30))
def test_the_plan_goes_on_from_any_batch(sizes: list[int], batch_size: int, data: st.DataObject, look: int) -> None:
    """However far a reader had looked ahead when it stopped."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loading, "LOOK_AHEAD", look)
        whole = [batch.tolist() for batch in Loader(Sizes(sizes), batch_size=batch_size, seed=3).plan()]
        done = data.draw(st.integers(0, len(whole)))
        patch.setattr(loading, "LOOK_AHEAD", data.draw(st.integers(1, 30)))
        again = Loader(Sizes(sizes), batch_size=batch_size, seed=3)
        again.load_state_dict({"epoch": 0, "position": sum(len(batch) for batch in whole[:done])})
        assert [batch.tolist() for batch in again.plan()] == whole[done:]


def rows_of_requests(num_requests: int) -> list[Row]:
    """Requests of 1 to 5 candidates, and one of forty."""
    random = np.random.default_rng(0)
    counts = random.integers(1, 6, num_requests)
    counts[num_requests // 2] = 40
    clicks = random.integers(0, 2, counts.sum()).tolist()
    places = [(request, place) for request, count in enumerate(counts.tolist()) for place in range(count)]
    return [
        {"user": f"u{request % 7}", "item": f"i{place}", "time": request, "click": click, "place": place}
        for (request, place), click in zip(places, clicks, strict=True)
    ]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(
        tmp_path_factory.mktemp("loader"),
        {"log": rows_of_requests(120)},
        events={"log": {"table": "log", "user": "user", "item": "item", "time": "time"}},
        histories={"all": {"events": "log", "max_length": 5}},
        features={
            "request": [{"kind": "categorical", "column": "user"}],
            "candidate": [
                {"kind": "categorical", "column": "item"},
                {"kind": "numeric", "column": "place", "transform": "none", "served_as": 0.5},
            ],
        },
        split={"by": "time"},
    )


def times(batches: Iterator[Batch] | list[Batch]) -> list[list[int]]:
    """What is in some batches: the times of their requests, which are all different."""
    return [batch.requests.times.tolist() for batch in batches]


@pytest.mark.parametrize("prefetch", [0, 1, 3])
def test_an_epoch(store: Store, prefetch: int) -> None:
    """Every request once; another order in each epoch; the same again with the same seed."""
    split = store.split("train")
    loader = Loader(split, batch_size=16, seed=7, prefetch=prefetch)
    epochs = [times(iter(loader)) for _ in range(3)]
    assert loader.epoch == 3
    assert loader.num_rows == split.num_rows
    flat = [[time for batch in epoch for time in batch] for epoch in epochs]
    assert [sorted(epoch) for epoch in flat] == [sorted(flat[0])] * 3
    assert len({tuple(epoch) for epoch in flat}) == 3
    assert len(flat[0]) == split.num_requests
    again = Loader(split, batch_size=16, seed=7, prefetch=2)
    assert [times(iter(again)) for _ in range(3)] == epochs
    assert times(iter(Loader(split, batch_size=16, seed=8))) != epochs[0]


def test_without_a_seed_requests_come_in_order(store: Store) -> None:
    loader = Loader(store.split("train"), batch_size=10, seed=None)
    first = times(iter(loader))
    requests = store.split("train").batch(np.arange(store.split("train").num_requests)).requests
    assert [time for batch in first for time in batch] == requests.times.tolist()
    assert times(iter(loader)) == first


def test_a_request_larger_than_a_batch_stays_whole(store: Store) -> None:
    batches = list(Loader(store.split("train"), batch_size=8, seed=1))
    counts = torch.cat([batch.offsets.diff() for batch in batches])
    assert counts.max() == 40
    assert all(batch.num_rows == int(batch.offsets[-1]) for batch in batches)
    assert max(batch.num_rows for batch in batches) < 8 + 40


@pytest.mark.parametrize("prefetch", [0, 2])
def test_resuming_gives_the_same_remaining_batches(store: Store, prefetch: int) -> None:
    """The position counts what was handed out, not what was fetched; at the very end the next epoch follows."""
    split = store.split("train")
    loader = Loader(split, batch_size=16, seed=7, prefetch=prefetch)
    list(loader)
    states, whole = [loader.state_dict()], []
    for batch in loader:
        states.append(loader.state_dict())
        whole.append(batch.requests.times.tolist())
    following = times(iter(loader))
    for done, state in enumerate(states):
        again = Loader(split, batch_size=16, seed=7, prefetch=prefetch)
        again.load_state_dict(state)
        assert times(iter(again)) == whole[done:]
        assert again.state_dict() == {"epoch": 2, "position": 0}
        assert times(iter(again)) == following


def fail_at_once(loader: Loader) -> None:
    for _ in loader:
        raise RuntimeError("a step failed")


def test_stopping_early_leaves_no_thread(store: Store) -> None:
    before = threading.active_count()
    loader = Loader(store.split("train"), batch_size=4, seed=0, prefetch=2)
    for _ in loader:
        break
    batches = iter(loader)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    with pytest.raises(RuntimeError, match="a step failed"):
        fail_at_once(loader)
    deadline = time.monotonic() + 5
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before


def test_errors_of_the_thread_reach_the_reader(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    split = store.split("train")
    original, calls = split.batch, []

    def broken(requests: np.ndarray, draw: int) -> Batch:
        calls.append(len(requests))
        if len(calls) == 3:
            raise OSError("the disk is gone")
        return original(requests, draw)

    monkeypatch.setattr(split, "batch", broken)
    loader = Loader(split, batch_size=4, seed=0, prefetch=2)
    seen: list[int] = []
    with pytest.raises(OSError, match="the disk is gone"):
        seen.extend(len(batch.requests.times) for batch in loader)
    assert seen == calls[:2]
    assert loader.state_dict() == {"epoch": 0, "position": sum(seen)}


@pytest.mark.parametrize(("batch_size", "prefetch"), [(0, 1), (-1, 0), (4, -1)])
def test_impossible_sizes(store: Store, batch_size: int, prefetch: int) -> None:
    with pytest.raises(ConfigError, match="batch_size >= 1 and prefetch >= 0, got"):
        Loader(store.split("train"), batch_size=batch_size, seed=0, prefetch=prefetch)


def test_a_batch_is_the_requests_one_by_one(store: Store) -> None:
    """Gathering together or alone gives the same values, but for the padding."""
    split = store.split("test")
    together = split.batch(np.arange(split.num_requests))
    for request in range(split.num_requests):
        alone = split.batch(np.array([request]))
        rows = slice(int(together.offsets[request]), int(together.offsets[request + 1]))
        assert torch.equal(alone.candidates.ids, together.candidates.ids[rows])
        assert torch.equal(alone.candidates.numbers, together.candidates.numbers[rows])
        assert torch.equal(alone.requests.columns.ids[0], together.requests.columns.ids[request])
        history, whole = alone.requests.histories["all"], together.requests.histories["all"]
        length = int(history.lengths[0])
        assert length == int(whole.lengths[request])
        assert torch.equal(history.events.ids[0], whole.events.ids[request, :length])


def test_training_and_serving_values(store: Store) -> None:
    """Places as they were in training; the value to serve with elsewhere, or where it is asked for."""
    assert set(store.split("train").batch(np.arange(3)).candidates.numbers.flatten().tolist()) > {0.0, 1.0}
    for view in (store.split("valid"), store.split("test"), store.split("train", serving=True)):
        assert set(view.batch(np.arange(view.num_requests)).candidates.numbers.flatten().tolist()) == {0.5}


def test_no_requests(store: Store) -> None:
    """An empty choice is an empty batch."""
    batch = store.split("train").batch(np.zeros(0, np.int64))
    assert (batch.num_rows, batch.offsets.tolist()) == (0, [0])
    assert tuple(batch.requests.histories["all"].lengths.shape) == (0,)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of the process from Linux")
def test_memory_is_flat(tmp_path: Path) -> None:
    """An epoch over 100 MB of columns leaves less than 20 MB behind."""
    num_rows = 400_000
    names = [f"c{n}" for n in range(60)]
    rows = [{"click": n % 2, **dict.fromkeys(names, n % 100)} for n in range(num_rows)]
    features = [{"kind": "categorical", "column": name} for name in names]
    split = make_store(tmp_path, {"log": rows}, examples={"table": "log"}, features={"candidate": features}).split(
        "train"
    )
    del rows

    def own_memory() -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.split("RssAnon:")[1].split()[0]) * 1024

    loader = Loader(split, batch_size=1024, seed=0)
    batches = iter(loader)
    for _ in range(20):
        next(batches)
    before = own_memory()
    for _ in batches:
        pass
    assert own_memory() - before < 20e6
