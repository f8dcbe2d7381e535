"""The refinement modules for one row at a time, in evaluation, from their named parameters and buffers."""

from collections.abc import Callable

import torch
from torch import Tensor

Parameters = dict[str, Tensor]
Row = Tensor
"""(F, D)."""


def linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    y = p[f"{name}.weight"] @ x
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    """Batch norm by its running statistics."""
    scaled = (x - p[f"{name}.running_mean"]) / torch.sqrt(p[f"{name}.running_var"] + 1e-5)
    return scaled * p[f"{name}.weight"] + p[f"{name}.bias"]


def deep(p: Parameters, name: str, x: Tensor, layers: int) -> Tensor:
    for layer in range(layers):
        x = torch.clamp(norm(p, f"{name}.{4 * layer + 1}", linear(p, f"{name}.{4 * layer}", x)), min=0)
    return x


def softmax(x: Tensor) -> Tensor:
    e = torch.exp(x - x.max())
    return e / e.sum()


def fen(p: Parameters, x: Row) -> Row:
    m = softmax(deep(p, "deep", torch.cat(list(x)), 4))
    return torch.stack([m[f] * x[f] for f in range(len(x))])


def fen_of_ifm(p: Parameters, x: Row) -> Row:
    m = len(x) * softmax(linear(p, "logits", deep(p, "deep", torch.cat(list(x)), 3)))
    return torch.stack([m[f] * x[f] for f in range(len(x))])


def senet(p: Parameters, x: Row, squeeze: Callable[[Tensor], Tensor] = torch.max) -> Row:
    q = torch.stack([squeeze(field) for field in x])
    a = torch.clamp(linear(p, "excite.2", torch.clamp(linear(p, "excite.0", q), min=0)), min=0)
    return torch.stack([a[f] * x[f] for f in range(len(x))])


def fwn(p: Parameters, x: Row) -> Row:
    return torch.stack(
        [torch.clamp(x[f] @ p["maps.weight"][f] + p["maps.bias"][f], min=0) * x[f] for f in range(len(x))]
    )


def vgate(p: Parameters, x: Row) -> Row:
    return torch.stack([(x[f] * p["maps.weight"][f][:, 0]).sum() * x[f] for f in range(len(x))])


def bgate(p: Parameters, x: Row) -> Row:
    return torch.stack([(x[f] @ p["maps.weight"][f]) * x[f] for f in range(len(x))])


def bgate_sigmoid(p: Parameters, x: Row) -> Row:
    return torch.stack([1 / (1 + torch.exp(-x[f] @ p["maps.weight"][f])) * x[f] for f in range(len(x))])


def heads(p: Parameters, x: Row, count: int, scale: float) -> Row:
    """Side by side, for every field."""
    query, key, value = (torch.stack([linear(p, name, f) for f in x]) for name in ("query", "key", "value"))
    size = query.shape[1] // count
    found = []
    for f in range(len(x)):
        parts = []
        for head in range(count):
            own = slice(head * size, (head + 1) * size)
            weights = softmax(torch.stack([query[f, own] @ key[g, own] for g in range(len(x))]) * scale)
            parts.append(sum(weights[g] * value[g, own] for g in range(len(x))))
        found.append(torch.cat(parts))
    return torch.stack(found)


def self_attention(p: Parameters, x: Row, count: int = 2) -> Row:
    return torch.stack([torch.clamp(linear(p, "output", row), min=0) for row in heads(p, x, count, 1.0)])


def dfen(p: Parameters, x: Row, count: int = 2) -> Row:
    attended = heads(p, x, count, x.shape[1] ** -0.5)
    rows = [torch.clamp(attended[f] + linear(p, "residual", x[f]), min=0) for f in range(len(x))]
    by_bit = linear(p, "by_bit", deep(p, "deep", torch.cat(list(x)), 3))
    m = linear(p, "by_vector", torch.cat(rows)) + by_bit
    return torch.stack([m[f] * x[f] for f in range(len(x))])


def drm(p: Parameters, x: Row) -> Row:
    by_dimension = x.T
    query, key, value = (torch.stack([linear(p, name, d) for d in by_dimension]) for name in ("query", "key", "value"))
    found = []
    for d in range(len(by_dimension)):
        weights = softmax(torch.stack([query[d] @ key[e] for e in range(len(by_dimension))]))
        found.append(sum(weights[e] * value[e] for e in range(len(by_dimension))))
    return torch.stack(found).T + x


def tce(p: Parameters, x: Row, name: str = "") -> Row:
    found = []
    for f in range(len(x)):
        hidden = torch.clamp(torch.cat(list(x)) @ p[f"{name}aggregate.weight"][f], min=0)
        found.append(x[f] * torch.clamp(hidden @ p[f"{name}project.weight"][f], min=0))
    return torch.stack(found)


def pffn(p: Parameters, x: Row) -> Row:
    y = tce(p, x, "context.")
    for _ in range(3):
        rows = []
        for f in range(len(y)):
            row = y[f] @ p["maps.weight"][f] + y[f]
            row = (row - row.mean()) / torch.sqrt(((row - row.mean()) ** 2).mean() + 1e-5)
            rows.append(row * p["norm.weight"] + p["norm.bias"])
        y = torch.stack(rows)
    return y


def gfrl(p: Parameters, x: Row) -> Row:
    refined, gate = (_refinement_unit(p, x, name) for name in ("refine", "gate"))
    gate = 1 / (1 + torch.exp(-gate))
    return (1 - gate) * x + gate * refined


def _refinement_unit(p: Parameters, x: Row, name: str) -> Row:
    code = torch.clamp(linear(p, f"{name}.code", deep(p, f"{name}.deep", torch.cat(list(x)), 1)), min=0)
    maps = [x[f] @ p[f"{name}.maps.weight"][f] + p[f"{name}.maps.bias"][f] for f in range(len(x))]
    return torch.stack([row * code for row in maps])


def frnet(p: Parameters, x: Row, *, by_vector: bool = False) -> Row:
    complement, weights = (_information_unit(p, x, name) for name in ("complement", "weigh"))
    if by_vector:
        weights = weights.sum(dim=1, keepdim=True)
    weights = 1 / (1 + torch.exp(-weights))
    return weights * x + (1 - weights) * complement


def frnet_vector(p: Parameters, x: Row) -> Row:
    return frnet(p, x, by_vector=True)


def _information_unit(p: Parameters, x: Row, name: str) -> Row:
    own = {key.removeprefix(f"{name}."): value for key, value in p.items() if key.startswith(f"{name}.")}
    attended = heads(own, x, 1, 1.0)
    z = norm(own, "code.1", linear(own, "code.0", torch.cat(list(x))))
    z = torch.clamp(z, min=0) + own["code.2.weight"] * torch.clamp(z, max=0)
    z = linear(own, "code.4", z)
    z = torch.clamp(z, min=0) + own["code.5.weight"] * torch.clamp(z, max=0)
    return torch.stack([linear(own, "output", row) * z for row in attended])
