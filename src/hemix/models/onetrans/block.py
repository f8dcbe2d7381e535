"""A block of OneTrans: a pre-norm transformer layer whose maps are shared by events, and private to feature tokens."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.models.onetrans.config import OneTransConfig
from hemix.nn.attention import split_heads
from hemix.nn.cached_attention import KVCache, attend, cached_weights
from hemix.nn.cost import Cost
from hemix.nn.grouped_linear import GroupedLinear
from hemix.nn.mixing import SMALL_STD
from hemix.nn.norm import build_norm
from hemix.nn.ragged import Ragged
from hemix.nn.token_ffn import PerTokenFFN, SharedFFN


class TokenLinear(GroupedLinear):
    """``x_t W_t`` for tokens (N, M, D): one group for each of M tokens, or one for all."""

    def __init__(self, num_groups: int, width: int) -> None:
        super().__init__(num_groups, width, width, bias=False)

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        if len(self.weight) == 1:
            return super().forward(x.flatten(0, 1)[None]).view_as(x)
        return super().forward(x.transpose(0, 1)).transpose(0, 1)


class Mixed(nn.Module):
    """One map for all events, and one of its own for each feature token; without `own` the events' map serves both."""

    def __init__(self, shared: nn.Module | None, own: nn.Module | None) -> None:
        super().__init__()
        self.shared = shared
        self.own = own

    def of_events(self, x: Float[Tensor, "R T D"]) -> Float[Tensor, "R T D"]:
        assert self.shared is not None
        return self.shared(x)

    def of_tokens(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        found = self.shared if self.own is None else self.own
        assert found is not None
        return found(x)


class OneTransBlock(nn.Module):
    """Attention and FFN, each with a norm before it and a residual.

    The latest `asking` of the events that enter ask, and leave. Where none do (in the last block, whose events nobody
    would read), events have a key and a value, and no other map.
    """

    visible: Tensor

    def __init__(self, config: OneTransConfig, *, has_events: bool, asking: int) -> None:
        super().__init__()
        width, expansion, num_tokens = config.token_dim, config.ffn_expansion, config.feature_tokens
        shared = config.shared_parameters
        self.num_heads = config.num_heads
        self.expansion = expansion
        self.asking = asking

        def linear(*, of_events: bool) -> Mixed:
            return Mixed(
                TokenLinear(1, width) if of_events or shared else None,
                None if shared else TokenLinear(num_tokens, width),
            )

        self.attention_norm = build_norm("rms_norm", width)
        self.query = linear(of_events=asking > 0)
        self.key = linear(of_events=has_events)
        self.value = linear(of_events=has_events)
        self.output = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.output.weight, std=SMALL_STD)
        self.ffn_norm = build_norm("rms_norm", width)
        self.ffn = Mixed(
            SharedFFN(1, width, expansion) if asking or shared else None,
            None if shared else PerTokenFFN(num_tokens, width, expansion),
        )
        visible = torch.ones(num_tokens, num_tokens, dtype=torch.bool)
        self.register_buffer("visible", visible.tril() if config.attention == "causal" else visible, persistent=False)

    def encode(
        self, x: Float[Tensor, "R T D"], visible: Bool[Tensor, "R T T"]
    ) -> tuple[Float[Tensor, "R H T d"], Float[Tensor, "R H T d"], Float[Tensor, "R L D"]]:
        """Keys and values of the events, latest first, and the latest of them as they leave.

        ``visible[r, i, j]``: whether event i sees event j; each must see one at least.
        """
        if not x.shape[1]:
            nothing = split_heads(x, self.num_heads)
            return nothing, nothing, x
        normed = self.attention_norm(x)
        keys, values = (split_heads(part.of_events(normed), self.num_heads) for part in (self.key, self.value))
        x = x[:, : self.asking]
        if not self.asking:
            return keys, values, x
        queries = split_heads(self.query.of_events(normed[:, : self.asking]), self.num_heads)
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=visible[:, None, : self.asking])
        x = x + self.output(found.transpose(1, 2).flatten(2))
        return keys, values, x + self.ffn.of_events(self.ffn_norm(x))

    def forward(self, x: Float[Tensor, "N M D"], cache: KVCache, ragged: Ragged) -> Float[Tensor, "N M D"]:
        """The feature tokens of each candidate after the block."""
        for added in self.parts(x, cache, ragged).values():
            x = x + added
        return x

    def parts(self, x: Float[Tensor, "N M D"], cache: KVCache, ragged: Ragged) -> dict[str, Float[Tensor, "N M D"]]:
        """What attention and FFN add to the feature tokens, in this order."""
        attention = self.output(attend(self._asked(x), self.visible, cache, ragged))
        return {"attention": attention, "ffn": self.ffn.of_tokens(self.ffn_norm(x + attention))}

    def event_weights(self, x: Float[Tensor, "N M D"], cache: KVCache, ragged: Ragged) -> Float[Tensor, "N M H T"]:
        """How much each feature token looks at each event."""
        return cached_weights(self._asked(x), self.visible, cache, ragged)

    def _asked(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N 3 M D"]:
        """Queries, keys and values of the feature tokens."""
        normed = self.attention_norm(x)
        return torch.stack([part.of_tokens(normed) for part in (self.query, self.key, self.value)], dim=1)

    def cost(self, length: int) -> Cost:
        """For so many events that enter."""
        width, num_tokens, asking = self.output.in_features, len(self.visible), min(self.asking, length)
        pair, key_value, others = 2 * width, 2 * width**2, (2 + 2 * self.expansion) * width**2
        return Cost(
            per_request=length * key_value + asking * (others + length * pair),
            per_candidate=num_tokens * (key_value + others + (length + num_tokens) * pair),
        )
