"""Attention of a candidate's tokens to the events of its request and to each other, under one softmax.

Keys and values of the events are there already, once per request. torch's fused attention would need a copy of them
beside each candidate's own keys; here all tokens of a request multiply the same keys, and only the scores, M x T per
head and candidate, are put beside those of the tokens themselves.

Axes: B requests, C candidates of each, M tokens, T events, S = T + M, H heads of width d.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hemix.nn.ragged import Ragged

CHUNK = 2**22
"""Scores that are worked on at a time: 16 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class EventCache:
    """The events that a block sees, by request."""

    keys: Float[Tensor, "R H T d"]
    values: Float[Tensor, "R H T d"]
    attended: Bool[Tensor, "R T"]


def attend(
    rows: Float[Tensor, "N 3 M D"], cache: EventCache, visible: Bool[Tensor, "M M"], ragged: Ragged
) -> Float[Tensor, "N M D"]:
    """What each token finds, its heads side by side; `rows` are queries, keys and values of the tokens.

    Token i sees all events that are there, and token j where ``visible[i, j]``; each must see itself.
    """

    def answer(rows: Tensor, keys: Tensor, values: Tensor, attended: Tensor) -> Tensor:
        return _answer(_weigh(rows, keys, attended, visible), rows, values)

    (_, num_heads, num_events, _), num_tokens = cache.keys.shape, rows.shape[2]
    scores = num_tokens * num_heads * (num_events + num_tokens)
    return ragged.map_in_chunks(answer, CHUNK // scores, rows, cache.keys, cache.values, cache.attended)


def event_weights(
    rows: Float[Tensor, "N 3 M D"], cache: EventCache, visible: Bool[Tensor, "M M"], ragged: Ragged
) -> Float[Tensor, "N M H T"]:
    """How much each token looks at each event in `attend`; what is left of 1 are tokens. For few candidates."""

    def weigh(rows: Tensor, keys: Tensor, attended: Tensor) -> Tensor:
        return _weigh(rows, keys, attended, visible)[..., : keys.shape[2]].permute(0, 2, 3, 1, 4)

    return ragged.map(weigh, rows, cache.keys, cache.attended)


def _weigh(
    rows: Float[Tensor, "B C 3 M D"],
    keys: Float[Tensor, "B H T d"],
    attended: Bool[Tensor, "B T"],
    visible: Bool[Tensor, "M M"],
) -> Float[Tensor, "B H C M S"]:
    queries, own_keys, _ = (_by_head(part, keys.shape[1]) for part in rows.unbind(2))
    queries = queries / keys.shape[3] ** 0.5
    to_events = (queries.flatten(2, 3) @ keys.transpose(2, 3)).unflatten(2, queries.shape[2:4])
    to_tokens = queries @ own_keys.transpose(3, 4)
    scores = [
        to_events.masked_fill(~attended[:, None, None, None], -torch.inf),
        to_tokens.masked_fill(~visible, -torch.inf),
    ]
    return torch.cat(scores, dim=4).softmax(dim=4)


def _answer(
    weights: Float[Tensor, "B H C M S"], rows: Float[Tensor, "B C 3 M D"], values: Float[Tensor, "B H T d"]
) -> Float[Tensor, "B C M D"]:
    to_events, to_tokens = weights.split([values.shape[2], rows.shape[3]], dim=4)
    of_events = (to_events.flatten(2, 3) @ values).unflatten(2, weights.shape[2:4])
    of_tokens = to_tokens @ _by_head(rows[:, :, 2], values.shape[1])
    return (of_events + of_tokens).permute(0, 2, 3, 1, 4).flatten(3)


def _by_head(x: Float[Tensor, "B C M D"], num_heads: int) -> Float[Tensor, "B H C M d"]:
    return x.unflatten(3, (num_heads, -1)).permute(0, 3, 1, 2, 4)
