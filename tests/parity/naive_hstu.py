"""HSTU for one row at a time: the whole sequence up to the candidate, token by token, head by head."""

import math

import torch
from torch import Tensor

from hemix.batch import Batch, Inputs
from hemix.models.hstu import HSTUConfig
from parity.naive import NaiveFields, Parameters, joined, linear, request_of

PARTS = ("older", "recent", "all")


def score(parameters: Parameters, config: HSTUConfig, inputs: Inputs, batch: Batch) -> Tensor:
    fields = NaiveFields(parameters, inputs, config.embedding_dim)
    read = [history for history in inputs.histories if config.histories is None or history.name in config.histories]
    ordered = [history for part in PARTS for history in read if history.part == part]
    longest = sum(history.max_length for history in ordered) + (2 if inputs.request else 1)
    rows = []
    for n in range(batch.num_rows):
        r = request_of(batch, n)
        now = int(batch.requests.times[r])
        tokens, places, times = [], [], []
        for k, history in enumerate(ordered):
            for t, event in enumerate(fields.events(batch, history.name, r)):
                tokens.append(linear(parameters, f"backbone.events.{k}", joined(event)))
                places.append(len(places))
                times.append(int(batch.requests.histories[history.name].times[r, t]))
        end = len(tokens)
        if inputs.request:
            tokens.append(linear(parameters, "backbone.request", joined(fields.request(batch, r))))
        tokens.append(linear(parameters, "backbone.candidate", joined(fields.candidate(batch, n))))
        places += [end] * (len(tokens) - end)
        times += [now] * (len(tokens) - end)
        for layer in range(config.num_layers):
            tokens = _layer(parameters, config, f"backbone.stack.layers.{layer}", tokens, places, times, longest)
        x = _norm(parameters, "backbone.norm", tokens[-1], 1e-5)
        for layer in range(len(config.hidden)):
            x = _silu(linear(parameters, f"backbone.head.0.{2 * layer}", x))
        rows.append(linear(parameters, "backbone.head.1", x))
    return torch.stack(rows)


def _layer(
    parameters: Parameters,
    config: HSTUConfig,
    name: str,
    tokens: list[Tensor],
    places: list[int],
    times: list[int],
    longest: int,
) -> list[Tensor]:
    heads, v_dim, a_dim = config.num_heads, config.linear_dim, config.attention_dim
    u, v, q, k = [], [], [], []
    for x in tokens:
        projected = _silu(linear(parameters, f"{name}.first", _norm(parameters, f"{name}.norm", x, 1e-6)))
        parts = projected.split([v_dim] * 2 * heads + [a_dim] * 2 * heads)
        for place, kind in enumerate((u, v, q, k)):
            kind.append(parts[place * heads : (place + 1) * heads])
    found = []
    for i, x in enumerate(tokens):
        answers = []
        for head in range(heads):
            total = torch.zeros(v_dim, dtype=x.dtype)
            for j in range(i + 1):
                pair = q[i][head] @ k[j][head]
                if config.position_bias:
                    pair = pair + parameters[f"{name}.bias.position"][places[i] - places[j]]
                if config.time_bias:
                    seconds = abs(times[i] - times[j]) / 1_000_000
                    bucket = math.floor(math.log(max(1.0, seconds)) / 0.301)
                    pair = pair + parameters[f"{name}.bias.time"][min(bucket, 127)]
                total = total + _silu(pair) / longest * v[j][head]
            answers.append(total)
        gated = _norm(parameters, f"{name}.answer_norm", torch.cat(answers), 1e-6) * torch.cat(u[i])
        found.append(x + linear(parameters, f"{name}.second", gated))
    return found


def _silu(x: Tensor) -> Tensor:
    return x / (1 + torch.exp(-x))


def _norm(parameters: Parameters, name: str, x: Tensor, eps: float) -> Tensor:
    centred = x - x.mean()
    scaled = centred / torch.sqrt((centred**2).mean() + eps)
    return scaled * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]
