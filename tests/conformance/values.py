"""What attention of each model weighs, written apart: `lengths` are the events of each history, request by request."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from hemix.models.backbone import AttentionMap
from hemix.models.bst import BST
from hemix.models.dien import DIEN, Interest, PooledGRU
from hemix.models.din import DIN
from hemix.models.dlrm import DLRM
from hemix.models.hemix import HeMix
from hemix.models.hiformer import HiFormer
from hemix.models.histories import under
from hemix.models.longer import LONGER
from hemix.models.onetrans import OneTrans
from hemix.models.rankmixer import RankMixer
from hemix.models.sim import SIM
from hemix.nn.fields import State
from hemix.nn.ragged import Ragged
from parity import naive_dien

Lengths = Mapping[str, Sequence[int]]


def values_by(backbone: object, found: AttentionMap, state: State, ragged: Ragged, lengths: Lengths) -> Tensor:
    """The weights of `found` times the values of its events, as wide as the answers."""
    encoded = under(found.history, state)
    if isinstance(backbone, LONGER):
        values = values_of_groups(backbone, found.history, state, lengths)
        heads = torch.einsum("nqht,nhtd->nqhd", found.weights, ragged.spread(values))
        return heads.flatten(2) @ backbone.blocks[0].output.weight.T
    if isinstance(backbone, DIN | DLRM | HiFormer | RankMixer):
        return (found.weights[:, :, 0] @ ragged.spread(encoded["events"])).double()
    if isinstance(backbone, DIEN):
        return final_interests(backbone._interests[found.history], found, encoded, ragged)
    if isinstance(backbone, SIM):
        return values_of_sim(backbone, found, encoded, ragged)
    if isinstance(backbone, OneTrans):
        return values_of_the_first_block(backbone, found, state, ragged)
    if isinstance(backbone, BST):
        return backbone.blocks[0].output(values_of_candidate(backbone, found, encoded, ragged, lengths))
    assert isinstance(backbone, HeMix)
    group = next(group for group, name in backbone._history.items() if name == found.history)
    heads = torch.einsum("nqht,nhtd->nqhd", found.weights, ragged.spread(encoded["values"]))
    return backbone.queries["merged" if backbone.config.merge_histories else group].output(heads.flatten(2))


def values_of_sim(backbone: SIM, found: AttentionMap, encoded: State, ragged: Ragged) -> Tensor:
    """Searched: events with their intervals, by head. Read whole: as in DIEN and DIN."""
    if found.history in backbone._searched:
        return torch.einsum("nqht,ntz->nqhz", found.weights, ragged.spread(encoded["z"])).flatten(2)
    if "events" in encoded:
        return found.weights[:, :, 0] @ ragged.spread(encoded["events"])
    return final_interests(backbone._short[found.history], found, encoded, ragged)


def final_interests(interest: Interest, found: AttentionMap, encoded: State, ragged: Ragged) -> Tensor:
    """DIEN's second recurrence from the states of the first, candidate by candidate and event by event."""
    parameters, evolution = dict(interest.named_parameters()), interest.evolution
    interests = []
    for row, r in enumerate(ragged.spread(torch.arange(len(encoded["states"]))).tolist()):
        states = encoded["states"][r, : int(encoded["attended"][r].sum())]
        weights = found.weights[row, 0, 0, : len(states)]
        if isinstance(evolution, PooledGRU):
            states = naive_dien.gru(parameters, "evolution.gru", list(states))
            interests.append(sum((w * h for w, h in zip(weights, states, strict=True)), torch.zeros(interest.width)))
            continue
        state = states.new_zeros(interest.width)
        for h, weight in zip(states, weights, strict=True):
            state = naive_dien.step(parameters, "evolution", evolution.kind, state, h, weight)
        interests.append(state)
    return torch.stack(interests)[:, None]


def values_of_groups(backbone: LONGER, history: str, state: State, lengths: Lengths) -> Tensor:
    """Of each event, in the first layer, the value of the token that it went into."""
    values = state["values.0"]
    first = values.shape[2] - -(
        -sum(state[f"{name}.events"].shape[1] for name in lengths) // backbone.config.merge_size
    )
    found = values.new_zeros(*values.shape[:2], state[f"{history}.events"].shape[1], values.shape[3])
    for r in range(len(values)):
        order = [(name, t) for name in ("global", "real_time") for t in range(lengths[name][r])]
        for age, (name, t) in enumerate(reversed(order)):
            if name == history:
                found[r, :, t] = values[r, :, first + age // backbone.config.merge_size]
    return found


def values_of_the_first_block(backbone: OneTrans, found: AttentionMap, state: State, ragged: Ragged) -> Tensor:
    """An event is so many places from the end as there are later ones, separators and later histories included."""
    encoded, block = under(found.history, state), backbone.blocks[0]
    x, there = encoded["tokens"], encoded["attended"].long()
    if backbone.positions is not None:
        names = list(backbone._events)
        later = names[names.index(found.history) + 1 :]
        after = sum(under(name, state)["attended"].sum(dim=1) + (backbone.separator is not None) for name in later)
        places = there.flip(1).cumsum(dim=1).flip(1) - there
        x = x + backbone.positions[places + (after[:, None] if later else 0)]
    values = block.value.of_events(block.attention_norm(x)).unflatten(2, (block.num_heads, -1))
    return block.output(torch.einsum("nqht,nthd->nqhd", found.weights, ragged.spread(values)).flatten(2))


def values_of_candidate(backbone: BST, found: AttentionMap, encoded: State, ragged: Ragged, lengths: Lengths) -> Tensor:
    """Heads side by side, of events whose position counts back over the events of both histories."""
    tokens = encoded["tokens"]
    if backbone.position is not None:
        newer = torch.tensor(lengths["real_time" if found.history == "global" else "global"])
        behind = newer[:, None] if found.history == "global" else 0
        order = behind + torch.tensor(lengths[found.history])[:, None] - torch.arange(1, tokens.shape[1] + 1)
        tokens = tokens + backbone.position[order.clamp(min=0)]
    values = backbone.blocks[0].value(tokens).unflatten(2, (backbone.config.num_heads, -1))
    return torch.einsum("nqht,nthd->nqhd", found.weights, ragged.spread(values)).flatten(2)
