"""The flat models for one row at a time; only batch norm in training looks at all rows."""

from dataclasses import replace

import torch
from torch import Tensor

from hemix.batch import Batch, Inputs
from hemix.models import ModelConfig
from hemix.models.crossing import CrossingConfig
from hemix.models.dcn import DCNConfig
from hemix.models.dcnv2 import DCNv2Config
from hemix.models.deepfm import DeepFMConfig
from hemix.models.flat import DeepConfig, FlatConfig
from hemix.models.fm import FMConfig
from hemix.models.gdcn import GDCNConfig
from hemix.models.lr import LRConfig
from parity.naive import NaiveFields, Named, Parameters, linear, request_of


def score(parameters: Parameters, config: ModelConfig, inputs: Inputs, batch: Batch) -> Tensor:
    """Logits (N, K) in training mode, without dropout."""
    assert isinstance(config, FlatConfig)
    tasks = len(inputs.tasks)
    first_order = rows_of(parameters, config, weights_only(inputs), batch, tasks, "embedding.weights")
    match config:
        case LRConfig():
            own = rows_of(parameters, config, weights_only(inputs), batch, tasks, "embedding")
            return torch.stack([sum(value for _, value in row) for row in own]) + parameters["backbone.model.bias"]
        case FMConfig():
            rows = rows_of(parameters, config, inputs, batch, config.embedding_dim, "embedding.vectors")
            pairs = torch.stack([_pairs(parameters, row, tasks) for row in rows])
            return _summed(first_order) + pairs + parameters["backbone.model.bias"]
        case DeepFMConfig():
            rows = rows_of(parameters, config, inputs, batch, config.embedding_dim, "embedding.vectors")
            pairs = torch.stack([_pairs(parameters, row, tasks) for row in rows])
            deep = deep_network(parameters, config, "backbone.model.deep", side_by_side(rows))
            return _summed(first_order) + pairs + mapped(parameters, "backbone.model.head", deep)
        case DCNConfig() | DCNv2Config() | GDCNConfig():
            rows = rows_of(parameters, config, inputs, batch, config.embedding_dim, "embedding")
            return _crossing(parameters, config, side_by_side(rows))
        case _:
            raise AssertionError(config)


def weights_only(inputs: Inputs) -> Inputs:
    return replace(inputs, tables=tuple(replace(table, dim=None) for table in inputs.tables))


def rows_of(
    parameters: Parameters, config: FlatConfig, inputs: Inputs, batch: Batch, dim: int, embedding: str
) -> list[Named]:
    """Of each row: fields of the request, means over its events, fields of the candidate; []: no such part."""
    if not any(name.startswith(f"{embedding}.tables") for name in parameters):
        return []
    fields = NaiveFields(parameters, inputs, dim, embedding=embedding)
    names = config.histories or tuple(history.name for history in inputs.histories)
    read = tuple(history for history in inputs.histories if history.name in names)
    fields = NaiveFields(parameters, replace(inputs, histories=read), dim, embedding=embedding)
    rows = []
    for n in range(batch.num_rows):
        r = request_of(batch, n)
        row = list(fields.request(batch, r))
        for history in read:
            events = fields.events(batch, history.name, r)
            for f, field in enumerate(history.fields if not events else events[0]):
                name = field.name if not events else field[0]
                width = fields.widths.get(getattr(field, "table", None) or "", dim)
                zero = torch.zeros(width, dtype=batch.candidates.numbers.dtype)
                row.append((name, sum(event[f][1] for event in events) / len(events) if events else zero))
        rows.append(row + fields.candidate(batch, n))
    return rows


def side_by_side(rows: list[Named]) -> Tensor:
    return torch.stack([torch.cat([value for _, value in row]) for row in rows])


def mapped(parameters: Parameters, name: str, rows: Tensor) -> Tensor:
    return torch.stack([linear(parameters, name, row) for row in rows])


def deep_network(parameters: Parameters, config: DeepConfig, name: str, x: Tensor) -> Tensor:
    for layer in range(len(config.hidden)):
        place = (4 if config.batch_norm else 3) * layer
        x = mapped(parameters, f"{name}.{place}", x)
        if config.batch_norm:
            mean = sum(x) / len(x)
            variance = sum((row - mean) ** 2 for row in x) / len(x)
            x = (x - mean) / torch.sqrt(variance + 1e-5)
            x = x * parameters[f"{name}.{place + 1}.weight"] + parameters[f"{name}.{place + 1}.bias"]
        x = torch.clamp(x, min=0)
    return x


def _summed(rows: list[Named]) -> Tensor:
    return torch.stack([sum(value for _, value in row) for row in rows])


def _pairs(parameters: Parameters, row: Named, tasks: int) -> Tensor:
    """Pair by pair."""
    found = torch.zeros(len(row[0][1]), dtype=row[0][1].dtype)
    for f, (_, one) in enumerate(row):
        for _, other in row[f + 1 :]:
            found = found + one * other
    if tasks == 1:
        return found.sum()[None]
    return parameters["backbone.model.pairs.by_task.weight"] @ found


def _crossing(parameters: Parameters, config: CrossingConfig, x: Tensor) -> Tensor:
    crossed = torch.stack([_crossed(parameters, config, row) for row in x])
    if config.structure == "cross":
        return mapped(parameters, "backbone.model.head", crossed)
    deep = deep_network(parameters, config, "backbone.model.deep", crossed if config.structure == "stacked" else x)
    both = torch.cat([crossed, deep], dim=1) if config.structure == "parallel" else deep
    return mapped(parameters, "backbone.model.head", both)


def _crossed(parameters: Parameters, config: CrossingConfig, x: Tensor) -> Tensor:
    name = "backbone.model.cross"
    crossed = x
    for layer in range(config.num_layers):
        if isinstance(config, DCNConfig):
            number = (parameters[f"{name}.weights.{layer}.weight"] @ crossed)[0]
            crossed = x * number + parameters[f"{name}.bias"][layer] + crossed
        elif isinstance(config, GDCNConfig):
            product = parameters[f"{name}.products.{layer}.weight"] @ crossed + parameters[f"{name}.bias"][layer]
            gate = 1 / (1 + torch.exp(-parameters[f"{name}.gates.{layer}.weight"] @ crossed))
            crossed = x * product * gate + crossed
        elif isinstance(config, DCNv2Config) and config.rank is not None:
            crossed = _mixture(parameters, config, config.rank, layer, x, crossed)
        else:
            crossed = x * linear(parameters, f"{name}.layers.{layer}", crossed) + crossed
    return crossed


def _mixture(parameters: Parameters, config: DCNv2Config, rank: int, layer: int, x: Tensor, crossed: Tensor) -> Tensor:
    name = "backbone.model.cross"
    found = []
    for expert in range(config.num_experts):
        down = parameters[f"{name}.down.{layer}.weight"][expert * rank : (expert + 1) * rank]
        middle = parameters[f"{name}.middle.{layer}.weight"][expert].T
        up = parameters[f"{name}.up.{layer}.weight"][expert].T
        seen = torch.tanh(middle @ torch.tanh(down @ crossed))
        found.append(x * (up @ seen + parameters[f"{name}.bias"][layer]))
    if config.num_experts == 1:
        return found[0] + crossed
    strengths = torch.exp(parameters[f"{name}.gates.{layer}.weight"] @ crossed)
    return sum(s / strengths.sum() * part for s, part in zip(strengths, found, strict=True)) + crossed
