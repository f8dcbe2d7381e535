"""Compare a ranker with its naive scorer: logits and the gradient of every parameter, in float64."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from factories import make_batch
from hemix.batch import Batch, Inputs
from hemix.models import ModelConfig
from hemix.models.flat import FieldModel
from hemix.ranker import Ranker, build_ranker
from parity.naive import Parameters

BATCHES = {
    "from 1 to 50 candidates": {
        "counts": (3, 1, 50, 2, 6, 1),
        "lengths": {"global": (0, 9, 2, 0, 1, 6), "real_time": (9, 0, 3, 0, 2, 1)},
    },
    "ragged": {"counts": (1, 3, 2, 5), "lengths": {"global": (0, 9, 2, 4), "real_time": (9, 0, 3, 0)}},
    "same number of candidates": {"counts": (3, 3, 3, 3)},
    "one request": {"counts": (8,), "lengths": {"global": (9,), "real_time": (3,)}},
    "switches": {"counts": (2, 1, 3, 1), "lengths": {"global": (3, 0, 2, 0), "real_time": (2, 3, 0, 0)}},
    "no events at all": {"counts": (2, 3, 1), "lengths": {"global": (0, 0, 0), "real_time": (0, 0, 0)}},
}

QUICK = ("ragged", "no events at all")
MARKED = [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in BATCHES]
"""The same names, for models whose naive scorer is slow: two batches always, the others among the slow tests."""


def perturbed(inputs: Inputs, config: ModelConfig) -> Ranker:
    """A ranker in float64 none of whose parameters has a value that hides a mistake, but padding, which is zero."""
    ranker = build_ranker(inputs, config, seed=5).double()
    random = torch.Generator().manual_seed(6)
    with torch.no_grad():
        for parameter in ranker.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=random, dtype=torch.float64)
        for table in ranker.embedding.tables:
            table[0] = 0.0
    return ranker


def assert_parity(ranker: Ranker, batch: Batch, naive: Callable[[Parameters], Tensor]) -> None:
    """The loss is a random weighting of all logits, so that no two errors cancel."""
    logits = ranker(batch)
    mix = torch.randn(logits.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    leaves = {name: value.detach().clone().requires_grad_() for name, value in ranker.named_parameters()}
    expected = naive({**dict(ranker.named_buffers()), **leaves})
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-11)
    ranker.zero_grad()
    (logits * mix).sum().backward()
    (expected * mix).sum().backward()
    for name, parameter in ranker.named_parameters():
        torch.testing.assert_close(
            _dense(parameter.grad, parameter), _dense(leaves[name].grad, parameter), rtol=1e-8, atol=1e-10, msg=name
        )


def _dense(gradient: Tensor | None, like: Tensor) -> Tensor:
    if gradient is None:
        return torch.zeros_like(like)
    return gradient.to_dense() if gradient.is_sparse else gradient


def batch_of(inputs: Inputs, name: str) -> Batch:
    counts: Sequence[int] = BATCHES[name]["counts"]
    lengths = BATCHES[name].get("lengths")
    return make_batch(inputs, counts=counts, lengths=lengths, seed=3, dtype=torch.float64)


def assert_equation(
    model: FieldModel,
    score: Callable[[Sequence[Tensor]], Tensor],
    naive: Callable[[Parameters, Sequence[Tensor]], Tensor],
    inputs: Sequence[Tensor],
) -> None:
    """Logits of a flat model alone, and gradients of every parameter and stream; no parameter is at its start value.

    `inputs` are what the streams read, in float64; `naive` gets copies of them.
    """
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=random, dtype=torch.float64)
    others = [value.detach().clone().requires_grad_() for value in inputs]
    leaves = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    logits, expected = score(inputs), naive(leaves, others)
    torch.testing.assert_close(logits, expected, rtol=1e-9, atol=1e-11)
    mix = torch.randn(logits.shape, generator=random, dtype=torch.float64)
    found = torch.autograd.grad((logits * mix).sum(), [*model.parameters(), *inputs])
    wanted = torch.autograd.grad((expected * mix).sum(), [*leaves.values(), *others])
    for name, one, other in zip([*leaves, *model.streams], found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10, msg=name)
