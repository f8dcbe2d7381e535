"""HeMix for one row at a time, from its equations."""

import math

import torch
from torch import Tensor

from hemix.batch import Batch, Inputs
from hemix.models import HeMixConfig
from parity.naive import NaiveFields, Parameters, joined, linear, request_of


def score(parameters: Parameters, config: HeMixConfig, inputs: Inputs, batch: Batch) -> Tensor:
    fields = NaiveFields(parameters, inputs, config.embedding_dim)
    return torch.stack([_row(parameters, config, fields, batch, n) for n in range(batch.num_rows)])


def _row(parameters: Parameters, config: HeMixConfig, fields: NaiveFields, batch: Batch, n: int) -> Tensor:
    r = request_of(batch, n)
    everything = joined(fields.request(batch, r) + fields.candidate(batch, n))
    tokens = _tokens(parameters, config, everything)
    groups = {
        "global": (config.global_history, tokens[: config.num_dynamic_global]),
        "real_time": (config.real_time_history, tokens[config.num_dynamic_global :]),
    }
    x = []
    for group in ("real_time", "global"):
        history, dynamic = groups[group]
        if history is not None:
            events = [joined(event) for event in fields.events(batch, history, r)]
            x += _answers(parameters, config, f"backbone.queries.{group}", dynamic, events)
    x += tokens
    pre = config.norm_position == "pre" or (config.norm_position == "auto" and config.num_blocks > 3)
    for block in range(config.num_blocks):
        x = _block(parameters, config, f"backbone.blocks.{block}", x, pre=pre)
    if pre:
        x = [_norm(parameters, "backbone.final_norm", token) for token in x]
    pooled = sum(x) / len(x)
    return torch.cat([_tower(parameters, config, k, pooled) for k in range(len(fields.inputs.tasks))])


def _tokens(parameters: Parameters, config: HeMixConfig, everything: Tensor) -> list[Tensor]:
    hidden = torch.clamp(linear(parameters, "backbone.tokenizer.first.linear", everything), min=0)
    flat = linear(parameters, "backbone.tokenizer.second", hidden)
    tokens = []
    for m in range(config.num_dynamic_global + config.num_dynamic_real_time):
        token = flat[m * config.token_dim : (m + 1) * config.token_dim]
        scale, shift = parameters["backbone.tokenizer.norm.weight"][m], parameters["backbone.tokenizer.norm.bias"][m]
        tokens.append((token - token.mean()) / torch.sqrt(((token - token.mean()) ** 2).mean() + 1e-5) * scale + shift)
    return tokens


def _norm(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """LayerNorm if there is a shift, RMSNorm if there is none."""
    if f"{name}.bias" not in parameters:
        return x / torch.sqrt((x**2).mean() + 1e-6) * parameters[f"{name}.weight"]
    centred = x - x.mean()
    return centred / torch.sqrt((centred**2).mean() + 1e-5) * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]


def _answers(
    parameters: Parameters, config: HeMixConfig, name: str, dynamic: list[Tensor], events: list[Tensor]
) -> list[Tensor]:
    """One answer per query, dynamic ones first."""
    fixed = list(parameters[f"{name}.fixed"])
    if not events:
        return list(parameters[f"{name}.empty"])
    maps = [*parameters[f"{name}.dynamic_query.weight"], *parameters[f"{name}.fixed_query.weight"]]
    mapped = torch.stack(events) @ parameters[f"{name}.events.weight"].T + parameters[f"{name}.events.bias"]
    sequence = torch.stack([_norm(parameters, f"{name}.event_norm", event) for event in mapped])
    keys, values = (sequence @ parameters[f"{name}.{kind}.weight"].T for kind in ("key", "value"))
    width = config.token_dim // config.num_attention_heads
    answers = []
    for query, weight in zip(dynamic + fixed, maps, strict=True):
        projected = _norm(parameters, f"{name}.query_norm", query) @ weight
        heads = []
        for start in range(0, config.token_dim, width):
            part = slice(start, start + width)
            logits = keys[:, part] @ projected[part] / math.sqrt(width)
            shares = torch.exp(logits - logits.max()) / torch.exp(logits - logits.max()).sum()
            heads.append(shares @ values[:, part])
        answers.append(linear(parameters, f"{name}.output", torch.cat(heads)))
    return answers


def _block(parameters: Parameters, config: HeMixConfig, name: str, x: list[Tensor], *, pre: bool) -> list[Tensor]:
    for norm, function in ((f"{name}.mixing_norm", _mixing), (f"{name}.ffn_norm", _ffn)):
        if pre:
            change = function(parameters, config, name, [_norm(parameters, norm, token) for token in x])
            x = [token + delta for token, delta in zip(x, change, strict=True)]
        else:
            change = function(parameters, config, name, x)
            x = [_norm(parameters, norm, token + delta) for token, delta in zip(x, change, strict=True)]
    return x


def _mixing(parameters: Parameters, config: HeMixConfig, name: str, x: list[Tensor]) -> list[Tensor]:
    width = config.token_dim // config.num_mixing_heads
    slices: list[list[Tensor]] = [[] for _ in x]
    for m in range(config.num_mixing_heads):
        fused = torch.cat([token[m * width : (m + 1) * width] for token in x])
        low = fused @ parameters[f"{name}.mixing.reduce.weight"][m] + parameters[f"{name}.mixing.reduce.bias"][m]
        high = torch.clamp(low, min=0) @ parameters[f"{name}.mixing.expand.weight"][m]
        high = high + parameters[f"{name}.mixing.expand.bias"][m]
        for t in range(len(x)):
            slices[t].append(high[t * width : (t + 1) * width])
    return [torch.cat(parts) for parts in slices]


def _ffn(parameters: Parameters, config: HeMixConfig, name: str, x: list[Tensor]) -> list[Tensor]:
    changed = []
    for t, token in enumerate(x):
        hidden = token @ parameters[f"{name}.ffn.up.weight"][t] + parameters[f"{name}.ffn.up.bias"][t]
        hidden = hidden * 0.5 * (1 + torch.erf(hidden / math.sqrt(2)))
        changed.append(hidden @ parameters[f"{name}.ffn.down.weight"][t] + parameters[f"{name}.ffn.down.bias"][t])
    return changed


def _tower(parameters: Parameters, config: HeMixConfig, task: int, x: Tensor) -> Tensor:
    for layer in range(len(config.tower_hidden)):
        x = torch.clamp(linear(parameters, f"backbone.towers.tasks.{task}.0.{2 * layer}", x), min=0)
    return linear(parameters, f"backbone.towers.tasks.{task}.1", x)
