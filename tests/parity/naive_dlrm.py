"""DLRM for one row at a time. The top MLP's input is laid out request first, as the package's first layer is split."""

import torch
from torch import Tensor

from hemix.batch import Batch, Inputs
from hemix.models.dlrm import DLRMConfig
from parity.naive import NaiveFields, Named, Parameters, linear, request_of
from parity.naive_attention import pooled


def score(parameters: Parameters, config: DLRMConfig, inputs: Inputs, batch: Batch) -> Tensor:
    fields = NaiveFields(parameters, inputs, config.embedding_dim, raw_numbers=True)
    return torch.stack([_row(parameters, config, fields, batch, n) for n in range(batch.num_rows)])


def _row(parameters: Parameters, config: DLRMConfig, fields: NaiveFields, batch: Batch, n: int) -> Tensor:
    inputs = fields.inputs
    r = request_of(batch, n)
    numeric = {field.name for field in (*inputs.request, *inputs.candidate) if field.kind == "number"}
    request, candidate = fields.request(batch, r), fields.candidate(batch, n)
    numbers = [value for name, value in request + candidate if name in numeric]
    of_request = [value for name, value in request if name not in numeric]
    of_candidate = _bottom(parameters, config, numbers)
    of_candidate += [value for name, value in candidate if name not in numeric]
    names = config.histories or tuple(history.name for history in inputs.histories)
    for index, name in enumerate(names):
        history = next(history for history in inputs.histories if history.name == name)
        events = fields.events(batch, name, r)
        zeros = [torch.zeros(config.embedding_dim, dtype=batch.candidates.numbers.dtype) for _ in history.fields]
        if config.history_pooling == "mean":
            of_request += _means(events) or zeros
        else:
            shared = [field for field in history.shared if field not in numeric]
            attention = f"backbone.attention.{index}"
            of_candidate += pooled(parameters, attention, candidate, events, shared, softmax=True) or zeros
    top = _upper_products(of_request)
    top += of_request if config.embeddings_to_top else []
    top += _upper_products(of_candidate)
    top += [(own @ other)[None] for own in of_candidate for other in of_request]
    top += of_candidate if config.embeddings_to_top else of_candidate[: len(_bottom(parameters, config, numbers))]
    x = torch.clamp(linear(parameters, "backbone.first.linear", torch.cat(top)), min=0)
    for layer in range(len(config.top_hidden) - 1):
        x = torch.clamp(linear(parameters, f"backbone.rest.1.{2 * layer}", x), min=0)
    return linear(parameters, "backbone.rest.2", x)


def _bottom(parameters: Parameters, config: DLRMConfig, numbers: list[Tensor]) -> list[Tensor]:
    if not numbers:
        return []
    x = torch.cat(numbers)
    for layer in range(len(config.bottom_hidden) + 1):
        x = torch.clamp(linear(parameters, f"backbone.bottom.{2 * layer}", x), min=0)
    return [x]


def _means(events: list[Named]) -> list[Tensor]:
    return [sum(event[f][1] for event in events) / len(events) for f in range(len(events[0]))] if events else []


def _upper_products(vectors: list[Tensor]) -> list[Tensor]:
    return [(vectors[i] @ vectors[j])[None] for i in range(len(vectors)) for j in range(i + 1, len(vectors))]
