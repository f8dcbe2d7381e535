"""The layers of HSTU, for events that see each other in order, and for rows that see no other row.

A sequence is cut into blocks (`Block`), each of which later tokens attend to on its own.

Axes: B requests, L layers, H heads, S tokens that attend, T tokens of a block, D width of a token, a and v widths of a
head.
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hemix.models.hstu.config import HSTUConfig
from hemix.models.hstu.relative_bias import Moments, RelativeBias, cells
from hemix.nn.attention import split_heads
from hemix.nn.cost import products
from hemix.nn.dropout import FastDropout

CHUNK = 2**20
"""Scores of events by events that are worked on at a time: a few MB."""
KEPT = 2**26
"""Such scores that training may keep for the backward pass, some hundred MB; where there are more, none is kept."""
EPS = 1e-6
"""Of the norms: answers are sums over N, and so may be small."""


class Block(NamedTuple):
    """Tokens that others can attend to, as all layers see them: the events of a history, or the request."""

    keys: Float[Tensor, "B L H T a"]
    values: Float[Tensor, "B L H T v"]
    places: Int[Tensor, "B T"]
    times: Int[Tensor, "B T"]
    attended: Bool[Tensor, "B T"]

    @property
    def moments(self) -> Moments:
        return Moments(self.places, self.times, self.attended)


class Layer(nn.Module):
    """``f2(LN(A V) * U) + X``; `length` is the N that attention is divided by."""

    def __init__(self, config: HSTUConfig, length: int, num_places: int) -> None:
        super().__init__()
        heads, width = config.num_heads, config.token_dim
        self.num_heads, self.length = heads, length
        self.sizes = [heads * config.linear_dim] * 2 + [heads * config.attention_dim] * 2
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.first = _xavier(nn.Linear(width, sum(self.sizes)))
        self.bias = RelativeBias(num_places, position=config.position_bias, time=config.time_bias)
        self.answer_norm = nn.LayerNorm(self.sizes[0], eps=EPS)
        self.dropout = FastDropout(config.dropout)
        self.second = _xavier(nn.Linear(self.sizes[0], width))

    def project(self, x: Float[Tensor, "B S D"]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """U (B, S, H v); V (B, H, S, v); Q and K (B, H, S, a)."""
        u, *others = F.silu(self.first(self.norm(x))).split(self.sizes, dim=2)
        v, q, k = (split_heads(other, self.num_heads) for other in others)
        return u, v, q, k

    def keys_values(self, x: Float[Tensor, "B S D"]) -> tuple[Float[Tensor, "B H S a"], Float[Tensor, "B H S v"]]:
        """K and V of `project`, without U and Q: half of the first map."""
        normed = self.norm(x)
        _, v, _, k = zip(self.first.weight.split(self.sizes), self.first.bias.split(self.sizes), strict=True)
        keys, values = (split_heads(F.silu(F.linear(normed, *part)), self.num_heads) for part in (k, v))
        return keys, values

    def forward(
        self, x: Float[Tensor, "B S D"], u: Float[Tensor, "B S W"], answers: Float[Tensor, "B H S v"]
    ) -> Float[Tensor, "B S D"]:
        """The stream behind the layer, from its sums over keys."""
        joined = (answers / self.length).transpose(1, 2).flatten(2)
        return x + self.second(self.dropout(self.answer_norm(joined) * u))

    def sums(self, keys: int) -> int:
        """Multiply-adds of one token behind `first`, which sees so many others."""
        return keys * (self.sizes[1] + self.sizes[2]) + products(self.second)


class Stack(nn.Module):
    """All layers."""

    def __init__(self, config: HSTUConfig, length: int, num_places: int) -> None:
        super().__init__()
        self.num_places = num_places
        self._layers = [Layer(config, length, num_places) for _ in range(config.num_layers)]
        self.layers = nn.ModuleList(self._layers)

    def block(
        self,
        x: Float[Tensor, "B T D"],
        times: Int[Tensor, "B T"],
        attended: Bool[Tensor, "B T"],
        before: Sequence[Block],
    ) -> Block:
        """Tokens in order: each sees those of the blocks `before`, those in front of it, and itself.

        Chunk by chunk, requests of like length together, each chunk as wide as its longest request.
        """
        width = x.shape[1]
        steps = torch.arange(1, width + 1, device=x.device)
        longest = F.pad(attended * steps, (1, 0)).amax(dim=1)
        places = count(before, like=longest)[:, None] + attended.cumsum(dim=1).int() - 1
        order = torch.argsort(longest, stable=True)
        scores = self._layers[0].num_heads * width * (width + sum(block.times.shape[1] for block in before))
        parts = [
            tensor.index_select(0, order).split(max(1, CHUNK // max(1, scores)))
            for tensor in (longest, x, places, times, attended, *(tensor for block in before for tensor in block))
        ]
        again = len(x) * scores * (len(self._layers) - 1) > KEPT
        chunks = []
        for ends, *tensors in zip(*parts, strict=True):
            tokens, *moments = (tensor[:, : int(ends[-1])] for tensor in tensors[:4])
            past = [Block(*tensors[i : i + 5]) for i in range(4, len(tensors), 5)]
            found = self._encode(tokens, Moments(*moments), past, again=again)
            chunks.append([F.pad(part, (0, 0, 0, width - part.shape[3])) for part in found])
        keys, values = (torch.cat(found).index_select(0, torch.argsort(order)) for found in zip(*chunks, strict=True))
        return Block(keys, values, places, times, attended)

    def _encode(
        self, x: Float[Tensor, "B T D"], moments: Moments, before: Sequence[Block], *, again: bool
    ) -> tuple[Float[Tensor, "B L H T a"], Float[Tensor, "B L H T v"]]:
        """Keys and values. Of the last layer nothing else is needed: nobody reads the tokens behind it.

        `again`: strengths are made again in the backward pass.
        """
        own = cells(moments.places, moments.times, moments, self.num_places)
        past = self._past(moments.places, moments.times, before)
        sums = partial(checkpoint, attend, use_reentrant=False, preserve_rng_state=False) if again else attend
        keys, values = [], []
        for number, layer in enumerate(self._layers[:-1]):
            u, v, q, k = layer.project(x)
            keys.append(k)
            values.append(v)
            table = layer.bias()
            x = layer(x, u, sum(sums(q, table, *seen) for seen in [(k, v, own), *past[number]]))
        k, v = self._layers[-1].keys_values(x)
        return torch.stack([*keys, k], dim=1), torch.stack([*values, v], dim=1)

    def rows(
        self, x: Float[Tensor, "B S D"], place: Int[Tensor, " B"], time: Int[Tensor, " B"], before: Sequence[Block]
    ) -> list[Float[Tensor, "B S D"]]:
        """Tokens that see the blocks `before` and themselves, all at one place and time: as they are behind each layer.

        The first of the list is `x` itself.
        """
        past, streams = self._past(place[:, None], time[:, None], before), [x]
        for layer, blocks in zip(self._layers, past, strict=True):
            u, v, q, k = layer.project(streams[-1])
            table = layer.bias()
            answers = sum((attend(q, table, *seen) for seen in blocks), alone(q, k, v, table))
            streams.append(layer(streams[-1], u, answers))
        return streams

    def look(
        self, x: Float[Tensor, "N 1 D"], place: Int[Tensor, " N"], time: Int[Tensor, " N"], before: Sequence[Block]
    ) -> tuple[list[Float[Tensor, "N H 1 _"]], Float[Tensor, "N 1 W"]]:
        """A over each block in the last layer of `rows`, and A V over all that a row sees."""
        layer, past = self._layers[-1], self._past(place[:, None], time[:, None], before)[-1]
        _, v, q, k = layer.project(self.rows(x, place, time, before)[-2])
        table = layer.bias()
        weights = [strengths(q, table, keys, cell) / layer.length for keys, _, cell in past]
        parts = [own @ values for own, (_, values, _) in zip(weights, past, strict=True)]
        answers = sum(parts, alone(q, k, v, table) / layer.length)
        return weights, answers.transpose(1, 2).flatten(2)

    def _past(
        self, places: Int[Tensor, "B Q"], times: Int[Tensor, "B Q"], before: Sequence[Block]
    ) -> list[list[tuple[Tensor, Tensor, Tensor]]]:
        """By layer: keys (B, H, T, a), values (B, H, T, v) and cells (B, Q, T) of each block."""
        by_block = [
            (block.keys.unbind(1), block.values.unbind(1), cells(places, times, block.moments, self.num_places))
            for block in before
        ]
        return [[(k[number], v[number], cell) for k, v, cell in by_block] for number in range(len(self._layers))]

    def block_cost(self, tokens: int, before: int) -> int:
        """Multiply-adds of a block of so many tokens behind so many others: in the last layer only `keys_values`."""
        *inner, last = self._layers
        full = sum(products(layer.first) + layer.sums(tokens + before) for layer in inner)
        return tokens * (full + products(last.first) // 2)

    def row_cost(self, before: int) -> int:
        """Of a row that sees so many others."""
        return sum(products(layer.first) + layer.sums(before) for layer in self._layers)


def attend(
    q: Float[Tensor, "B H S a"],
    table: Float[Tensor, " cells"],
    k: Float[Tensor, "B H T a"],
    v: Float[Tensor, "B H T v"],
    cell: Int[Tensor, "B _ T"],
) -> Float[Tensor, "B H S v"]:
    """Sums of values by their `strengths`."""
    return strengths(q, table, k, cell) @ v


def strengths(
    q: Float[Tensor, "B H S a"], table: Float[Tensor, " cells"], k: Float[Tensor, "B H T a"], cell: Int[Tensor, "B _ T"]
) -> Float[Tensor, "B H S T"]:
    """silu(<q, k> + bias), of all pairs; cells of one query serve all."""
    bias = table.index_select(0, cell.flatten()).view_as(cell)
    return F.silu(q @ k.transpose(2, 3) + bias[:, None])


def alone(
    q: Float[Tensor, "B H S a"],
    k: Float[Tensor, "B H S a"],
    v: Float[Tensor, "B H S v"],
    table: Float[Tensor, " cells"],
) -> Float[Tensor, "B H S v"]:
    """What a token gets from itself: distance and time are 0, the first cell."""
    return F.silu((q * k).sum(dim=3, keepdim=True) + table[0]) * v


def count(blocks: Sequence[Block], *, like: Int[Tensor, " B"]) -> Int[Tensor, " B"]:
    """Tokens in some blocks."""
    return sum((block.attended.sum(dim=1) for block in blocks), torch.zeros_like(like)).int()


def _xavier(linear: nn.Linear) -> nn.Linear:
    nn.init.xavier_uniform_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear
