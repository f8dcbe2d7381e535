"""BST for one row at a time: the whole sequence, the candidate last, through every block and every head."""

import math
from dataclasses import replace

import torch
from torch import Tensor

from hemix.batch import Batch, HistorySpec, Inputs
from hemix.models.bst import BSTConfig
from parity.naive import NaiveFields, Parameters, joined, linear, request_of

PARTS = ("older", "recent", "all")


def score(parameters: Parameters, config: BSTConfig, inputs: Inputs, batch: Batch) -> Tensor:
    read = replace(inputs, histories=tuple(_histories(config, inputs)))
    fields = NaiveFields(parameters, read, config.embedding_dim)
    return torch.stack([_row(parameters, config, fields, batch, n) for n in range(batch.num_rows)])


def _row(parameters: Parameters, config: BSTConfig, fields: NaiveFields, batch: Batch, n: int) -> Tensor:
    r = request_of(batch, n)
    rows = _sequence(parameters, config, fields, batch, n)
    for index in range(config.num_blocks):
        rows = _block(parameters, config, f"backbone.blocks.{index}", rows)
    request, candidate = joined(fields.request(batch, r)), joined(fields.candidate(batch, n))
    if config.pooling == "candidate":
        x = [request, candidate, rows[-1]]
    elif config.pooling == "mean":
        x = [request, candidate, sum(rows) / len(rows)]
    else:
        longest = sum(history.max_length for history in _histories(config, fields.inputs))
        wanted = min(config.concat_length, longest)
        events = rows[:-1][-wanted:]
        events = [torch.zeros_like(rows[-1])] * (wanted - len(events)) + events
        x = [request, candidate, *events, rows[-1]]
        if not config.events_see_candidate:
            x = [request, *events, candidate, rows[-1]]
    hidden = _leaky(linear(parameters, "backbone.first.linear", torch.cat(x)))
    for layer in range(1, len(config.hidden)):
        hidden = _leaky(linear(parameters, f"backbone.rest.{2 * layer - 1}", hidden))
    return linear(parameters, f"backbone.rest.{2 * len(config.hidden) - 1}", hidden)


def _histories(config: BSTConfig, inputs: Inputs) -> list[HistorySpec]:
    names = config.histories or [history.name for history in inputs.histories]
    chosen = [history for name in names for history in inputs.histories if history.name == name]
    return [history for part in PARTS for history in chosen if history.part == part]


def _sequence(parameters: Parameters, config: BSTConfig, fields: NaiveFields, batch: Batch, n: int) -> list[Tensor]:
    r = request_of(batch, n)
    histories = _histories(config, fields.inputs)
    columns, start = {}, 0
    for history in histories:
        for kind in ("id", "ids", "number", "vector"):
            for name in [field.name for field in history.fields if field.kind == kind]:
                key = name if name in history.shared else (history.name, name)
                if key not in columns:
                    columns[key] = slice(start, start + config.embedding_dim)
                    start += config.embedding_dim
    weight, origin = parameters["backbone.tokens.map.weight"], parameters["backbone.tokens.origin"]
    assert weight.shape[1] == start
    rows = []
    for place, history in enumerate(histories):
        for event in fields.events(batch, history.name, r):
            token = origin[place]
            for name, value in event:
                key = name if name in history.shared else (history.name, name)
                token = token + weight[:, columns[key]] @ value
            rows.append(token)
    if config.position == "recency":
        position = parameters["backbone.position"]
        rows = [token + position[len(rows) - 1 - t] for t, token in enumerate(rows)]
    token = origin[-1]
    for name, value in fields.candidate(batch, n):
        if name in columns:
            token = token + weight[:, columns[name]] @ value
    return [*rows, token]


def _block(parameters: Parameters, config: BSTConfig, name: str, rows: list[Tensor]) -> list[Tensor]:
    after = []
    for place, row in enumerate(rows):
        is_event = place + 1 < len(rows)
        seen = rows[:-1] if is_event and not config.events_see_candidate else rows
        found = linear(parameters, f"{name}.output", _attended(parameters, config, name, row, seen))
        x = _norm(parameters, f"{name}.attention_norm", row + found)
        hidden = _leaky(linear(parameters, f"{name}.up", x))
        after.append(_norm(parameters, f"{name}.ffn_norm", x + linear(parameters, f"{name}.down", hidden)))
    return after


def _attended(parameters: Parameters, config: BSTConfig, name: str, row: Tensor, seen: list[Tensor]) -> Tensor:
    query = linear(parameters, f"{name}.query", row)
    keys = [linear(parameters, f"{name}.key", other) for other in seen]
    values = [linear(parameters, f"{name}.value", other) for other in seen]
    width = config.token_dim // config.num_heads
    heads = []
    for head in range(config.num_heads):
        part = slice(head * width, (head + 1) * width)
        powers = [torch.exp(query[part] @ key[part] / math.sqrt(width)) for key in keys]
        heads.append(sum(power * value[part] for power, value in zip(powers, values, strict=True)) / sum(powers))
    return torch.cat(heads)


def _norm(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean()
    scaled = centred / torch.sqrt((centred**2).mean() + 1e-5)
    return scaled * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]


def _leaky(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, 0.01 * x)
