"""Cross Arch: few tokens that say of a whole side what the other side is to know.

    X_sum = gate(W X)                                   W (n_sum, n): linear compression over the tokens
    S_sum = gate([S_cls ; MHA(Q, S, S) ; last K])       `selective`

Axes: B rows, n non-sequence tokens, P places of the sequence (CLS in front of T events), d width.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.models.interformer.config import Gating, InterFormerConfig
from hemix.nn.attention import event_weights, split_heads
from hemix.nn.cost import products

SMALL_STD = 0.02


class Gate(nn.Module):
    """``z * sigmoid(W z)`` and its variants, token by token."""

    def __init__(self, kind: Gating, width: int) -> None:
        super().__init__()
        self.kind = kind
        self.map = None if kind == "none" else nn.Linear(width, width)

    def forward(self, z: Float[Tensor, "B k d"]) -> Float[Tensor, "B k d"]:
        if self.map is None:
            return z
        match self.kind:
            case "literal":
                return torch.sigmoid(z * self.map(z))
            case "swish":
                return F.silu(z * self.map(z))
            case _:
                return z * torch.sigmoid(self.map(z))


class FieldSummary(nn.Module):
    """Linear compression over the tokens, gated."""

    def __init__(self, num_tokens: int, width: int, config: InterFormerConfig) -> None:
        super().__init__()
        self.width = width
        self.compress = nn.Linear(num_tokens, config.num_summaries, bias=False)
        self.gate = Gate(config.gating, width)

    def forward(self, x: Float[Tensor, "B n d"]) -> Float[Tensor, "B k d"]:
        return self.gate(self.compress(x.transpose(1, 2)).transpose(1, 2))

    def cost(self) -> int:
        return self.width * products(self.compress) + self.compress.out_features * products(self.gate)


class Pooling(nn.Module):
    """Multi-head attention of learned queries over the sequence (PMA)."""

    no_decay = ("queries",)

    def __init__(self, num_queries: int, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads, self.width = num_heads, width
        self.queries = nn.Parameter(torch.empty(num_queries, width).normal_(std=SMALL_STD))
        self.query, self.key, self.value, self.output = (nn.Linear(width, width, bias=False) for _ in range(4))

    def forward(self, s: Float[Tensor, "B P d"], present: Bool[Tensor, "B P"]) -> Float[Tensor, "B q d"]:
        queries, keys, values = (
            split_heads(part, self.num_heads) for part in (self._asking(s), self.key(s), self.value(s))
        )
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=present[:, None, None])
        return self.output(found.transpose(1, 2).flatten(2))

    def weights(self, s: Float[Tensor, "B P d"], present: Bool[Tensor, "B P"]) -> Float[Tensor, "B q H P"]:
        """How much each query looks at each place."""
        return event_weights(self._asking(s), split_heads(self.key(s), self.num_heads), present)

    def asking(self) -> Float[Tensor, "q d"]:
        """The vectors by which the queries ask."""
        return self.query(self.queries)

    def _asking(self, s: Float[Tensor, "B P d"]) -> Float[Tensor, "B q d"]:
        return self.query(self.queries.expand(len(s), -1, -1))

    def cost(self, places: int) -> int:
        num_queries, area = len(self.queries), self.width**2
        return 2 * places * area + num_queries * (2 * area + 2 * places * self.width)


class Selective(nn.Module):
    """CLS tokens, what the learned queries find, the latest events."""

    def __init__(self, num_cls: int, width: int, config: InterFormerConfig) -> None:
        super().__init__()
        self.num_cls, self.num_recent, self.width = num_cls, config.num_recent, width
        self.pooling = Pooling(config.num_pooled, width, config.num_heads) if config.num_pooled else None
        self.gate = Gate(config.gating, width)
        self.num_tokens = num_cls + config.num_pooled + config.num_recent

    def forward(
        self, s: Float[Tensor, "B P d"], present: Bool[Tensor, "B P"], lengths: Int[Tensor, " B"]
    ) -> Float[Tensor, "B k d"]:
        parts = [s[:, : self.num_cls]]
        if self.pooling is not None:
            parts.append(self.pooling(s, present))
        if self.num_recent:
            parts.append(latest(s, self.num_cls, self.num_recent, lengths))
        return self.gate(torch.cat(parts, dim=1))

    def cost(self, places: int) -> int:
        pooling = 0 if self.pooling is None else self.pooling.cost(places)
        return pooling + self.num_tokens * products(self.gate)


class Mean(nn.Module):
    """The mean of the events; zero where there is none."""

    num_tokens = 1

    def __init__(self, num_cls: int, width: int, config: InterFormerConfig) -> None:
        super().__init__()
        self.num_cls = num_cls
        self.gate = Gate(config.gating, width)

    def forward(
        self, s: Float[Tensor, "B P d"], present: Bool[Tensor, "B P"], lengths: Int[Tensor, " B"]
    ) -> Float[Tensor, "B k d"]:
        events, kept = s[:, self.num_cls :], present[:, self.num_cls :, None].to(s.dtype)
        mean = (events * kept).sum(dim=1) / lengths.clamp(min=1)[:, None].to(s.dtype)
        return self.gate(mean[:, None])

    def cost(self, places: int) -> int:
        return products(self.gate)


class Compressed(nn.Module):
    """Linear maps over the places of the events, counted from the latest one."""

    def __init__(self, num_cls: int, width: int, config: InterFormerConfig, max_length: int) -> None:
        super().__init__()
        self.num_cls, self.width = num_cls, width
        self.num_tokens = num_cls + config.num_pooled + config.num_recent
        self.compress = nn.Linear(max_length, self.num_tokens, bias=False)
        self.gate = Gate(config.gating, width)

    def forward(
        self, s: Float[Tensor, "B P d"], present: Bool[Tensor, "B P"], lengths: Int[Tensor, " B"]
    ) -> Float[Tensor, "B k d"]:
        events = latest(s, self.num_cls, self.compress.in_features, lengths)
        return self.gate(self.compress(events.transpose(1, 2)).transpose(1, 2))

    def cost(self, places: int) -> int:
        return self.width * products(self.compress) + self.num_tokens * products(self.gate)


class Attended(nn.Module):
    """Learned queries alone."""

    def __init__(self, num_cls: int, width: int, config: InterFormerConfig) -> None:
        super().__init__()
        self.num_tokens = num_cls + config.num_pooled + config.num_recent
        self.pooling = Pooling(self.num_tokens, width, config.num_heads)
        self.gate = Gate(config.gating, width)

    def forward(
        self, s: Float[Tensor, "B P d"], present: Bool[Tensor, "B P"], lengths: Int[Tensor, " B"]
    ) -> Float[Tensor, "B k d"]:
        return self.gate(self.pooling(s, present))

    def cost(self, places: int) -> int:
        return self.pooling.cost(places) + self.num_tokens * products(self.gate)


SequenceSummary = Selective | Mean | Compressed | Attended


def build_sequence_summary(num_cls: int, width: int, config: InterFormerConfig, max_length: int) -> SequenceSummary:
    """The summary that `model.aggregation` names, of a sequence of at most so many events."""
    match config.aggregation:
        case "selective":
            return Selective(num_cls, width, config)
        case "mean":
            return Mean(num_cls, width, config)
        case "mlp":
            return Compressed(num_cls, width, config, max_length)
        case "attention":
            return Attended(num_cls, width, config)


def latest(
    s: Float[Tensor, "B P d"], num_cls: int, count: int, lengths: Int[Tensor, " B"]
) -> Float[Tensor, "B count d"]:
    """The last `count` events, the latest first; zero where there are fewer."""
    back = torch.arange(count, device=s.device)
    places = num_cls + lengths[:, None] - 1 - back
    there = back < lengths[:, None]
    rows = torch.arange(len(s), device=s.device)[:, None]
    return torch.where(there[:, :, None], s[rows, torch.where(there, places, 0)], 0.0)
