"""InterFormer for one row at a time, from its equations, with every switch: tokens and places as lists of vectors."""

import math

import torch
from torch import Tensor

from hemix.batch import Batch, Inputs
from hemix.models.interformer import InterFormerConfig
from parity.naive import NaiveFields, Named, Parameters, joined, linear, request_of
from parity.naive_mixer import attended, norm

Vectors = list[Tensor]


def score(parameters: Parameters, config: InterFormerConfig, inputs: Inputs, batch: Batch) -> Tensor:
    fields = NaiveFields(parameters, inputs, config.embedding_dim, raw_numbers=True)
    return torch.stack([_row(parameters, config, fields, batch, n) for n in range(batch.num_rows)])


def _row(parameters: Parameters, config: InterFormerConfig, fields: NaiveFields, batch: Batch, n: int) -> Tensor:
    r = request_of(batch, n)
    used = config.used_histories(fields.inputs)
    histories = [history.name for part in ("older", "recent", "all") for history in used if history.part == part]
    events = _fused(parameters, config, [fields.events(batch, name, r) for name in histories]) if histories else []
    x = _tokens(parameters, fields.inputs, fields.request(batch, r), fields.candidate(batch, n))
    reads = bool(histories) and config.flow != "sole"
    if histories and config.flow == "sole":
        x = [*x, _mean(events, x[0])]
    s: Vectors = []
    for layer in range(config.num_layers):
        x_sum = _fields_summary(parameters, config, layer, x, reads=reads)
        if reads and layer == 0:
            s = (x_sum or list(parameters["backbone.cls"])) + events
        heard = x
        if reads and config.guides_fields:
            heard = x + _sequence_summary(parameters, config, f"backbone.sequence_summaries.{layer}", s)
        x = _interaction(parameters, config, f"backbone.interactions.{layer}", heard, len(x))
        if reads:
            s = _sequence_layer(parameters, config, f"backbone.sequences.{layer}", s, x_sum)
    final = _fields_summary(parameters, config, config.num_layers, x, reads=reads) or []
    if reads:
        last = config.num_layers if config.guides_fields else 0
        final = final + _sequence_summary(parameters, config, f"backbone.sequence_summaries.{last}", s)
    y = _mlp(parameters, "backbone.classifier.0", torch.cat(final), len(config.hidden))
    return linear(parameters, "backbone.classifier.1", y)


def _tokens(parameters: Parameters, inputs: Inputs, request: Named, candidate: Named) -> Vectors:
    """All numbers as one token, then the other fields."""
    raw = {field.name for field in (*inputs.request, *inputs.candidate) if field.kind == "number"}
    everything = [*request, *candidate]
    numbers = [value for name, value in everything if name in raw]
    dense = [linear(parameters, "backbone.dense.linear", torch.cat(numbers))] if numbers else []
    return dense + [value for name, value in everything if name not in raw]


def _fused(parameters: Parameters, config: InterFormerConfig, histories: list[list[Named]]) -> Vectors:
    mapped = [
        [linear(parameters, f"backbone.fusion.maps.{k}", joined(event)) for event in events]
        for k, events in enumerate(histories)
    ]
    if config.fusion == "merge":
        return [event for events in mapped for event in events]
    length, places = max(len(events) for events in mapped), []
    for place in range(length):
        parts = []
        for events in mapped:
            own = place - (length - len(events))
            parts.append(events[own] if own >= 0 else torch.zeros(config.embedding_dim, dtype=torch.float64))
        together = torch.cat(parts)
        hidden = torch.clamp(linear(parameters, "backbone.fusion.mask.0", together), min=0)
        masked = together * linear(parameters, "backbone.fusion.mask.2", hidden)
        places.append(linear(parameters, "backbone.fusion.compress", masked))
    return places


def _mean(events: Vectors, like: Tensor) -> Tensor:
    return sum(events, torch.zeros_like(like)) / max(1, len(events))


def _fields_summary(
    parameters: Parameters, config: InterFormerConfig, layer: int, x: Vectors, *, reads: bool
) -> Vectors | None:
    """None where nobody reads it."""
    used = [reads and config.guides_events and (k == 0 or config.personal != "none") for k in range(config.num_layers)]
    if layer < config.num_layers and not used[layer]:
        return None
    name = f"backbone.field_summaries.{sum(used[:layer])}"
    weight = parameters[f"{name}.compress.weight"]
    return _gated(parameters, config, name, [sum(w * token for w, token in zip(row, x, strict=True)) for row in weight])


def _gated(parameters: Parameters, config: InterFormerConfig, name: str, z: Vectors) -> Vectors:
    if config.gating == "none":
        return z
    found = []
    for token in z:
        mapped = linear(parameters, f"{name}.gate.map", token)
        if config.gating == "product":
            found.append(token / (1 + torch.exp(-mapped)))
        elif config.gating == "literal":
            found.append(1 / (1 + torch.exp(-token * mapped)))
        else:
            found.append(token * mapped / (1 + torch.exp(-token * mapped)))
    return found


def _sequence_summary(parameters: Parameters, config: InterFormerConfig, name: str, s: Vectors) -> Vectors:
    cls, events = s[: config.num_summaries], s[config.num_summaries :]
    zero = torch.zeros_like(s[0])
    if config.aggregation == "mean":
        return _gated(parameters, config, name, [_mean(events, zero)])
    if config.aggregation == "attention":
        return _gated(parameters, config, name, _pooled(parameters, config, f"{name}.pooling", s))
    if config.aggregation == "mlp":
        back = list(reversed(events))
        weight = parameters[f"{name}.compress.weight"]
        return _gated(
            parameters, config, name, [sum((w * e for w, e in zip(row, back, strict=False)), zero) for row in weight]
        )
    pooled = _pooled(parameters, config, f"{name}.pooling", s) if config.num_pooled else []
    recent = [events[-1 - k] if k < len(events) else zero for k in range(config.num_recent)]
    return _gated(parameters, config, name, cls + pooled + recent)


def _pooled(parameters: Parameters, config: InterFormerConfig, name: str, s: Vectors) -> Vectors:
    keys, values = (torch.stack([linear(parameters, f"{name}.{kind}", p) for p in s]) for kind in ("key", "value"))
    answers = []
    for query in parameters[f"{name}.queries"]:
        asked = linear(parameters, f"{name}.query", query)
        answers.append(linear(parameters, f"{name}.output", attended(asked, keys, values, _head(config))))
    return answers


def _head(config: InterFormerConfig) -> int:
    return config.embedding_dim // config.num_heads


def _sequence_layer(
    parameters: Parameters, config: InterFormerConfig, name: str, s: Vectors, x_sum: Vectors | None
) -> Vectors:
    if config.personal != "none":
        change = [
            _personal(parameters, config, f"{name}.personal", p, x_sum)
            for p in _normed(parameters, config, f"{name}.personal_norm", s)
        ]
        s = _added(config, s, change)
    if config.self_attention:
        change = _attended(
            parameters, config, f"{name}.attention", _normed(parameters, config, f"{name}.attention_norm", s)
        )
        s = _added(config, s, change)
    return s


def _normed(parameters: Parameters, config: InterFormerConfig, name: str, s: Vectors) -> Vectors:
    return [norm(parameters, name, place) for place in s] if config.residual else s


def _added(config: InterFormerConfig, s: Vectors, change: Vectors) -> Vectors:
    return [place + delta for place, delta in zip(s, change, strict=True)] if config.residual else change


def _personal(
    parameters: Parameters, config: InterFormerConfig, name: str, place: Tensor, x_sum: Vectors | None
) -> Tensor:
    if not config.guides_events:
        return linear(parameters, f"{name}.shared", place)
    assert x_sum is not None
    if config.personal == "linear":
        pairs = zip(parameters[f"{name}.weight"], x_sum, strict=True)
        return sum((w @ place) * x for w, x in pairs) / math.sqrt(config.num_summaries)
    hidden = torch.clamp(linear(parameters, f"{name}.network.0", torch.cat(x_sum)), min=0)
    made = linear(parameters, f"{name}.network.2", hidden)
    width = config.embedding_dim
    return sum(place[i] * made[i * width : (i + 1) * width] for i in range(width))


def _attended(parameters: Parameters, config: InterFormerConfig, name: str, s: Vectors) -> Vectors:
    asked = [_turned(config, t, linear(parameters, f"{name}.query", place)) for t, place in enumerate(s)]
    keys = torch.stack([_turned(config, t, linear(parameters, f"{name}.key", place)) for t, place in enumerate(s)])
    values = torch.stack([linear(parameters, f"{name}.value", place) for place in s])
    return [linear(parameters, f"{name}.output", attended(query, keys, values, _head(config))) for query in asked]


def _turned(config: InterFormerConfig, t: int, x: Tensor) -> Tensor:
    """Each pair of coordinates of each head as a complex number, times e^(i t rate)."""
    width, heads = _head(config), []
    for start in range(0, len(x), width):
        head, half = x[start : start + width], width // 2
        turned = [
            torch.complex(head[i], head[half + i])
            * torch.polar(
                torch.ones((), dtype=torch.float64), torch.tensor(t * 10_000.0 ** (-2 * i / width), dtype=torch.float64)
            )
            for i in range(half)
        ]
        heads += [z.real for z in turned] + [z.imag for z in turned]
    return torch.stack(heads)


def _interaction(parameters: Parameters, config: InterFormerConfig, name: str, z: Vectors, count: int) -> Vectors:
    if config.interaction != "dhen":
        function = _dot if config.interaction == "dot" else _cross
        found = function(parameters, config, f"{name}.interaction", z)
        return [norm(parameters, f"{name}.norm", token + f) for token, f in zip(z[:count], found, strict=True)]
    for layer in range(config.dhen_layers):
        dot, cross = (
            f(parameters, config, f"{name}.{kind}.{layer}", z) for kind, f in (("dot", _dot), ("cross", _cross))
        )
        kept = z
        if len(dot) != len(z):
            rows = parameters[f"{name}.shortcut.{layer}.weight"]
            kept = [sum(w * token for w, token in zip(row, z, strict=True)) for row in rows]
        z = [norm(parameters, f"{name}.norm.{layer}", a + b + c) for a, b, c in zip(dot, cross, kept, strict=True)]
    return z


def _dot(parameters: Parameters, config: InterFormerConfig, name: str, z: Vectors) -> Vectors:
    pairs = [z[i] @ z[j] for i in range(len(z)) for j in range(i + 1, len(z))]
    x = torch.cat([*z, torch.stack(pairs)]) if pairs else torch.cat(z)
    x = _mlp(parameters, f"{name}.network.0", x, len(config.interaction_hidden))
    return list(linear(parameters, f"{name}.network.1", x).split(config.embedding_dim))


def _cross(parameters: Parameters, config: InterFormerConfig, name: str, z: Vectors) -> Vectors:
    x = crossed = torch.cat(z)
    for layer in range(config.cross_layers):
        low = linear(parameters, f"{name}.down.{layer}", crossed)
        crossed = x * (linear(parameters, f"{name}.up.{layer}", low) + parameters[f"{name}.bias"][layer]) + crossed
    deep = _mlp(parameters, f"{name}.deep", x, len(config.interaction_hidden))
    return list(linear(parameters, f"{name}.output", torch.cat([crossed, deep])).split(config.embedding_dim))


def _mlp(parameters: Parameters, name: str, x: Tensor, layers: int) -> Tensor:
    """With Swish."""
    for layer in range(layers):
        x = linear(parameters, f"{name}.{2 * layer}", x)
        x = x / (1 + torch.exp(-x))
    return x
