"""A share of the users: the same ones everywhere, whole users, nested shares."""

from pathlib import Path

import numpy as np
import pytest

from hemix.data.loader import Loader
from hemix.data.store import SplitView, Store
from hemix.data.user_sample import UserSample
from hemix.errors import InputError
from run.clicks import make_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("clicks"))


def users_of(split: SplitView | UserSample) -> list[int]:
    loader = Loader(split, batch_size=50, seed=3)
    return sorted(user for batch in loader for user in batch.requests.users.tolist())


def test_users_are_in_or_out_as_a_whole_in_every_split(store: Store) -> None:
    chosen: set[int] = set()
    for name in ("train", "valid", "test"):
        whole, part = users_of(store.split(name)), users_of(UserSample(store.split(name), 0.4))
        assert part == [user for user in whole if user in set(part)]
        chosen |= set(part)
    everyone = set(users_of(store.split("train")))
    assert 0 < len(chosen) < len(everyone)
    assert chosen & everyone == set(users_of(UserSample(store.split("train"), 0.4)))


def test_rows_are_counted_and_shares_are_nested(store: Store) -> None:
    split = store.split("train")
    shares = [UserSample(split, share) for share in (0.2, 0.5, 1.0)]
    for sample in shares:
        batches = list(Loader(sample, batch_size=50, seed=None))
        assert sum(batch.num_rows for batch in batches) == sample.num_rows
        assert sum(len(batch.requests.users) for batch in batches) == sample.num_requests
    assert [set(users_of(shares[i])) <= set(users_of(shares[i + 1])) for i in (0, 1)] == [True, True]
    assert shares[2].num_rows == split.num_rows


def test_a_batch_of_the_sample_is_a_batch_of_the_split(store: Store) -> None:
    split = store.split("train")
    sample = UserSample(split, 0.4)
    everything = split.users(np.arange(split.num_requests))
    numbers = np.flatnonzero(np.isin(everything, users_of(sample)))
    assert sample.num_requests == len(numbers)
    (own,) = Loader(sample, batch_size=10**6, seed=None)
    assert own.labels is not None
    assert own.labels.tolist() == split.batch(numbers).labels.tolist()  # pyright: ignore[reportOptionalMemberAccess]


def test_nobody(store: Store) -> None:
    with pytest.raises(InputError, match=r"1e-12 of those of the valid split is nobody\. Take a larger share"):
        UserSample(OnlyUser(store.split("valid")), 1e-12)


class OnlyUser(SplitView):
    """A split of one user, whose hash is above every small share."""

    def __init__(self, split: SplitView) -> None:
        self.__dict__ = dict(split.__dict__)

    def users(self, requests: np.ndarray) -> np.ndarray:
        return np.full(len(requests), 5)


def test_requests_without_a_user_are_drawn_one_by_one(tmp_path: Path) -> None:
    examples = {"table": "shown", "item": "item", "time": "time"}
    nobody = make_store(tmp_path, examples=examples, histories={}, events={}, split={"by": "random"})
    split = nobody.split("train")
    sample = UserSample(split, 0.5)
    assert 0.4 * split.num_requests < sample.num_requests < 0.6 * split.num_requests
