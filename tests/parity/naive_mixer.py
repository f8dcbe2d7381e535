"""The blocks of token mixers for the tokens of one row, one token and one coordinate at a time."""

import math

import torch
from torch import Tensor

from hemix.models.hemix import HeMixConfig
from parity.naive import Parameters, linear


def blocks(parameters: Parameters, config: HeMixConfig, x: list[Tensor]) -> list[Tensor]:
    """All blocks, and the final norm if there is one."""
    pre = config.norm_position == "pre" or (config.norm_position == "auto" and config.num_blocks > 3)
    for block in range(config.num_blocks):
        x = _block(parameters, config, f"backbone.blocks.{block}", x, pre=pre)
    if pre if config.final_norm is None else config.final_norm:
        x = [norm(parameters, "backbone.final_norm", token) for token in x]
    return x


def norm(parameters: Parameters, name: str, x: Tensor) -> Tensor:
    """LayerNorm if there is a shift, RMSNorm if there is none."""
    if f"{name}.bias" not in parameters:
        return x / torch.sqrt((x**2).mean() + 1e-6) * parameters[f"{name}.weight"]
    centred = x - x.mean()
    return centred / torch.sqrt((centred**2).mean() + 1e-5) * parameters[f"{name}.weight"] + parameters[f"{name}.bias"]


def token_norm(parameters: Parameters, name: str, m: int, x: Tensor) -> Tensor:
    """LayerNorm with a scale and a shift of token m."""
    centred = x - x.mean()
    scale, shift = parameters[f"{name}.weight"][m], parameters[f"{name}.bias"][m]
    return centred / torch.sqrt((centred**2).mean() + 1e-5) * scale + shift


def attended(query: Tensor, keys: Tensor, values: Tensor, width: int) -> Tensor:
    """The answers of all heads (of `width` coordinates) side by side."""
    heads = []
    for start in range(0, len(query), width):
        part = slice(start, start + width)
        logits = keys[:, part] @ query[part] / math.sqrt(width)
        shares = torch.exp(logits - logits.max()) / torch.exp(logits - logits.max()).sum()
        heads.append(shares @ values[:, part])
    return torch.cat(heads)


def _block(parameters: Parameters, config: HeMixConfig, name: str, x: list[Tensor], *, pre: bool) -> list[Tensor]:
    parts = [("mixing_norm", MIXINGS[config.mixer])] if config.mixer != "identity" else []
    for kind, function in (*parts, ("ffn_norm", _ffn)):
        if pre:
            change = function(parameters, config, name, [norm(parameters, f"{name}.{kind}", token) for token in x])
            x = [token + delta for token, delta in zip(x, change, strict=True)]
        else:
            change = function(parameters, config, name, x)
            x = [norm(parameters, f"{name}.{kind}", token + delta) for token, delta in zip(x, change, strict=True)]
    return x


def _hetero(parameters: Parameters, config: HeMixConfig, name: str, x: list[Tensor]) -> list[Tensor]:
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


def _rankmixer(parameters: Parameters, config: HeMixConfig, name: str, x: list[Tensor]) -> list[Tensor]:
    """All values coordinate by coordinate, cut into tokens; within one, ordered by old token and coordinate."""
    width = config.token_dim
    places = [(t, j) for j in range(width) for t in range(len(x))]
    pieces = [sorted(places[start : start + width]) for start in range(0, len(places), width)]
    return [torch.stack([x[t][j] for t, j in piece]) for piece in pieces]


def _self_attention(parameters: Parameters, config: HeMixConfig, name: str, x: list[Tensor]) -> list[Tensor]:
    queries, keys, values = (
        torch.stack([linear(parameters, f"{name}.mixing.{kind}", token) for token in x])
        for kind in ("query", "key", "value")
    )
    width = config.token_dim // config.num_mixing_heads
    return [linear(parameters, f"{name}.mixing.output", attended(query, keys, values, width)) for query in queries]


MIXINGS = {"hetero": _hetero, "rankmixer": _rankmixer, "self_attention": _self_attention}


def _ffn(parameters: Parameters, config: HeMixConfig, name: str, x: list[Tensor]) -> list[Tensor]:
    changed = []
    for t, token in enumerate(x):
        place = 0 if config.ffn == "shared" else t
        hidden = mapped(parameters, f"{name}.ffn.up", place, token)
        if config.ffn == "per_token_swiglu":
            gate = mapped(parameters, f"{name}.ffn.gate", place, token)
            hidden = gate / (1 + torch.exp(-gate)) * hidden
        else:
            hidden = gelu(hidden)
        changed.append(mapped(parameters, f"{name}.ffn.down", place, hidden))
    return changed


def network(parameters: Parameters, name: str, place: int, x: Tensor) -> Tensor:
    """The two-layer GELU network at one place."""
    return mapped(parameters, f"{name}.down", place, gelu(mapped(parameters, f"{name}.up", place, x)))


def gelu(x: Tensor) -> Tensor:
    return x * 0.5 * (1 + torch.erf(x / math.sqrt(2)))


def mapped(parameters: Parameters, name: str, place: int, x: Tensor) -> Tensor:
    return x @ parameters[f"{name}.weight"][place] + parameters[f"{name}.bias"][place]
