"""Towers behind experts for one row at a time, from the equations of their papers."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from hemix.nn.towers import MMoEConfig, PLEConfig
from parity.naive import Parameters, linear


def mmoe(parameters: Parameters, config: MMoEConfig, tower_hidden: Sequence[int], x: Tensor, num_tasks: int) -> Tensor:
    rows = []
    for row in x:
        found = [_expert(parameters, "experts", i, len(config.expert_hidden), row) for i in range(config.num_experts)]
        logits = []
        for k in range(num_tasks):
            first = k * config.num_experts
            gate = _softmax(parameters["gate.weight"][first : first + config.num_experts] @ row)
            mixed = sum(g * f for g, f in zip(gate, found, strict=True))
            logits.append(_tower(parameters, k, tower_hidden, mixed))
        rows.append(torch.stack(logits))
    return torch.stack(rows)


def ple(parameters: Parameters, config: PLEConfig, tower_hidden: Sequence[int], x: Tensor, num_tasks: int) -> Tensor:
    """Streams 0 .. K - 1 are the tasks', stream K the shared one."""
    rows = []
    counts = [config.num_task_experts] * num_tasks + [config.num_shared_experts]
    for row in x:
        streams = [row] * (num_tasks + 1)
        for level in range(config.num_levels):
            found = [
                [
                    _expert(parameters, f"levels.{level}.experts.{s}", i, len(config.expert_hidden), streams[s])
                    for i in range(count)
                ]
                for s, count in enumerate(counts)
            ]
            reached = [found[k] + found[-1] for k in range(num_tasks)]
            if level + 1 < config.num_levels:
                reached.append([expert for experts in found for expert in experts])
            streams = [
                sum(
                    g * f
                    for g, f in zip(
                        _softmax(parameters[f"levels.{level}.gate.{s}.linear.weight"] @ streams[s]), of, strict=True
                    )
                )
                for s, of in enumerate(reached)
            ]
        rows.append(torch.stack([_tower(parameters, k, tower_hidden, streams[k]) for k in range(num_tasks)]))
    return torch.stack(rows)


def _expert(parameters: Parameters, name: str, i: int, num_layers: int, x: Tensor) -> Tensor:
    for layer in range(num_layers):
        weight, bias = (parameters[f"{name}.layers.{layer}.{part}"][i] for part in ("weight", "bias"))
        x = torch.clamp(x @ weight + bias, min=0)
    return x


def _softmax(x: Tensor) -> list[Tensor]:
    powers = [math.e**value for value in x]
    return [power / sum(powers) for power in powers]


def _tower(parameters: Parameters, k: int, hidden: Sequence[int], x: Tensor) -> Tensor:
    for layer in range(len(hidden)):
        x = torch.clamp(linear(parameters, f"towers.tasks.{k}.0.{2 * layer}", x), min=0)
    return linear(parameters, f"towers.tasks.{k}.1", x)[0]
