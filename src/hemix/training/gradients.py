"""Gradients of a step: rows of sparse ones merged, one norm over all of them, clipped. Never walks a whole table."""

from collections.abc import Iterable

import torch
from jaxtyping import Float, Int
from torch import Tensor


def merge_rows(gradient: Tensor) -> tuple[Int[Tensor, " U"], Float[Tensor, "U D"]]:
    """Touched rows of a sparse (V, D) gradient, ascending, each once, and the sum of the gradient in each."""
    if gradient.is_coalesced():
        return gradient.indices()[0], gradient.values()
    rows, position = torch.unique(gradient._indices()[0], return_inverse=True)
    values = gradient._values()
    return rows, values.new_zeros(len(rows), values.shape[1]).index_add_(0, position, values)


def merge_sparse_gradients(parameters: Iterable[Tensor]) -> None:
    """Put each sparse gradient in coalesced form, in place: every later look at it is cheap."""
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is not None and gradient.is_sparse:
            rows, values = merge_rows(gradient)
            parameter.grad = torch.sparse_coo_tensor(
                rows[None], values, gradient.shape, is_coalesced=True, check_invariants=False
            )


def gradient_values(parameters: Iterable[Tensor]) -> list[Tensor]:
    """The numbers of every gradient: all of a dense one, the touched rows of a merged sparse one."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return [gradient._values() if gradient.is_sparse else gradient for gradient in gradients]


@torch.no_grad()
def clip_gradients(parameters: Iterable[Tensor], clip_norm: float | None) -> float:
    """Scale all gradients so that their joint norm is at most `clip_norm`; returns the norm before.

    Sparse gradients must be merged. A norm that is not finite leaves the gradients as they are.
    """
    values = gradient_values(parameters)
    if not values:
        return 0.0
    norm = float(torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(value) for value in values])))
    if clip_norm is not None and clip_norm < norm < float("inf"):
        for value in values:
            value.mul_(clip_norm / norm)
    return norm
