"""Attention of a candidate's tokens to what is kept of its request and to each other, under one softmax.

Keys and values of the request's tokens are there already, once for all candidates. torch's fused attention would need a
copy of them beside each candidate's own keys; here all tokens of a request multiply the same keys, and only the scores,
M x T per head and candidate, are put beside those of the tokens themselves.

Axes: B requests, C candidates of each, M tokens, T kept tokens, S = T + M, H heads of width d.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hemix.nn.ragged import Ragged

CHUNK = 2**22
"""Scores that are worked on at a time: 16 MB."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KVCache:
    """The tokens of each request that are kept, events above all."""

    keys: Float[Tensor, "R H T d"]
    values: Float[Tensor, "R H T d"]
    attended: Bool[Tensor, "R T"]


def attend(
    rows: Float[Tensor, "N 3 M D"], visible: Bool[Tensor, "M M"], cache: KVCache, ragged: Ragged
) -> Float[Tensor, "N M D"]:
    """What each token finds, its heads side by side; `rows` are queries, keys and values of the tokens.

    Token i sees all kept tokens that are there, and token j of its candidate where ``visible[i, j]``; each must see
    itself.
    """

    def answer(rows: Tensor, keys: Tensor, values: Tensor, attended: Tensor) -> Tensor:
        return _answer(_weigh(rows, keys, attended, visible), rows, values)

    (_, num_heads, num_kept, _), num_tokens = cache.keys.shape, rows.shape[2]
    scores = num_tokens * num_heads * (num_kept + num_tokens)
    return ragged.map_in_chunks(answer, CHUNK // scores, rows, cache.keys, cache.values, cache.attended)


def cached_weights(
    rows: Float[Tensor, "N 3 M D"], visible: Bool[Tensor, "M M"], cache: KVCache, ragged: Ragged
) -> Float[Tensor, "N M H T"]:
    """How much each token looks at each kept one in `attend`; what is left of 1 are its own. For few candidates."""

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
    to_kept = (queries.flatten(2, 3) @ keys.transpose(2, 3)).unflatten(2, queries.shape[2:4])
    to_own = queries @ own_keys.transpose(3, 4)
    scores = [
        to_kept.masked_fill(~attended[:, None, None, None], -torch.inf),
        to_own.masked_fill(~visible, -torch.inf),
    ]
    return torch.cat(scores, dim=4).softmax(dim=4)


def _answer(
    weights: Float[Tensor, "B H C M S"], rows: Float[Tensor, "B C 3 M D"], values: Float[Tensor, "B H T d"]
) -> Float[Tensor, "B C M D"]:
    to_kept, to_own = weights.split([values.shape[2], rows.shape[3]], dim=4)
    of_kept = (to_kept.flatten(2, 3) @ values).unflatten(2, weights.shape[2:4])
    of_own = to_own @ _by_head(rows[:, :, 2], values.shape[1])
    return (of_kept + of_own).permute(0, 2, 3, 1, 4).flatten(3)


def _by_head(x: Float[Tensor, "B C M D"], num_heads: int) -> Float[Tensor, "B H C M d"]:
    return x.unflatten(3, (num_heads, -1)).permute(0, 3, 1, 2, 4)
