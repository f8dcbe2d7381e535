"""OneTrans for one row at a time: events and feature tokens as one list, oldest event first, with every setting.

Each row repeats its request's events through all blocks; one position asks at a time.
"""

import math

import torch
from torch import Tensor

from hemix.batch import Batch, Inputs
from hemix.models.onetrans import OneTransConfig
from parity.naive import NaiveFields, Named, Parameters, joined, linear, request_of

Tokens = list[Tensor]


def score(parameters: Parameters, config: OneTransConfig, inputs: Inputs, batch: Batch) -> Tensor:
    fields = NaiveFields(parameters, inputs, config.embedding_dim)
    return torch.stack([_row(parameters, config, fields, batch, n) for n in range(batch.num_rows)])


def _row(parameters: Parameters, config: OneTransConfig, fields: NaiveFields, batch: Batch, n: int) -> Tensor:
    r = request_of(batch, n)
    tokens = _tokens(parameters, config, fields.request(batch, r), fields.candidate(batch, n))
    events, most = _events(parameters, config, fields, batch, r)
    for block in range(config.num_blocks):
        x = events + tokens
        asking = len(events) if block == 0 else min(len(events), _line(config, most, len(tokens), block))
        if block == config.num_blocks - 1:
            asking = 0
        after = _block(parameters, config, f"backbone.blocks.{block}", x, len(events), asking)
        events, tokens = after[:asking], after[asking:]
    pooled = torch.cat(tokens) if config.pooling == "flatten" else sum(tokens) / len(tokens)
    return torch.cat([_tower(parameters, config, k, pooled) for k in range(len(fields.inputs.tasks))])


def _line(config: OneTransConfig, most: int, tokens: int, block: int) -> int:
    """Block 0 has `most` events asking, the last as many as there are tokens; the blocks between lie on a line."""
    if not config.pyramid:
        return most
    return round(most - (most - min(tokens, most)) * block / (config.num_blocks - 1))


def _events(
    parameters: Parameters, config: OneTransConfig, fields: NaiveFields, batch: Batch, r: int
) -> tuple[Tokens, int]:
    """The events of the request, and how many there can be; histories of older events come first."""
    read = [h for h in fields.inputs.histories if config.histories is None or h.name in config.histories]
    read = [h for part in ("older", "recent", "all") for h in read if h.part == part]
    x: Tokens = []
    most = 0
    for place, history in enumerate(read):
        if place and config.separator:
            x.append(parameters["backbone.separator"])
            most += 1
        most += history.max_length
        x += [
            linear(parameters, f"backbone.events.{place}", joined(event))
            for event in fields.events(batch, history.name, r)
        ]
    if config.position == "recency":
        x = [token + parameters["backbone.positions"][len(x) - 1 - place] for place, token in enumerate(x)]
    return x, most


def _block(
    parameters: Parameters, config: OneTransConfig, name: str, x: Tokens, num_events: int, asking: int
) -> Tokens:
    """What the latest `asking` events and all feature tokens become."""
    normed = [_norm(parameters, f"{name}.attention_norm", token) for token in x]
    keys, values = (
        torch.stack([_mapped(parameters, f"{name}.{kind}", place - num_events, x) for place, x in enumerate(normed)])
        for kind in ("key", "value")
    )
    after = []
    for place in range(num_events - asking, len(x)):
        query = _mapped(parameters, f"{name}.query", place - num_events, normed[place])
        seen = _seen(config, place, num_events, len(x))
        found = _attended(query, keys[seen], values[seen], config.token_dim // config.num_heads)
        z = x[place] + parameters[f"{name}.output.weight"] @ found
        hidden = _mapped(parameters, f"{name}.ffn", place - num_events, _norm(parameters, f"{name}.ffn_norm", z), ".up")
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        after.append(z + _mapped(parameters, f"{name}.ffn", place - num_events, hidden, ".down"))
    return after


def _seen(config: OneTransConfig, place: int, num_events: int, length: int) -> list[int]:
    if config.attention == "causal":
        return list(range(place + 1))
    return list(range(num_events if place < num_events else length))


def _mapped(parameters: Parameters, name: str, token: int, x: Tensor, part: str = "") -> Tensor:
    """By the matrix of feature token `token`; by that of all events where it is below 0, or has none of its own."""
    own = token >= 0 and f"{name}.own{part}.weight" in parameters
    key, group = (f"{name}.own{part}", token) if own else (f"{name}.shared{part}", 0)
    y = x @ parameters[f"{key}.weight"][group]
    return y + parameters[f"{key}.bias"][group] if f"{key}.bias" in parameters else y


def _attended(query: Tensor, keys: Tensor, values: Tensor, width: int) -> Tensor:
    heads = []
    for start in range(0, len(query), width):
        part = slice(start, start + width)
        powers = torch.exp(keys[:, part] @ query[part] / math.sqrt(width))
        heads.append(powers / powers.sum() @ values[:, part])
    return torch.cat(heads)


def _norm(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    return x / torch.sqrt((x**2).mean() + 1e-6) * parameters[f"{name}.weight"]


def _tokens(parameters: Parameters, config: OneTransConfig, request: Named, candidate: Named) -> Tokens:
    name = "backbone.tokenizer"
    if config.tokenizer == "auto_split":
        hidden = torch.clamp(linear(parameters, f"{name}.first.linear", joined(request + candidate)), min=0)
        raw = list(linear(parameters, f"{name}.second", hidden).split(config.token_dim))
    else:
        assert config.token_groups is not None
        raw = []
        for m, group in enumerate(config.token_groups):
            own = [dict(side)[field] for side in (request, candidate) for field in group if field in dict(side)]
            raw.append(linear(parameters, f"{name}.maps.{m}.linear", torch.cat(own)))
    tokens = []
    for m, token in enumerate(raw):
        centred = token - token.mean()
        scale, shift = parameters[f"{name}.norm.weight"][m], parameters[f"{name}.norm.bias"][m]
        tokens.append(centred / torch.sqrt((centred**2).mean() + 1e-5) * scale + shift)
    return tokens


def _tower(parameters: Parameters, config: OneTransConfig, task: int, x: Tensor) -> Tensor:
    for layer in range(len(config.tower_hidden)):
        x = torch.clamp(linear(parameters, f"backbone.towers.tasks.{task}.0.{2 * layer}", x), min=0)
    return linear(parameters, f"backbone.towers.tasks.{task}.1", x)
