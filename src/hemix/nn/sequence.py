"""Several histories of a request as one sequence."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


def merge(
    parts: Sequence[tuple[Float[Tensor, "R _ D"], Bool[Tensor, "R _"]]],
) -> tuple[Float[Tensor, "R T D"], Bool[Tensor, "R T"]]:
    """The events of all parts one after the other, and which are there: those in front, without gaps, in their order.

    The padding between two parts goes to the end, so that the place of an event depends on real events alone. T is the
    width of all parts together.

    >>> events, attended = torch.tensor([[[1.0], [0.0]]]), torch.tensor([[True, False]])
    >>> merged, there = merge([(events, attended), (events + 5, attended)])
    >>> merged[there].tolist()
    [[1.0], [6.0]]
    >>> there.tolist()
    [[True, True, False, False]]
    """
    events = torch.cat([events for events, _ in parts], dim=1)
    attended = torch.cat([attended for _, attended in parts], dim=1)
    order = torch.argsort((~attended).byte(), dim=1, stable=True)
    return events.gather(1, order[:, :, None].expand_as(events)), attended.gather(1, order)


def places(attended: Sequence[Bool[Tensor, "R _"]]) -> list[Int[Tensor, "R _"]]:
    """Where `merge` puts each event of each part; -1 for one that is not there."""
    joined = torch.cat(list(attended), dim=1)
    found = torch.where(joined, joined.cumsum(dim=1) - 1, -1)
    return list(found.split([part.shape[1] for part in attended], dim=1))
