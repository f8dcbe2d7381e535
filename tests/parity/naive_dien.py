"""DIEN for one row, one event and one number at a time: two recurrences and a softmax; only Dice looks at all rows."""

import torch
from torch import Tensor

from hemix.batch import Batch, HistorySpec, Inputs
from hemix.models.dien import DIENConfig
from parity.naive import NaiveFields, Named, Parameters, joined
from parity.naive_din import layers, rows


def score(parameters: Parameters, config: DIENConfig, inputs: Inputs, batch: Batch, *, training: bool = True) -> Tensor:
    def found(index: int, history: HistorySpec, candidate: Named, events: list[Named]) -> Tensor:
        asked = torch.cat([dict(candidate)[field] for field in history.shared])
        return interest(parameters, f"backbone.interests.{index}", config, asked, events)

    fields = NaiveFields(parameters, inputs, config.embedding_dim)
    return layers(parameters, config, rows(fields, config, batch, found), training=training)


def interest(parameters: Parameters, name: str, config: DIENConfig, asked: Tensor, events: list[Named]) -> Tensor:
    """The final state of one candidate's evolution in one history."""
    states = gru(parameters, f"{name}.extractor", [joined(event) for event in events])
    width = len(parameters[f"{name}.query.weight"])
    if config.evolution == "gru":
        states = gru(parameters, f"{name}.evolution.gru", states)
    strengths = [torch.exp(state @ parameters[f"{name}.query.weight"] @ asked) for state in states]
    weights = [strength / sum(strengths) for strength in strengths]
    if config.evolution == "gru":
        pooled = [weight * state for weight, state in zip(weights, states, strict=True)]
        return sum(pooled, start=asked.new_zeros(width))
    found = asked.new_zeros(width)
    for weight, state in zip(weights, states, strict=True):
        found = step(parameters, f"{name}.evolution", config.evolution, found, state, weight)
    return found


def step(parameters: Parameters, name: str, kind: str, before: Tensor, event: Tensor, weight: Tensor) -> Tensor:
    """One event of the second recurrence, gate by gate; its matrices stand below each other in `input` and `gates`."""
    width = len(before)
    order = ("reset", "new") if kind == "agru" else ("reset", "update", "new")
    of_event = dict(zip(order, parameters[f"{name}.input.weight"].split(width), strict=True))
    bias = dict(zip(order, parameters[f"{name}.input.bias"].split(width), strict=True))
    of_state = dict(zip(order, parameters[f"{name}.gates.weight"].split(width), strict=False))
    if kind == "aigru":
        event = weight * event
    reset = torch.sigmoid(of_event["reset"] @ event + of_state["reset"] @ before + bias["reset"])
    inner = parameters[f"{name}.new.weight"] @ before
    new = torch.tanh(of_event["new"] @ event + reset * inner + bias["new"])
    if kind == "agru":
        return (1 - weight) * before + weight * new
    update = torch.sigmoid(of_event["update"] @ event + of_state["update"] @ before + bias["update"])
    if kind == "augru":
        update = weight * update
    return (1 - update) * before + update * new


def gru(parameters: Parameters, name: str, inputs: list[Tensor]) -> list[Tensor]:
    """All states. The weights are torch's: reset gate, share of the old state (1 - u of the paper), new state."""
    width = parameters[f"{name}.weight_hh_l0"].shape[1]
    input_maps, state_maps = (parameters[f"{name}.weight_{side}_l0"].split(width) for side in ("ih", "hh"))
    input_biases, state_biases = (parameters[f"{name}.bias_{side}_l0"].split(width) for side in ("ih", "hh"))
    state, states = torch.zeros(width, dtype=input_maps[0].dtype), []
    for x in inputs:
        of_input = [weight @ x + bias for weight, bias in zip(input_maps, input_biases, strict=True)]
        of_state = [weight @ state + bias for weight, bias in zip(state_maps, state_biases, strict=True)]
        reset = torch.sigmoid(of_input[0] + of_state[0])
        update = 1 - torch.sigmoid(of_input[1] + of_state[1])
        new = torch.tanh(of_input[2] + reset * of_state[2])
        state = (1 - update) * state + update * new
        states.append(state)
    return states
