"""HiFormer for one row at a time: one token and one head after the other, all tokens in every layer."""

from dataclasses import replace

import torch
from torch import Tensor

from hemix.batch import Batch, Inputs
from hemix.models.hiformer import HiFormerConfig
from parity import naive_mixer
from parity.naive import NaiveFields, Parameters, linear, request_of
from parity.naive_pooled import row_fields


def score(parameters: Parameters, config: HiFormerConfig, inputs: Inputs, batch: Batch) -> Tensor:
    inputs = replace(inputs, histories=config.used_histories(inputs))
    fields = NaiveFields(parameters, inputs, config.embedding_dim)
    averaged = config.history_pooling == "mean"
    rows = []
    for n in range(batch.num_rows):
        row = row_fields(parameters, config, fields, batch, request_of(batch, n), n)
        num_request = len(inputs.request)
        if averaged:
            num_request += sum(len(history.fields) for history in inputs.histories)
        x = list(parameters["backbone.task_tokens"])
        for place, (_, value) in enumerate(row):
            side, index = ("request", place) if place < num_request else ("candidate", place - num_request)
            x.append(_token(parameters, config, f"backbone.{side}_tokens", index, value))
        for layer in range(config.num_layers):
            x = _layer(parameters, config, f"backbone.layers.{layer}", x)
        rows.append(torch.stack([_tower(parameters, config, k, x[k]) for k in range(len(inputs.tasks))]))
    return torch.stack(rows)


def _token(parameters: Parameters, config: HiFormerConfig, name: str, place: int, value: Tensor) -> Tensor:
    if config.token_dim is None:
        return value
    return naive_mixer.token_norm(parameters, f"{name}.norm", place, linear(parameters, f"{name}.maps.{place}", value))


def _layer(parameters: Parameters, config: HiFormerConfig, name: str, x: list[Tensor]) -> list[Tensor]:
    """Of the tokens that the layer has a network for: the first ones, in the last layer."""
    pre = config.norm_position == "pre"
    outputs = len(parameters[f"{name}.ffn.up.weight"])
    seen = [naive_mixer.norm(parameters, f"{name}.attention_norm", token) for token in x] if pre else x
    queries, keys, values = (_projected(parameters, f"{name}.projections.{kind}", seen) for kind in KINDS)
    after = []
    for t in range(outputs):
        found = naive_mixer.attended(queries[t], torch.stack(keys), torch.stack(values), len(x[0]) // config.num_heads)
        if config.output_projection:
            found = found @ parameters[f"{name}.output.weight"][t]
        after.append(_added(parameters, f"{name}.attention_norm", x[t], found, pre=pre))
    final = []
    for t, token in enumerate(after):
        seen_token = naive_mixer.norm(parameters, f"{name}.ffn_norm", token) if pre else token
        learnt = naive_mixer.network(parameters, f"{name}.ffn", t, seen_token)
        final.append(_added(parameters, f"{name}.ffn_norm", token, learnt, pre=pre))
    return final


KINDS = ("query", "key", "value")


def _projected(parameters: Parameters, name: str, x: list[Tensor]) -> list[Tensor]:
    if f"{name}.maps.weight" in parameters:
        return [token @ weight for token, weight in zip(x, parameters[f"{name}.maps.weight"], strict=False)]
    flat = parameters[f"{name}.first.weight"] @ torch.cat(x)
    if f"{name}.second.weight" in parameters:
        flat = parameters[f"{name}.second.weight"] @ flat
    width = len(x[0])
    return [flat[start : start + width] for start in range(0, len(flat), width)]


def _added(parameters: Parameters, norm: str, x: Tensor, more: Tensor, *, pre: bool) -> Tensor:
    return x + more if pre else naive_mixer.norm(parameters, norm, x + more)


def _tower(parameters: Parameters, config: HiFormerConfig, task: int, x: Tensor) -> Tensor:
    if config.norm_position == "pre":
        x = naive_mixer.norm(parameters, "backbone.final_norm", x)
    for layer in range(len(config.tower_hidden)):
        x = torch.clamp(linear(parameters, f"backbone.towers.tasks.{task}.0.{2 * layer}", x), min=0)
    return linear(parameters, f"backbone.towers.tasks.{task}.1", x)[0]
