"""Histories as one sequence."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from hemix.nn.sequence import merge


def part(events: list[list[float]], width: int) -> tuple[Tensor, Tensor]:
    """Events of width 1, padded with -1."""
    padded = [row + [-1.0] * (width - len(row)) for row in events]
    lengths = torch.tensor([len(row) for row in events])
    return torch.tensor(padded).view(len(events), width, 1), torch.arange(width) < lengths[:, None]


@given(data=st.data(), num_parts=st.integers(1, 3), num_requests=st.integers(1, 4))
def test_events_stand_in_front_in_order(data: st.DataObject, num_parts: int, num_requests: int) -> None:
    """Against lists put one after the other; the padding between them is gone, however much there was."""
    parts, expected = [], [[] for _ in range(num_requests)]
    for place in range(num_parts):
        lengths = data.draw(st.lists(st.integers(0, 3), min_size=num_requests, max_size=num_requests))
        rows = [[100.0 * place + 10 * r + t for t in range(n)] for r, n in enumerate(lengths)]
        parts.append(part(rows, max(lengths) + data.draw(st.integers(0, 2))))
        expected = [before + row for before, row in zip(expected, rows, strict=True)]
    events, attended = merge(parts)
    assert events.shape == (num_requests, sum(events.shape[1] for events, _ in parts), 1)
    for r, row in enumerate(expected):
        assert attended[r].tolist() == [t < len(row) for t in range(events.shape[1])]
        assert events[r, : len(row), 0].tolist() == row


def test_padding_in_front_goes_too() -> None:
    """A part may be turned around."""
    events, attended = part([[1.0], [2.0, 3.0]], 3)
    merged, there = merge([(events.flip(1), attended.flip(1))])
    assert merged[0, :1, 0].tolist() == [1]
    assert merged[1, :2, 0].tolist() == [3, 2]
    assert there.tolist() == [[True, False, False], [True, True, False]]
