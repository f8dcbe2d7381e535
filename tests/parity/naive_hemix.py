"""HeMix for one row at a time, from its equations, with every switch."""

import torch
from torch import Tensor

from hemix.batch import Batch, Inputs
from hemix.models.hemix import HeMixConfig
from parity import naive_mixer
from parity.naive import NaiveFields, Named, Parameters, joined, linear, request_of


def score(parameters: Parameters, config: HeMixConfig, inputs: Inputs, batch: Batch) -> Tensor:
    fields = NaiveFields(parameters, inputs, config.embedding_dim)
    return torch.stack([_row(parameters, config, fields, batch, n) for n in range(batch.num_rows)])


def _row(parameters: Parameters, config: HeMixConfig, fields: NaiveFields, batch: Batch, n: int) -> Tensor:
    r = request_of(batch, n)
    request, candidate = fields.request(batch, r), fields.candidate(batch, n)
    if config.history_crosses:
        candidate = [*candidate, ("history_crosses", _crosses(config, fields, batch, r, dict(candidate)))]
    tokens = _tokens(parameters, config, "backbone.tokenizer", request, candidate)
    asking = _request_tokens(parameters, config, request, candidate) if config.user_only_dynamic else tokens
    first = asking[: config.num_dynamic_global]
    last = asking[len(asking) - config.num_dynamic_real_time :]
    events = {
        group: _events(parameters, config, group, [joined(event) for event in fields.events(batch, name, r)])
        for group, name in (("global", config.global_history), ("real_time", config.real_time_history))
        if name is not None
    }
    if config.merge_histories:
        x = _answers(parameters, config, "merged", first + last, events["global"] + events["real_time"])
    else:
        x = _answers(parameters, config, "real_time", last, events["real_time"]) if "real_time" in events else []
        x += _answers(parameters, config, "global", first, events["global"]) if "global" in events else []
    x += tokens
    if config.pooling == "task_token":
        x += list(parameters["backbone.task_tokens"])
    x = naive_mixer.blocks(parameters, config, x)
    return torch.cat([_tower(parameters, config, k, pooled) for k, pooled in enumerate(_pooled(config, fields, x))])


def _crosses(config: HeMixConfig, fields: NaiveFields, batch: Batch, r: int, candidate: dict[str, Tensor]) -> Tensor:
    found = []
    for history in config.used_histories(fields.inputs):
        events = [dict(event) for event in fields.events(batch, history.name, r)]
        for name in history.shared:
            total = sum((candidate[name] @ event[name] for event in events), torch.zeros((), dtype=torch.float64))
            found.append(total / max(1, len(events)))
    return torch.stack(found)


def _pooled(config: HeMixConfig, fields: NaiveFields, x: list[Tensor]) -> list[Tensor]:
    tasks = len(fields.inputs.tasks)
    if config.pooling == "mean":
        return [sum(x) / len(x)] * tasks
    return [torch.cat(x)] * tasks if config.pooling == "flatten" else x[-tasks:]


def _tokens(parameters: Parameters, config: HeMixConfig, name: str, request: Named, candidate: Named) -> list[Tensor]:
    everything = joined(request + candidate)
    if config.tokenizer == "auto_split_mlp":
        hidden = torch.clamp(linear(parameters, f"{name}.first.linear", everything), min=0)
        raw = _cut(config, linear(parameters, f"{name}.second", hidden))
        return [naive_mixer.token_norm(parameters, f"{name}.norm", m, token) for m, token in enumerate(raw)]
    if config.tokenizer == "per_token_linear":
        raw = _cut(config, linear(parameters, f"{name}.maps.linear", everything))
        normed = [naive_mixer.token_norm(parameters, f"{name}.norm", m, token) for m, token in enumerate(raw)]
        return [token / (1 + torch.exp(-token)) for token in normed]
    assert config.token_groups is not None
    tokens = []
    for m, group in enumerate(config.token_groups):
        own = [dict(request)[field] for field in group if field in dict(request)]
        others = [dict(candidate)[field] for field in group if field in dict(candidate)]
        token = linear(parameters, f"{name}.maps.{m}.linear", torch.cat(own + others))
        tokens.append(naive_mixer.token_norm(parameters, f"{name}.norm", m, token))
    return tokens


def _request_tokens(parameters: Parameters, config: HeMixConfig, request: Named, candidate: Named) -> list[Tensor]:
    if config.tokenizer != "semantic_group":
        return _tokens(parameters, config, "backbone.query_tokenizer", request, [])
    tokens = _tokens(parameters, config, "backbone.tokenizer", request, candidate)
    pairs = zip(tokens, config.token_groups or (), strict=True)
    return [token for token, group in pairs if not set(group) & set(dict(candidate))]


def _cut(config: HeMixConfig, flat: Tensor) -> list[Tensor]:
    return [flat[start : start + config.token_dim] for start in range(0, len(flat), config.token_dim)]


def _events(parameters: Parameters, config: HeMixConfig, group: str, events: list[Tensor]) -> list[Tensor]:
    """Events as wide as a token."""
    name = f"backbone.queries.{group}.events"
    if config.event_projection == "shared":
        name = "backbone.events"
    elif config.merge_histories:
        name = f"backbone.queries.merged.events.{group}"
    return [linear(parameters, name, event) for event in events]


def _answers(
    parameters: Parameters, config: HeMixConfig, group: str, dynamic: list[Tensor], events: list[Tensor]
) -> list[Tensor]:
    """One answer per query, dynamic ones first."""
    name = f"backbone.queries.{group}"
    queries = dynamic + list(parameters.get(f"{name}.fixed", ()))
    maps = [w for kind in ("dynamic", "fixed") for w in parameters.get(f"{name}.{kind}_query.weight", ())]
    if not events:
        answers = list(parameters[f"{name}.empty"])
    else:
        sequence = torch.stack([_attention_norm(parameters, config, f"{name}.event_norm", event) for event in events])
        asking = [_attention_norm(parameters, config, f"{name}.query_norm", query) for query in queries]
        answers = [_found(parameters, config, name, q @ w, sequence) for q, w in zip(asking, maps, strict=True)]
    return [q + a for q, a in zip(queries, answers, strict=True)] if config.query_residual else answers


def _attention_norm(parameters: Parameters, config: HeMixConfig, name: str, x: Tensor) -> Tensor:
    return naive_mixer.norm(parameters, name, x) if config.attention_norm else x


def _found(parameters: Parameters, config: HeMixConfig, name: str, query: Tensor, sequence: Tensor) -> Tensor:
    keys, values = (sequence @ parameters[f"{name}.{kind}.weight"].T for kind in ("key", "value"))
    heads = naive_mixer.attended(query, keys, values, config.token_dim // config.num_attention_heads)
    return linear(parameters, f"{name}.output", heads)


def _tower(parameters: Parameters, config: HeMixConfig, task: int, x: Tensor) -> Tensor:
    for layer in range(len(config.tower_hidden)):
        x = torch.clamp(linear(parameters, f"backbone.towers.tasks.{task}.0.{2 * layer}", x), min=0)
    return linear(parameters, f"backbone.towers.tasks.{task}.1", x)
