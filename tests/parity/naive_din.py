"""DIN for one row at a time; only Dice in training looks at all rows."""

from collections.abc import Callable

import torch
from torch import Tensor

from hemix.batch import Batch, HistorySpec, Inputs
from hemix.models.dien import DIENConfig
from hemix.models.din import DINConfig
from hemix.models.sim import SIMConfig
from parity.naive import NaiveFields, Named, Parameters, joined, linear, request_of
from parity.naive_attention import pooled

Interest = Callable[[int, HistorySpec, Named, list[Named]], Tensor]
"""Of one candidate in one history, by its number; the history's fields, the candidate's, and those of its events."""


def score(parameters: Parameters, config: DINConfig, inputs: Inputs, batch: Batch, *, training: bool = True) -> Tensor:
    fields = NaiveFields(parameters, inputs, config.embedding_dim)

    def interest(index: int, history: HistorySpec, candidate: Named, events: list[Named]) -> Tensor:
        name = f"backbone.attention.{index}"
        found = pooled(parameters, name, candidate, events, history.shared, softmax=config.attention_softmax)
        width = sum(fields.widths.get(field.table or "", config.embedding_dim) for field in history.fields)
        return torch.cat(found) if found else torch.zeros(width, dtype=torch.float64)

    return layers(parameters, config, rows(fields, config, batch, interest), training=training)


def rows(fields: NaiveFields, config: DINConfig | DIENConfig, batch: Batch, interest: Interest) -> Tensor:
    """What the MLP reads: the fields of request and candidate, and an interest in each history."""
    histories = {history.name: history for history in fields.inputs.histories}
    found = []
    for n in range(batch.num_rows):
        r, candidate = request_of(batch, n), fields.candidate(batch, n)
        parts = [joined(fields.request(batch, r)), joined(candidate)]
        for index, name in enumerate(config.histories or histories):
            parts.append(interest(index, histories[name], candidate, fields.events(batch, name, r)))
        found.append(torch.cat(parts))
    return torch.stack(found)


def layers(parameters: Parameters, config: DINConfig | DIENConfig | SIMConfig, x: Tensor, *, training: bool) -> Tensor:
    """The MLP over all fields, whose first layer is not split, and one linear map to the logits."""
    x = torch.stack([linear(parameters, "backbone.first.linear", row) for row in x])
    x = _activated(parameters, config, "backbone.rest.0", x, training=training)
    for layer in range(len(config.hidden) - 1):
        x = torch.stack([linear(parameters, f"backbone.rest.1.{2 * layer}", row) for row in x])
        x = _activated(parameters, config, f"backbone.rest.1.{2 * layer + 1}", x, training=training)
    return torch.stack([linear(parameters, "backbone.rest.2", row) for row in x])


def _activated(
    parameters: Parameters, config: DINConfig | DIENConfig | SIMConfig, name: str, x: Tensor, *, training: bool
) -> Tensor:
    if config.activation == "relu":
        return torch.clamp(x, min=0)
    if config.activation == "prelu":
        return torch.clamp(x, min=0) + parameters[f"{name}.weight"] * torch.clamp(x, max=0)
    mean = sum(x) / len(x) if training else parameters[f"{name}.running_mean"]
    variance = sum((row - mean) ** 2 for row in x) / len(x) if training else parameters[f"{name}.running_variance"]
    gate = 1 / (1 + torch.exp(-(x - mean) / torch.sqrt(variance + 1e-8)))
    return gate * x + (1 - gate) * parameters[f"{name}.alpha"] * x
