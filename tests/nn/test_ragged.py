"""Rows grouped by request."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hemix.nn.ragged import Ragged, capacities

counts_of_requests = st.lists(st.one_of(st.integers(0, 5), st.integers(0, 60)), min_size=1, max_size=9).filter(any)


def ragged(counts: list[int]) -> Ragged:
    return Ragged(torch.tensor([0, *counts]).cumsum(0), sum(counts))


@given(counts=counts_of_requests)
def test_spread_repeats_each_request(counts: list[int]) -> None:
    values = torch.randn(len(counts), 3)
    expected = torch.cat([values[r : r + 1].expand(count, -1) for r, count in enumerate(counts)])
    assert torch.equal(ragged(counts).spread(values), expected)


@given(counts=counts_of_requests, size=st.integers(0, 200))
def test_chunks_are_small_and_change_nothing(counts: list[int], size: int) -> None:
    rows, values = torch.randn(sum(counts), 2), torch.randn(len(counts), 2)
    seen = []

    def multiply(rows: Tensor, values: Tensor) -> Tensor:
        seen.append(rows.shape[0] * rows.shape[1])
        return rows * values[:, None]

    groups = ragged(counts)
    assert torch.equal(groups.map_in_chunks(multiply, size, rows, values), rows * groups.spread(values))
    assert max(seen) <= max(1, size)


@given(counts=counts_of_requests)
def test_map_pairs_rows_with_their_request(counts: list[int]) -> None:
    """Values and gradients of a product equal those of the repeated request."""
    rows = torch.randn(sum(counts), 2, dtype=torch.float64, requires_grad=True)
    values = torch.randn(len(counts), 2, dtype=torch.float64, requires_grad=True)
    mix = torch.randn(sum(counts), 2, dtype=torch.float64)
    groups = ragged(counts)

    def multiply(rows: Tensor, values: Tensor) -> Tensor:
        return rows * values[:, None]

    found = groups.map(multiply, rows, values)
    expected = rows * groups.spread(values)
    assert torch.equal(found, expected)
    for actual, wanted in zip(
        torch.autograd.grad((found * mix).sum(), (rows, values)),
        torch.autograd.grad((expected * mix).sum(), (rows, values)),
        strict=True,
    ):
        torch.testing.assert_close(actual, wanted)


def test_requests_of_like_size_are_worked_on_together_and_none_is_repeated() -> None:
    """500 requests of 1 to 4 candidates: 4 calls; each request's value is handed over once."""
    counts = [1 + r % 4 for r in range(500)]
    calls = []

    def look(rows: Tensor, values: Tensor) -> Tensor:
        calls.append((rows.shape[:2], len(values)))
        return rows

    ragged(counts).map(look, torch.zeros(sum(counts), 1), torch.zeros(500, 1))
    assert calls == [((125, count), 125) for count in (1, 2, 3, 4)]


def test_equal_sizes_move_nothing() -> None:
    rows = torch.randn(6, 2)
    places = []

    def look(rows: Tensor, values: Tensor) -> Tensor:
        places.append((rows.data_ptr(), values.data_ptr()))
        return rows

    values = torch.randn(3, 2)
    ragged([2, 2, 2]).map(look, rows, values)
    assert places == [(rows.data_ptr(), values.data_ptr())]


@given(count=st.integers(1, 5000))
def test_padding_is_below_half(count: int) -> None:
    capacity = int(capacities(torch.tensor([count])))
    assert count <= capacity < 1.5 * count or count == capacity
