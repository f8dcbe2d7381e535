"""Several histories as one sequence."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from hemix.nn.sequence import merge, places


def test_worked_example() -> None:
    """Two requests; the padding of the first history stands in neither, nor does a gap within it."""
    first = torch.tensor([[1.0, 9.0, 2.0], [9.0, 9.0, 9.0]])[..., None]
    second = torch.tensor([[3.0, 9.0], [4.0, 5.0]])[..., None]
    there = [torch.tensor([[True, False, True], [False] * 3]), torch.tensor([[True, False], [True, True]])]
    events, attended = merge([(first, there[0]), (second, there[1])])
    assert attended.tolist() == [[True, True, True, False, False], [True, True, False, False, False]]
    assert events[..., 0][attended].tolist() == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert [part.tolist() for part in places(there)] == [[[0, -1, 1], [-1] * 3], [[2, -1], [0, 1]]]


@given(widths=st.lists(st.integers(0, 4), min_size=1, max_size=3), requests=st.integers(1, 4), seed=st.integers(0, 99))
def test_events_of_each_request_in_turn(widths: list[int], requests: int, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    parts = [
        (torch.randn(requests, width, 2, generator=random), torch.rand(requests, width, generator=random) < 0.5)
        for width in widths
    ]
    events, attended = merge(parts)
    where = places([there for _, there in parts])
    for r in range(requests):
        expected = torch.cat([part[r][there[r]] for part, there in parts])
        assert attended[r].tolist() == [t < len(expected) for t in range(attended.shape[1])]
        assert torch.equal(events[r, : len(expected)], expected)
        for (part, there), place in zip(parts, where, strict=True):
            assert torch.equal(events[r][place[r][there[r]]], part[r][there[r]])
            assert (place[r][~there[r]] == -1).all()
    assert attended.shape[1] == sum(widths)


def test_gradients_reach_the_events_that_are_there() -> None:
    first, second = torch.randn(1, 2, 1, requires_grad=True), torch.randn(1, 2, 1, requires_grad=True)
    there = torch.tensor([[True, False]])
    events, attended = merge([(first, there), (second, there)])
    events[attended].sum().backward()
    assert first.grad is not None
    assert second.grad is not None
    assert [first.grad.flatten().tolist(), second.grad.flatten().tolist()] == [[1.0, 0.0], [1.0, 0.0]]
