"""DIN's activation unit for one candidate and the events of one history, the first layer written out in full."""

from collections.abc import Sequence

import torch
from torch import Tensor

from parity.naive import Named, Parameters, linear


def pooled(
    parameters: Parameters, name: str, candidate: Named, events: list[Named], shared: Sequence[str], *, softmax: bool
) -> list[Tensor]:
    """The weighted sum of each event field: those that are shared first; zeros if there is no event."""
    query = torch.cat([dict(candidate)[field] for field in shared])
    weights, rows = [], []
    for event in events:
        extra = [field for field, _ in event if field not in shared]
        key = torch.cat([dict(event)[field] for field in shared])
        own = torch.cat([dict(event)[field] for field in extra]) if extra else query[:0]
        x = linear(parameters, f"{name}.first", torch.cat([query, key, query - key, query * key, own]))
        x = _activated(parameters, f"{name}.rest.0", x)
        layer = 0
        while f"{name}.rest.1.{layer}.weight" in parameters:
            x = linear(parameters, f"{name}.rest.1.{layer}", x)
            x = _activated(parameters, f"{name}.rest.1.{layer + 1}", x)
            layer += 2
        weights.append(linear(parameters, f"{name}.rest.2", x)[0])
        rows.append([dict(event)[field] for field in (*shared, *extra)])
    if softmax and weights:
        weights = list(torch.stack(weights).softmax(dim=0))
    return [sum(w * row[f] for w, row in zip(weights, rows, strict=True)) for f in range(len(rows[0]))] if rows else []


def _activated(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    if f"{name}.weight" not in parameters:
        return torch.clamp(x, min=0)
    return torch.clamp(x, min=0) + parameters[f"{name}.weight"] * torch.clamp(x, max=0)
