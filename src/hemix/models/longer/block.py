"""A transformer layer whose keys and values are made apart from its queries, so that they can be kept.

    X <- X + concat_heads(softmax(Q K^T / sqrt(d_h) + mask) V) Wo + bo      Q, K, V: of LN(X), with biases
    X <- X + gelu(LN(X) W1 + b1) W2 + b2

A token sees itself and what stands behind it. Tokens of a candidate stand in front of those of its request.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.nn.attention import split_heads
from hemix.nn.cached_attention import KVCache, attend, cached_weights
from hemix.nn.cost import products
from hemix.nn.mixing import SMALL_STD
from hemix.nn.ragged import Ragged
from hemix.nn.token_ffn import SharedFFN


class CausalBlock(nn.Module):
    """12 D^2 + 13 D parameters where the FFN is four times as wide. One set of maps for all tokens."""

    def __init__(self, width: int, num_heads: int, expansion: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.output = nn.Linear(width, width)
        self.ffn_norm = nn.LayerNorm(width)
        self.ffn = SharedFFN(1, width, expansion)
        nn.init.normal_(self.output.weight, std=SMALL_STD)
        nn.init.zeros_(self.output.bias)

    def keys_values(self, x: Float[Tensor, "R S D"]) -> tuple[Float[Tensor, "R H S d"], Float[Tensor, "R H S d"]]:
        """Of tokens to be attended to, by head."""
        normed = self.attention_norm(x)
        return split_heads(self.key(normed), self.num_heads), split_heads(self.value(normed), self.num_heads)

    def forward(
        self,
        x: Float[Tensor, "R Q D"],
        keys: Float[Tensor, "R H S d"],
        values: Float[Tensor, "R H S d"],
        visible: Bool[Tensor, "R Q S"],
    ) -> Float[Tensor, "R Q D"]:
        """The tokens behind the layer; each must see at least one key."""
        queries = split_heads(self.query(self.attention_norm(x)), self.num_heads)
        found = F.scaled_dot_product_attention(queries, keys, values, attn_mask=visible[:, None])
        x = x + self.output(found.transpose(1, 2).flatten(2))
        return x + self.feed(x)

    def ask(self, x: Float[Tensor, "N M D"], cache: KVCache, ragged: Ragged) -> Float[Tensor, "N M D"]:
        """What attention adds to the tokens of each candidate, which stand in front of those of its request."""
        return self.output(attend(*self._own(x), cache, ragged))

    def feed(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        """What the FFN adds."""
        return self.ffn(self.ffn_norm(x))

    def look(self, x: Float[Tensor, "N M D"], cache: KVCache, ragged: Ragged) -> Float[Tensor, "N M H S"]:
        """How much the tokens of each candidate look at each token of its request, in `ask`."""
        return cached_weights(*self._own(x), cache, ragged)

    def answers(self, weights: Float[Tensor, "N M H S"], values: Float[Tensor, "N H S d"]) -> Float[Tensor, "N M D"]:
        """The share of some keys in what attention adds: it is linear in the weights. The bias is nobody's share."""
        heads = torch.einsum("nmhs,nhsd->nmhd", weights, values)
        return F.linear(heads.flatten(2), self.output.weight)

    def _own(self, x: Float[Tensor, "N M D"]) -> tuple[Float[Tensor, "N 3 M D"], Bool[Tensor, "M M"]]:
        """Queries, keys and values of the candidates' tokens, and which of these each sees."""
        normed = self.attention_norm(x)
        rows = torch.stack([part(normed) for part in (self.query, self.key, self.value)], dim=1)
        return rows, torch.ones(x.shape[1], x.shape[1], dtype=torch.bool, device=x.device).triu()

    def key_cost(self, tokens: int) -> int:
        """Multiply-adds for keys and values: 2 D^2 per token."""
        return tokens * (products(self.key) + products(self.value))

    def query_cost(self, tokens: int, keys: int) -> int:
        """Multiply-adds of tokens that look at so many keys: 2 D^2 + 2 S D + 2 k D^2 per token."""
        attention = products(self.query) + products(self.output) + 2 * keys * self.output.in_features
        return tokens * (attention + self.ffn.cost())


def visible_behind(attended: Bool[Tensor, "R S"], num_queries: int) -> Bool[Tensor, "R Q S"]:
    """The mask of the first `num_queries` of S tokens: each sees itself, and those behind it that are there."""
    shape = (num_queries, attended.shape[1])
    behind = torch.ones(shape, dtype=torch.bool, device=attended.device).triu()
    itself = torch.eye(*shape, dtype=torch.bool, device=attended.device)
    return attended[:, None] & behind | itself
