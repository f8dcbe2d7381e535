"""How tokens of one row learn from each other: maps (N, M, D) -> (N, M, D), each with what it costs per row.

hetero           unfuse(relu(fuse(X)_m WL_m + bL_m) WR_m + bR_m)      one low-rank map per head m (HeteroMixer)
rankmixer        Y_h = [X_1^(h) ; ... ; X_M^(h)]                      h-th slices of all tokens; no parameters
self_attention   concat_a softmax(X Wq_a (X Wk_a)^T / sqrt(d_a)) X Wv_a  Wo      maps shared by all tokens
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.nn.attention import split_heads
from hemix.nn.cost import products
from hemix.nn.grouped_linear import GroupedLinear

MixerKind = Literal["hetero", "rankmixer", "self_attention", "identity"]
SMALL_STD = 0.02
"""Of the last map of a part of a block, so that the block starts near the identity."""


class HeteroMixing(nn.Module):
    """Fuse the tokens head by head, map each head with its own low-rank pair, and put the slices back.

    Section 3.4 of https://arxiv.org/abs/2602.09387.
    """

    def __init__(self, num_tokens: int, width: int, num_heads: int, rank: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        fused = num_tokens * width // num_heads
        self.reduce = GroupedLinear(num_heads, fused, rank)
        self.expand = GroupedLinear(num_heads, rank, fused, std=SMALL_STD)

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        mixed = self.expand(torch.relu(self.reduce(fuse(x, self.num_heads))))
        return unfuse(mixed, x.shape[1])

    def cost(self) -> int:
        """2 M D rank."""
        return products(self)


def fuse(x: Float[Tensor, "N M D"], num_heads: int) -> Float[Tensor, "H N W"]:
    """Head h holds the h-th slices of all M tokens, side by side: W = M d / H."""
    return x.unflatten(2, (num_heads, -1)).permute(2, 0, 1, 3).flatten(2)


def unfuse(fused: Float[Tensor, "H N W"], num_tokens: int) -> Float[Tensor, "N M D"]:
    """The inverse of `fuse`: each slice back to its token and place."""
    return fused.unflatten(2, (num_tokens, -1)).permute(1, 2, 0, 3).flatten(2)


class HeadMixing(nn.Module):
    """RankMixer's mixing (https://arxiv.org/abs/2507.15551): as many heads as tokens, new token h = all h-th slices.

    The M D values are read coordinate by coordinate and cut into M new tokens; in each, values of one old token stand
    side by side. Where M does not divide D, a new token holds D // M or one more value of each old one: always a
    permutation, nothing is padded or lost.
    """

    order: Tensor

    def __init__(self, num_tokens: int, width: int) -> None:
        super().__init__()
        places = torch.arange(num_tokens * width).view(num_tokens, width)
        order = places.T.reshape(num_tokens, width).sort(dim=1).values
        self.even = width % num_tokens == 0
        self.register_buffer("order", order.flatten(), persistent=False)

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        if self.even:
            return x.unflatten(2, (x.shape[1], -1)).transpose(1, 2).flatten(2)
        return x.flatten(1).index_select(1, self.order).view_as(x)

    def cost(self) -> int:
        return 0


class SelfAttention(nn.Module):
    """Multi-head attention among the tokens; query, key, value and output maps are shared by all of them, no bias."""

    def __init__(self, num_tokens: int, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.num_heads = num_heads
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.output = nn.Linear(width, width, bias=False)
        nn.init.normal_(self.output.weight, std=SMALL_STD)

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        query, key, value = (split_heads(part(x), self.num_heads) for part in (self.query, self.key, self.value))
        return self.output(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))

    def cost(self) -> int:
        """4 M D^2 + 2 M^2 D."""
        return self.num_tokens * products(self) + 2 * self.num_tokens**2 * self.query.in_features


def build_mixing(
    kind: MixerKind, num_tokens: int, width: int, *, num_heads: int, rank: int
) -> HeteroMixing | HeadMixing | SelfAttention | None:
    """A mixing by name (None: tokens stay apart). `num_heads`: of hetero and self_attention; `rank`: of hetero."""
    match kind:
        case "hetero":
            return HeteroMixing(num_tokens, width, num_heads, rank)
        case "rankmixer":
            return HeadMixing(num_tokens, width)
        case "self_attention":
            return SelfAttention(num_tokens, width, num_heads)
        case "identity":
            return None
