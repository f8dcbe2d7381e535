"""Histories put together."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from hemix.nn.sequence import merge

LENGTHS = st.lists(st.integers(0, 4), min_size=3, max_size=3)


@given(parts=st.lists(LENGTHS, min_size=1, max_size=4), padding=st.integers(0, 2))
def test_real_events_come_first_and_in_order(parts: list[list[int]], padding: int) -> None:
    """Three requests, events numbered from 1: against lists, for any padding between the parts."""
    numbered, expected, count = [], [[] for _ in range(3)], 0
    for lengths in parts:
        events, attended = torch.zeros(3, max(lengths) + padding, 1), torch.zeros(3, max(lengths) + padding).bool()
        for r, length in enumerate(lengths):
            own = [float(count + place + 1) for place in range(length)]
            events[r, :length, 0], attended[r, :length] = torch.tensor(own), True
            expected[r] += own
            count += length
        numbered.append((events, attended))
    merged, there = merge(numbered)
    assert merged.shape[1] == sum(events.shape[1] for events, _ in numbered)
    for r, own in enumerate(expected):
        assert merged[r, : len(own), 0].tolist() == own
        assert there[r].tolist() == [place < len(own) for place in range(merged.shape[1])]


def test_events_that_are_there_may_stand_anywhere() -> None:
    events = torch.tensor([[[1.0], [2.0], [3.0]]])
    merged, there = merge([(events, torch.tensor([[False, True, True]])), (events * 10, torch.tensor([[True] * 3]))])
    assert merged[there].flatten().tolist() == [2.0, 3.0, 10.0, 20.0, 30.0]
