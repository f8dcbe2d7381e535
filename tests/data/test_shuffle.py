"""The random order that needs no memory is a permutation, the same for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemix.data.shuffle import Shuffle


@given(size=st.integers(1, 3000), seed=st.integers(0, 2**64 - 1))
def test_is_a_permutation_of_any_size(size: int, seed: int) -> None:
    assert sorted(Shuffle(size, seed).take(0, size).tolist()) == list(range(size))


@given(size=st.integers(2, 500), seed=st.integers(0, 1000), cut=st.floats(0, 1))
def test_any_stretch_is_part_of_the_whole(size: int, seed: int, cut: float) -> None:
    shuffle, middle = Shuffle(size, seed), int(cut * size)
    parts = [shuffle.take(0, middle), shuffle.take(middle, size)]
    assert np.concatenate(parts).tolist() == Shuffle(size, seed).take(0, size).tolist()


def test_seeds_give_different_orders() -> None:
    orders = {tuple(Shuffle(1000, seed).take(0, 1000).tolist()) for seed in range(50)}
    assert len(orders) == 50


@pytest.mark.slow
def test_looks_random() -> None:
    """Over 2,000 seeds each of 5 things comes first about equally often (chi-squared of 4 degrees, 99.9 %: 18.5), and
    neighbours do not stay neighbours.
    """
    counts = np.bincount([int(Shuffle(5, seed).take(0, 1)[0]) for seed in range(2000)], minlength=5)
    assert ((counts - 400) ** 2 / 400).sum() < 18.5
    order = Shuffle(10_000, 3).take(0, 10_000)
    assert (np.abs(np.diff(order)) == 1).sum() < 20
    assert abs(np.corrcoef(np.arange(10_000), order)[0, 1]) < 0.05
