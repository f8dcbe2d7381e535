"""Attention of queries over a request's history; keys and values are computed once per request.

Queries come from the request (R, Q, d) or from its candidates (N, Q, d). A padded event is never attended to. A request
without events has no answer here: `over_events` and `over_candidates` return finite values for it, to be replaced.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from hemix.nn.ragged import Ragged


def split_heads(x: Float[Tensor, "R T D"], num_heads: int) -> Float[Tensor, "R H T d"]:
    """Cut the last axis into heads and bring them forward."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def over_events(
    queries: Float[Tensor, "R Q D"],
    keys: Float[Tensor, "R H T d"],
    values: Float[Tensor, "R H T d"],
    attended: Bool[Tensor, "R T"],
) -> Float[Tensor, "R Q D"]:
    """Scaled dot-product attention of Q queries of each request over its events (T >= 1)."""
    heads = split_heads(queries, keys.shape[1])
    found = F.scaled_dot_product_attention(heads, keys, values, attn_mask=attended[:, None, None, :])
    return found.transpose(1, 2).flatten(2)


def over_candidates(
    queries: Float[Tensor, "N Q D"],
    keys: Float[Tensor, "R H T d"],
    values: Float[Tensor, "R H T d"],
    attended: Bool[Tensor, "R T"],
    ragged: Ragged,
) -> Float[Tensor, "N Q D"]:
    """The same for Q queries of each candidate: one attention call over all queries of a request."""

    def attend(rows: Tensor, keys: Tensor, values: Tensor, attended: Tensor) -> Tensor:
        return over_events(rows.flatten(1, 2), keys, values, attended).unflatten(1, rows.shape[1:3])

    return ragged.map(attend, queries, keys, values, attended)


def event_weights(
    queries: Float[Tensor, "R Q D"], keys: Float[Tensor, "R H T d"], attended: Bool[Tensor, "R T"]
) -> Float[Tensor, "R Q H T"]:
    """How much each query looks at each event, by head: the softmax inside `over_events`, written out.

    Weights over the events of a request add up to 1; they are all 0 for a request without events, and where T is 0.
    """
    heads = split_heads(queries, keys.shape[1])
    scores = heads @ keys.transpose(2, 3) / keys.shape[3] ** 0.5
    absent = ~attended[:, None, None, :]
    weights = scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(dim=3)
    return weights.masked_fill(absent, 0.0).transpose(1, 2)
