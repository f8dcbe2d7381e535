"""RankMixer for one row at a time: one token and one expert after the other."""

from dataclasses import replace

import torch
from torch import Tensor

from hemix.batch import Batch, Inputs
from hemix.models.rankmixer import RankMixerConfig
from parity import naive_mixer
from parity.naive import NaiveFields, Named, Parameters, joined, linear, request_of
from parity.naive_pooled import row_fields


def score(
    parameters: Parameters, config: RankMixerConfig, inputs: Inputs, batch: Batch, dense_rows: Tensor | None = None
) -> Tensor:
    """`dense_rows`: those that take the router of training; none in evaluation."""
    inputs = replace(inputs, histories=config.used_histories(inputs))
    fields = NaiveFields(parameters, inputs, config.embedding_dim)
    rows = []
    for n in range(batch.num_rows):
        row = row_fields(parameters, config, fields, batch, request_of(batch, n), n)
        router = "dense_router" if dense_rows is not None and bool(dense_rows[n]) else "router"
        x = final(parameters, config, blocks(parameters, config, tokens(parameters, config, row), router))
        pooled = sum(x) / len(x)
        rows.append(torch.stack([_tower(parameters, config, k, pooled) for k in range(len(inputs.tasks))]))
    return torch.stack(rows)


def tokens(parameters: Parameters, config: RankMixerConfig, row: Named) -> list[Tensor]:
    pieces = []
    if config.tokenizer == "auto_split":
        flat = joined(row)
        ends = [len(flat) * m // config.num_tokens for m in range(config.num_tokens + 1)]
        pieces = [flat[ends[m] : ends[m + 1]] for m in range(config.num_tokens)]
    else:
        places = [name for name, _ in row]
        for group in config.token_groups:
            # the request's fields stand before the candidate's in a map, in the order of the group
            side = {name: _is_of_candidate(config, name, places) for name in group}
            own = [dict(row)[name] for name in group if not side[name]]
            pieces.append(torch.cat(own + [dict(row)[name] for name in group if side[name]]))
    mapped = [linear(parameters, f"backbone.tokenizer.maps.{m}.linear", piece) for m, piece in enumerate(pieces)]
    return [naive_mixer.token_norm(parameters, "backbone.tokenizer.norm", m, x) for m, x in enumerate(mapped)]


def _is_of_candidate(config: RankMixerConfig, name: str, places: list[str]) -> bool:
    if "." in name:
        return config.history_pooling == "target_attention"
    return places.index(name) >= places.index("item")


def blocks(parameters: Parameters, config: RankMixerConfig, x: list[Tensor], router: str) -> list[Tensor]:
    for block in range(config.num_blocks):
        name = f"backbone.blocks.{block}"
        for part in ("mixing", "ffn"):
            norm = f"{name}.{part}_norm"
            pre = config.norm_position == "pre"
            seen = [naive_mixer.norm(parameters, norm, token) for token in x] if pre else x
            if part == "mixing":
                added = naive_mixer.MIXINGS["rankmixer"](parameters, config, name, seen)
            else:
                added = [_network(parameters, config, f"{name}.ffn", t, token, router) for t, token in enumerate(seen)]
            x = [token + more for token, more in zip(x, added, strict=True)]
            x = x if pre else [naive_mixer.norm(parameters, norm, token) for token in x]
    return x


def _network(parameters: Parameters, config: RankMixerConfig, name: str, t: int, x: Tensor, router: str) -> Tensor:
    if config.experts is None:
        return naive_mixer.network(parameters, name, t, x)
    gates = torch.clamp(naive_mixer.mapped(parameters, f"{name}.{router}", t, x), min=0)
    first = t * config.experts.num_experts
    return sum(gate * naive_mixer.network(parameters, name, first + j, x) for j, gate in enumerate(gates))


def final(parameters: Parameters, config: RankMixerConfig, x: list[Tensor]) -> list[Tensor]:
    if config.norm_position == "post":
        return x
    return [naive_mixer.norm(parameters, "backbone.final_norm", token) for token in x]


def _tower(parameters: Parameters, config: RankMixerConfig, task: int, x: Tensor) -> Tensor:
    for layer in range(len(config.tower_hidden)):
        x = torch.clamp(linear(parameters, f"backbone.towers.tasks.{task}.0.{2 * layer}", x), min=0)
    return linear(parameters, f"backbone.towers.tasks.{task}.1", x)[0]
