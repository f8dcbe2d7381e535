"""Why a loss or a gradient is not finite: which weights, which column of the batch, which module first."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hemix.batch import Batch, FieldSpec, Inputs
from hemix.errors import TrainingError
from hemix.objectives import Loss
from hemix.train.learner import Learner

_FIX = "Lower the learning rates, or look at that column's transform; the last checkpoint is sound."


def loss_error(learner: Learner, batch: Any, loss: Loss, step: int) -> TrainingError:
    """The error for a loss that is NaN or infinite; runs the forward pass once more to find the first culprit."""
    values = {name: float(part) for name, part in loss.parts.items()} or {"total": float(loss.total)}
    bad = {name: value for name, value in values.items() if not _is_finite(value)} or {"total": float(loss.total)}
    parts = ", ".join(f"{name} = {value}" for name, value in bad.items())
    causes = [*_bad_weights(learner), *_bad_columns(learner, batch)] or _first_bad_module(learner, batch)
    cause = "; ".join(causes[:3]) or "every input and weight is finite"
    return TrainingError(f"The loss must be finite; at step {step} {parts}. Found: {cause}. {_FIX}")


def gradient_error(learner: Learner, batch: Any, norm: float, step: int) -> TrainingError:
    """The error for a gradient norm that is NaN or infinite though the loss is finite."""
    bad = []
    for name, parameter in learner.trainable().items():
        gradient = parameter.grad
        if gradient is None:
            continue
        values = gradient._values() if gradient.is_sparse else gradient
        finite = values.isfinite()
        if not finite.all():
            rows = gradient._indices()[0][~finite.all(1)] if gradient.is_sparse else None
            bad.append(_describe(learner, name, rows))
    causes = [*bad[:3], *_bad_columns(learner, batch)]
    cause = "; ".join(causes) or "each gradient is finite, their joint norm overflows"
    return TrainingError(f"Gradients must be finite; at step {step} their norm is {norm}. Found: {cause}. {_FIX}")


def _is_finite(value: float) -> bool:
    return value - value == 0


def _bad_weights(learner: Learner) -> list[str]:
    found = []
    for name, parameter in learner.named_parameters():
        finite = parameter.detach().isfinite()
        if not finite.all():
            table = name in learner.table_names
            rows = (~finite.flatten(1).all(1)).nonzero()[:, 0] if table else None
            found.append(f"weights of {_describe(learner, name, rows)}")
    return found


def _describe(learner: Learner, name: str, rows: Tensor | None) -> str:
    """A parameter by name; for rows of a concatenated table also the embedding tables that they belong to."""
    if rows is None or name not in learner.table_names:
        return f"parameter {name}"
    return f"parameter {name}, rows {sorted(set(rows.tolist()))[:3]}"


def _bad_columns(learner: Learner, batch: Any) -> list[str]:
    """Number columns with an infinite value (NaN means missing), and labels or weights that are not numbers."""
    inputs = getattr(learner.model, "inputs", None)
    if not isinstance(batch, Batch) or not isinstance(inputs, Inputs):
        return []
    found = []
    for side, fields, numbers in _number_columns(inputs, batch):
        infinite = numbers.isinf().flatten(0, -2).any(0)
        for field in fields:
            columns = slice(field.start, field.start + field.width)
            if field.kind in ("number", "vector") and infinite[columns].any():
                found.append(f"{side} feature {field.name!r} is infinite")
    if batch.labels is not None and batch.labels.isinf().any():
        found.append("a label is infinite")
    if batch.weights is not None and not batch.weights.isfinite().all():
        found.append("a sample weight is not finite")
    return found


def _number_columns(inputs: Inputs, batch: Batch) -> Iterator[tuple[str, tuple[FieldSpec, ...], Tensor]]:
    yield "request", inputs.request, batch.requests.columns.numbers
    yield "candidate", inputs.candidate, batch.candidates.numbers
    for history in inputs.histories:
        yield f"history {history.name}", history.fields, batch.requests.histories[history.name].events.numbers


def _first_bad_module(learner: Learner, batch: Any) -> list[str]:
    """The first module in a repeated forward pass whose output is not finite."""
    found: list[str] = []
    handles: list[RemovableHandle] = []

    def watch(name: str) -> Any:
        def look(module: nn.Module, arguments: Any, output: Any) -> None:
            if isinstance(output, Tensor) and output.is_floating_point() and not output.isfinite().all():
                found.append(f"output of {name} ({type(module).__name__})")

        return look

    for name, module in learner.named_modules():
        handles.append(module.register_forward_hook(watch(name or "objective")))
    try:
        with torch.no_grad():
            learner(batch)
    finally:
        for handle in handles:
            handle.remove()
    return found[:1]
