"""LONGER for one row at a time: all tokens in one sequence, every layer over all that it may see, nothing kept."""

import math

import torch
from torch import Tensor

from hemix.batch import Batch, Inputs
from hemix.models.longer import LONGERConfig
from parity.naive import NaiveFields, Parameters, joined, linear, request_of


def score(parameters: Parameters, config: LONGERConfig, inputs: Inputs, batch: Batch) -> Tensor:
    fields = NaiveFields(parameters, inputs, config.embedding_dim)
    return torch.stack([_row(parameters, config, fields, batch, n) for n in range(batch.num_rows)])


def _row(parameters: Parameters, config: LONGERConfig, fields: NaiveFields, batch: Batch, n: int) -> Tensor:
    r = request_of(batch, n)
    request, candidate = joined(fields.request(batch, r)), joined(fields.candidate(batch, n))
    own = _cut(linear(parameters, "backbone.candidate_globals.linear", torch.cat([request, candidate])), config)
    front = []
    if config.num_request_globals:
        front = _cut(linear(parameters, "backbone.request_globals", request), config)
    groups = _groups(parameters, config, _newest_first(parameters, config, fields, batch, r))
    if config.query_kind == "learnable":
        queries = list(parameters["backbone.queries"])
        sequence = own + front + queries + groups
    else:
        queries = groups[: config.recent_queries]
        sequence = own + front + groups
    num_queries = len(own) + len(front) + len(queries)
    x = _layer(parameters, "backbone.blocks.0", sequence, num_queries, config.num_heads)
    for layer in range(1, 1 + config.num_layers):
        x = _layer(parameters, f"backbone.blocks.{layer}", x, num_queries, config.num_heads)
    x = [_norm(parameters, "backbone.final_norm", token) for token in x]
    found = x[: len(own)] if config.pooling == "concat" else [sum(x[: len(own)]) / len(own)]
    head = [request]
    if config.query_mean:
        read = x[len(own) + len(front) :]
        head.append(sum(read) / len(read) if read else torch.zeros(config.token_dim, dtype=torch.float64))
    y = torch.clamp(linear(parameters, "backbone.first.linear", torch.cat([*head, candidate, *found])), min=0)
    for layer in range(len(config.hidden) - 1):
        y = torch.clamp(linear(parameters, f"backbone.rest.1.{2 * layer}", y), min=0)
    return linear(parameters, "backbone.rest.2", y)


def _newest_first(
    parameters: Parameters, config: LONGERConfig, fields: NaiveFields, batch: Batch, r: int
) -> list[Tensor]:
    """All events of the request with their places, at the width of a group's member."""
    parts = {history.name: history.part for history in config.used_histories(fields.inputs)}
    names = [name for part in ("older", "recent", "all") for name in parts if parts[name] == part]
    events = []
    for index, name in enumerate(names):
        events += [linear(parameters, f"backbone.events.{index}", joined(e)) for e in fields.events(batch, name, r)]
    return [event + parameters["backbone.merging.positions"][age] for age, event in enumerate(reversed(events))]


def _groups(parameters: Parameters, config: LONGERConfig, events: list[Tensor]) -> list[Tensor]:
    groups = []
    for start in range(0, len(events), config.merge_size):
        group = events[start : start + config.merge_size]
        for layer in range(config.inner_layers if config.merge_size > 1 else 0):
            keys, values = (_projected(parameters, f"backbone.merging.inner.{layer}", k, group) for k in KINDS)
            group = [_behind(parameters, f"backbone.merging.inner.{layer}", e, keys, values, 1) for e in group]
        missing = config.merge_size - len(group)
        groups.append(torch.cat([*group, torch.zeros(missing * config.event_dim, dtype=torch.float64)]))
    return groups


KINDS = ("key", "value")


def _layer(parameters: Parameters, name: str, x: list[Tensor], num_queries: int, num_heads: int) -> list[Tensor]:
    """Token i looks at the tokens from i on."""
    keys, values = (_projected(parameters, name, kind, x) for kind in KINDS)
    return [_behind(parameters, name, x[i], keys[i:], values[i:], num_heads) for i in range(num_queries)]


def _projected(parameters: Parameters, name: str, kind: str, x: list[Tensor]) -> Tensor:
    return torch.stack(
        [linear(parameters, f"{name}.{kind}", _norm(parameters, f"{name}.attention_norm", e)) for e in x]
    )


def _behind(parameters: Parameters, name: str, token: Tensor, keys: Tensor, values: Tensor, num_heads: int) -> Tensor:
    query = linear(parameters, f"{name}.query", _norm(parameters, f"{name}.attention_norm", token))
    width, heads = len(query) // num_heads, []
    for start in range(0, len(query), width):
        logits = [(key[start : start + width] @ query[start : start + width]) / math.sqrt(width) for key in keys]
        powers = [torch.exp(logit - max(logits)) for logit in logits]
        heads.append(sum(p / sum(powers) * v[start : start + width] for p, v in zip(powers, values, strict=True)))
    token = token + linear(parameters, f"{name}.output", torch.cat(heads))
    hidden = _mapped(parameters, f"{name}.ffn.up", _norm(parameters, f"{name}.ffn_norm", token))
    hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
    return token + _mapped(parameters, f"{name}.ffn.down", hidden)


def _mapped(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    return x @ parameters[f"{name}.weight"][0] + parameters[f"{name}.bias"][0]


def _norm(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    centred = x - x.mean()
    return centred / torch.sqrt((centred**2).mean() + 1e-5) * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]


def _cut(flat: Tensor, config: LONGERConfig) -> list[Tensor]:
    return [flat[start : start + config.token_dim] for start in range(0, len(flat), config.token_dim)]
