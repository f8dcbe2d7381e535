"""Several histories of a request as one sequence of events."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor


def merge(
    parts: Sequence[tuple[Float[Tensor, "R _ D"], Bool[Tensor, "R _"]]],
) -> tuple[Float[Tensor, "R T D"], Bool[Tensor, "R T"]]:
    """One after the other, without the padding between them: the events of each request stand in front, in order.

    A part is its events and which of them are there. T is the sum of the widths of the parts; padding follows.
    """
    events = torch.cat([part for part, _ in parts], dim=1)
    attended = torch.cat([part for _, part in parts], dim=1)
    order = torch.argsort(~attended, dim=1, stable=True)
    return events.gather(1, order[..., None].expand_as(events)), attended.gather(1, order)
