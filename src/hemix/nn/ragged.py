"""Candidates of requests: N rows in R groups of different size, and how to work on them without repeating a request.

`offsets` (R + 1) says where the rows of each request begin. Requests with similar numbers of candidates are padded to
a common number and worked on together, so that what belongs to the request (keys, values) is never copied per row.
"""

from collections.abc import Callable

import torch
from jaxtyping import Int, Shaped
from torch import Tensor


class Ragged:
    """The grouping of one batch. Where all requests have equally many candidates nothing is moved or padded."""

    def __init__(self, offsets: Int[Tensor, " R_plus_1"], num_rows: int) -> None:
        self.counts = offsets.diff()
        self.num_rows = num_rows
        self.num_requests = len(self.counts)
        smallest, largest = self.counts.aminmax()
        self.same_count = int(largest) if int(smallest) == int(largest) else None
        if self.same_count is None:
            self._bucket(offsets)

    def _bucket(self, offsets: Int[Tensor, " R_plus_1"]) -> None:
        capacity = capacities(self.counts)
        sorted_capacity, order = torch.sort(capacity, stable=True)
        skip = int((sorted_capacity == 0).sum())
        self._order, sorted_capacity = order[skip:], sorted_capacity[skip:]
        sizes, requests = torch.unique_consecutive(sorted_capacity, return_counts=True)
        self._sizes = list(zip(requests.tolist(), sizes.tolist(), strict=True))
        starts = sorted_capacity.cumsum(0) - sorted_capacity
        slot = torch.arange(int(sorted_capacity.sum()), device=offsets.device)
        slot -= starts.repeat_interleave(sorted_capacity)
        first = offsets[:-1][self._order].repeat_interleave(sorted_capacity)
        last = self.counts[self._order].repeat_interleave(sorted_capacity) - 1
        self._padded_rows = (first + torch.minimum(slot, last)).long()
        place = starts.new_zeros(self.num_requests)
        place[self._order] = starts
        rows = torch.arange(self.num_rows, device=offsets.device)
        self._index = torch.repeat_interleave(self.counts)
        self._positions = place[self._index] + rows - offsets[:-1][self._index]

    def spread(self, values: Shaped[Tensor, "R *rest"]) -> Shaped[Tensor, "N *rest"]:
        """Give each row its request's value."""
        if self.same_count is not None:
            return values[:, None].expand(-1, self.same_count, *values.shape[1:]).flatten(0, 1)
        return values.index_select(0, self._index)

    def map(
        self, function: Callable[..., Tensor], rows: Shaped[Tensor, "N *rest"], *per_request: Tensor
    ) -> Shaped[Tensor, "N *out"]:
        """Apply ``function(rows (B, C, ...), *per_request (B, ...)) -> (B, C, ...)`` to requests of like size.

        The function must treat each candidate on its own: some rows are padding, a copy of a row of that request.
        """
        if self.same_count is not None:
            return function(rows.unflatten(0, (self.num_requests, self.same_count)), *per_request).flatten(0, 1)
        padded = rows.index_select(0, self._padded_rows).split([count * size for count, size in self._sizes])
        requests = [count for count, _ in self._sizes]
        sorted_values = [value.index_select(0, self._order).split(requests) for value in per_request]
        outputs = []
        for bucket, (count, size) in enumerate(self._sizes):
            values = [split[bucket] for split in sorted_values]
            outputs.append(function(padded[bucket].unflatten(0, (count, size)), *values).flatten(0, 1))
        return torch.cat(outputs).index_select(0, self._positions)

    def map_in_chunks(
        self,
        function: Callable[..., Tensor],
        num_candidates: int,
        rows: Shaped[Tensor, "N *rest"],
        *per_request: Tensor,
    ) -> Shaped[Tensor, "N *out"]:
        """`map` for at most so many candidates at a time, but one: some requests whole, or a part of one request.

        `split` rather than slices of the whole, whose gradients would each fill a whole tensor.
        """

        def in_chunks(rows: Tensor, *values: Tensor) -> Tensor:
            candidates = max(1, min(rows.shape[1], num_candidates))
            requests = max(1, num_candidates // candidates)
            found = []
            for own, *others in zip(*(x.split(requests) for x in (rows, *values)), strict=True):
                found.append(torch.cat([function(chunk, *others) for chunk in own.split(candidates, dim=1)], dim=1))
            return torch.cat(found)

        return self.map(in_chunks, rows, *per_request)


def capacities(counts: Int[Tensor, " R"]) -> Int[Tensor, " R"]:
    """The number to which each count is padded: the next of 1, 2, 3, 4, 6, 8, 12, 16, 24, ...; 0 stays 0.

    >>> capacities(torch.tensor([0, 1, 5, 7, 500])).tolist()
    [0, 1, 6, 8, 512]
    """
    power = 2 ** torch.ceil(torch.log2(counts.clamp(min=1).double())).long()
    smaller = power * 3 // 4
    return torch.where(counts == 0, 0, torch.where((counts <= smaller) & (power >= 4), smaller, power))
