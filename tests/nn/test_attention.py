"""Attention over a request's events."""

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from hemix.nn.attention import over_candidates, over_events, split_heads
from hemix.nn.ragged import Ragged


def test_worked_example() -> None:
    """One head of width 1, keys 0 and log 3 (times the query 1): weights 1/4 and 3/4 of values 4 and 8."""
    keys = torch.tensor([0.0, math.log(3.0), 50.0]).view(1, 1, 3, 1)
    values = torch.tensor([4.0, 8.0, 1e6]).view(1, 1, 3, 1)
    attended = torch.tensor([[True, True, False]])
    torch.testing.assert_close(over_events(torch.ones(1, 1, 1), keys, values, attended), torch.tensor([[[7.0]]]))


@given(
    counts=st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any),
    steps=st.integers(1, 6),
    seed=st.integers(0, 99),
)
def test_candidates_see_the_events_of_their_request(counts: list[int], steps: int, seed: int) -> None:
    """Against softmax(q k / sqrt(d)) v written out, each row with a copy of its request's events."""
    torch.manual_seed(seed)
    requests, rows, heads, width = len(counts), sum(counts), 2, 3
    queries = torch.randn(rows, 4, heads * width, dtype=torch.float64)
    keys = torch.randn(requests, steps, heads * width, dtype=torch.float64)
    values = torch.randn(requests, steps, heads * width, dtype=torch.float64)
    lengths = torch.randint(1, steps + 1, (requests,))
    attended = torch.arange(steps) < lengths[:, None]
    ragged = Ragged(torch.tensor([0, *counts]).cumsum(0), rows)
    found = over_candidates(queries, split_heads(keys, heads), split_heads(values, heads), attended, ragged)
    row = 0
    for r, count in enumerate(counts):
        for _ in range(count):
            for h in range(heads):
                part = slice(h * width, (h + 1) * width)
                own = keys[r, : lengths[r], part]
                weights = (queries[row, :, part] @ own.T / math.sqrt(width)).softmax(dim=-1)
                torch.testing.assert_close(found[row, :, part], weights @ values[r, : lengths[r], part])
            row += 1
