"""Why a loss or a gradient is not finite: which weights, which column of the batch, which module first."""

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hemix.batch import Batch, FieldSpec, Inputs
from hemix.errors import TrainingError
from hemix.objectives import Loss
from hemix.ranker import Ranker
from hemix.training.learner import Learner

_FIX = "Lower the learning rates, or look at that column's transform; the last checkpoint is sound."


def loss_error(learner: Learner, batch: Any, loss: Loss, step: int) -> TrainingError:
    """The error for a loss that is NaN or infinite; runs the forward pass once more to find the first culprit."""
    values = {name: part.item() for name, part in loss.parts.items()}
    bad = {name: value for name, value in values.items() if not math.isfinite(value)} or {"total": loss.total.item()}
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
    """A parameter by name; rows of a concatenated table by embedding table, id, and the fields that read it."""
    if rows is None:
        return f"parameter {name}"
    first = sorted(set(rows.tolist()))[:3]
    ranker = learner.model
    if not isinstance(ranker, Ranker):
        return f"parameter {name}, rows {first}"
    parameter = learner.get_parameter(name)
    index = next(i for i, table in enumerate(ranker.embedding.tables) if table is parameter)
    places = [ranker.embedding.locate(index, row) for row in first]
    return ", ".join(
        f"table {table!r} id {value} (read by {_readers(ranker.inputs, table)})" for table, value in places
    )


def _readers(inputs: Inputs, table: str) -> str:
    sides = {"request": inputs.request, "candidate": inputs.candidate, **{h.name: h.fields for h in inputs.histories}}
    return ", ".join(
        f"{side} {field.name}" for side, fields in sides.items() for field in fields if field.table == table
    )


def _bad_columns(learner: Learner, batch: Any) -> list[str]:
    """Number columns with an infinite value (NaN means missing), and labels or weights that are not numbers."""
    ranker = learner.model
    if not isinstance(batch, Batch) or not isinstance(ranker, Ranker):
        return []
    found = []
    for side, fields, numbers in _number_columns(ranker.inputs, batch):
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
