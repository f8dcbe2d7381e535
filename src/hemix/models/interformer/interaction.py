"""Interaction Arch: n tokens of width d that meet each other, and m tokens that come out.

    dot      MLP([z_1 ; .. ; z_n ; <z_i, z_j> : i < j])
    dcnv2    W [cross(z) ; MLP(z)]           cross: z_(l+1) = z_0 * (U_l V_l z_l + b_l) + z_l; z: all side by side
    dhen     LN(dot(Z) + dcnv2(Z) + shortcut(Z))        shortcut: a linear map over the tokens where m is not n

https://arxiv.org/abs/2203.11014 is DHEN.
"""

from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from hemix.models.interformer.config import InterFormerConfig
from hemix.nn.cost import products
from hemix.nn.mlp import MLP


class Dot(nn.Module):
    """Inner products of all pairs beside the tokens themselves, and an MLP."""

    pairs: Tensor

    def __init__(self, num_tokens: int, width: int, num_outputs: int, config: InterFormerConfig) -> None:
        super().__init__()
        self.num_tokens, self.width = num_tokens, width
        self.register_buffer("pairs", _pairs(num_tokens), persistent=False)
        inner = MLP(num_tokens * width + len(self.pairs), config.interaction_hidden, config.activation)
        self.network = nn.Sequential(inner, nn.Linear(config.interaction_hidden[-1], num_outputs * width))

    def forward(self, z: Float[Tensor, "B n d"]) -> Float[Tensor, "B m d"]:
        met = torch.bmm(z, z.transpose(1, 2)).flatten(1).index_select(1, self.pairs)
        return self.network(torch.cat([z.flatten(1), met], dim=1)).unflatten(1, (-1, self.width))

    def cost(self) -> int:
        """All products are made as a full square."""
        return self.num_tokens**2 * self.width + products(self.network)


class Cross(nn.Module):
    """Cross layers of low rank beside a deep network."""

    no_decay = ("bias",)

    def __init__(self, num_tokens: int, width: int, num_outputs: int, config: InterFormerConfig) -> None:
        super().__init__()
        self.width = width
        flat, rank = num_tokens * width, config.cross_rank
        self.down = nn.ModuleList([nn.Linear(flat, rank, bias=False) for _ in range(config.cross_layers)])
        self.up = nn.ModuleList([nn.Linear(rank, flat, bias=False) for _ in range(config.cross_layers)])
        self.bias = nn.Parameter(torch.zeros(config.cross_layers, flat))
        self.deep = MLP(flat, config.interaction_hidden, config.activation)
        self.output = nn.Linear(flat + config.interaction_hidden[-1], num_outputs * width)

    def forward(self, z: Float[Tensor, "B n d"]) -> Float[Tensor, "B m d"]:
        x = crossed = z.flatten(1)
        for down, up, bias in zip(self.down, self.up, self.bias, strict=True):
            crossed = torch.addcmul(crossed, x, up(down(crossed)) + bias)
        return self.output(torch.cat([crossed, self.deep(x)], dim=1)).unflatten(1, (-1, self.width))

    def cost(self) -> int:
        return products(self)


class DHEN(nn.Module):
    """Layers of both, each with a shortcut and a norm; only the last one changes the number of tokens."""

    def __init__(self, num_tokens: int, width: int, num_outputs: int, config: InterFormerConfig) -> None:
        super().__init__()
        sizes = [num_tokens] * config.dhen_layers + [num_outputs]
        steps = list(pairwise(sizes))
        self.dot = nn.ModuleList([Dot(before, width, after, config) for before, after in steps])
        self.cross = nn.ModuleList([Cross(before, width, after, config) for before, after in steps])
        self.shortcut = nn.ModuleList([_shortcut(before, after) for before, after in steps])
        self.norm = nn.ModuleList([nn.LayerNorm(width) for _ in steps])
        self.width = width

    def forward(self, z: Float[Tensor, "B n d"]) -> Float[Tensor, "B m d"]:
        for dot, cross, shortcut, norm in zip(self.dot, self.cross, self.shortcut, self.norm, strict=True):
            kept = shortcut(z.transpose(1, 2)).transpose(1, 2)
            z = norm(dot(z) + cross(z) + kept)
        return z

    def cost(self) -> int:
        ensembles = sum(
            part.cost() for parts in (self.dot, self.cross) for part in parts if isinstance(part, Dot | Cross)
        )
        return ensembles + self.width * products(self.shortcut)


class Renewed(nn.Module):
    """``LN(X + f([X ; S_sum]))`` around an interaction that has no residual of its own."""

    def __init__(self, interaction: Dot | Cross, width: int) -> None:
        super().__init__()
        self.interaction = interaction
        self.norm = nn.LayerNorm(width)

    def forward(self, z: Float[Tensor, "B n d"]) -> Float[Tensor, "B m d"]:
        found = self.interaction(z)
        return self.norm(z[:, : found.shape[1]] + found)

    def cost(self) -> int:
        return self.interaction.cost()


def build_interaction(num_tokens: int, num_summaries: int, width: int, config: InterFormerConfig) -> DHEN | Renewed:
    """From [X ; S_sum], X first, to as many tokens as X has."""
    together = num_tokens + num_summaries
    match config.interaction:
        case "dot":
            return Renewed(Dot(together, width, num_tokens, config), width)
        case "dcnv2":
            return Renewed(Cross(together, width, num_tokens, config), width)
        case "dhen":
            return DHEN(together, width, num_tokens, config)


def _shortcut(before: int, after: int) -> nn.Module:
    return nn.Identity() if before == after else nn.Linear(before, after, bias=False)


def _pairs(count: int) -> Int[Tensor, " P"]:
    """Where the products i < j stand in a flat (count, count) matrix."""
    row, column = torch.triu_indices(count, count, offset=1)
    return row * count + column
