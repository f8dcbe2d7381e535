"""What a model costs to run, from its shapes alone: multiply-adds of matrix products.

A FLOP count is twice as many. Lookups, sums, norms and activations are not counted. Histories are taken at a given
length. The formulas stand beside the layers; tests/evaluate/test_cost.py holds them to torch's counter.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import nn

from hemix.nn.grouped_linear import GroupedLinear


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Multiply-adds: once for each request, and again for each of its candidates."""

    per_request: int = 0
    per_candidate: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            per_request=self.per_request + other.per_request, per_candidate=self.per_candidate + other.per_candidate
        )


@runtime_checkable
class WeighsExperts(Protocol):
    """A module that also multiplies what its linear maps return with weights."""

    def weighted_sums(self) -> int:
        """Multiply-adds per row."""
        ...


def products(module: nn.Module) -> int:
    """Multiply-adds of all linear maps of a module, each applied to one row (a grouped map: one row per group).

    >>> products(nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2)))
    40
    """
    parts = list(module.modules())
    maps = sum(part.weight.numel() for part in parts if isinstance(part, nn.Linear | GroupedLinear))
    return maps + sum(part.weighted_sums() for part in parts if isinstance(part, WeighsExperts))


def pair_products(num_rows: int, width: int) -> int:
    """Multiply-adds of an attention of `num_rows` over themselves: scores and sums."""
    return 2 * num_rows**2 * width
