"""SIM for one row and one event at a time: sort the events, keep the first K, and ask them head by head."""

from dataclasses import replace

import torch
from torch import Tensor

from hemix.batch import Batch, HistorySpec, Inputs
from hemix.models.dien import DIENConfig
from hemix.models.sim import SIMConfig
from parity.naive import NaiveFields, Named, Parameters, joined, linear, request_of
from parity.naive_attention import pooled
from parity.naive_dien import interest
from parity.naive_din import layers


def score(parameters: Parameters, config: SIMConfig, inputs: Inputs, batch: Batch, *, training: bool = True) -> Tensor:
    by_name = {history.name: history for history in inputs.histories}
    read = [by_name[name] for name in config.histories or by_name]
    searched = config.searched or [h.name for h in read if h.part != "recent"] or [h.name for h in read]
    fields = NaiveFields(parameters, replace(inputs, histories=tuple(read)), config.embedding_dim)
    rows = []
    for n in range(batch.num_rows):
        r = request_of(batch, n)
        candidate = fields.candidate(batch, n)
        parts = [joined(fields.request(batch, r)), joined(candidate)]
        for index, history in enumerate(history for history in read if history.name in searched):
            name = f"backbone.searched.{index}"
            events = fields.events(batch, history.name, r)
            asked = compared(candidate, history)
            found = search(parameters, name, config, inputs, batch, n, history, asked, events)
            parts.append(exact(parameters, name, config, batch, r, history, asked, [(t, events[t]) for t in found]))
        for index, history in enumerate(history for history in read if history.name not in searched):
            name, events = f"backbone.short.{index}", fields.events(batch, history.name, r)
            if config.short_term == "dien":
                parts.append(interest(parameters, name, DIENConfig(), compared(candidate, history), events))
                continue
            pieces = pooled(parameters, name, candidate, events, history.shared, softmax=False)
            width = sum(fields.widths.get(field.table or "", config.embedding_dim) for field in history.fields)
            parts.append(torch.cat(pieces) if pieces else parts[0].new_zeros(width))
        rows.append(torch.cat(parts))
    return layers(parameters, config, torch.stack(rows), training=training)


def compared(candidate: Named, history: HistorySpec) -> Tensor:
    return torch.cat([dict(candidate)[field] for field in history.shared])


def relevance(parameters: Parameters, name: str, asked: Tensor, event: Named) -> Tensor:
    """``r_i``."""
    return linear(parameters, f"{name}.general.key", joined(event)) @ linear(parameters, f"{name}.general.query", asked)


def search(
    parameters: Parameters,
    name: str,
    config: SIMConfig,
    inputs: Inputs,
    batch: Batch,
    n: int,
    history: HistorySpec,
    asked: Tensor,
    events: list[Named],
) -> list[int]:
    """Places of the K events that a candidate finds, the newest first among equals."""
    order = list(reversed(range(len(events))))
    if config.search == "soft":
        scores = [relevance(parameters, name, asked, event).item() for event in events]
        order.sort(key=lambda t: -scores[t])
        return order[: config.top_k]
    (wanted,) = (int(batch.candidates.ids[n, f.start]) for f in inputs.candidate if f.name == config.match)
    (column,) = (field.start for field in history.fields if field.name == config.match)
    ids = batch.requests.histories[history.name].events.ids[request_of(batch, n), :, column].tolist()
    return [t for t in order if ids[t] == wanted and wanted not in (0, 1, 2)][: config.top_k]


def exact(
    parameters: Parameters,
    name: str,
    config: SIMConfig,
    batch: Batch,
    r: int,
    history: HistorySpec,
    asked: Tensor,
    found: list[tuple[int, Named]],
) -> Tensor:
    """All heads side by side."""
    query, key = (parameters[f"{name}.exact.{part}.weight"].chunk(config.num_heads) for part in ("query", "key"))
    z = []
    for t, event in found:
        vector = joined(event)
        if config.time_intervals:
            gone = int(batch.requests.times[r] - batch.requests.histories[history.name].times[r, t]) // 1_000_000
            vector = torch.cat([vector, parameters[f"{name}.intervals.weight"][(1 + gone).bit_length() - 1]])
        z.append(vector)
    heads = []
    for head in range(config.num_heads):
        strengths = [torch.exp((key[head] @ vector) @ (query[head] @ asked)) for vector in z]
        weighed = [strength / sum(strengths) * vector for strength, vector in zip(strengths, z, strict=True)]
        heads.append(sum(weighed, start=asked.new_zeros(key[head].shape[1])))
    return torch.cat(heads)
