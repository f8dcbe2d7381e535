"""From the fields of request and candidate to M tokens of one width: four ways.

    AutoSplitTokenizer    LN_m((W2 relu(W1 e + b1) + b2)_m)        interact, then split
    PerTokenTokenizer     silu(LN_m(W_m e + b_m))                  split only: one linear map per token
    GroupTokenizer        LN_m(W_m e_m + b_m)                      e_m: the fields of group m alone
    ChunkTokenizer        LN_m(W_m e_m + b_m)                      e_m: the m-th of M equal pieces of e

What a linear map does with the request's fields is computed once per request.
"""

from collections.abc import Sequence
from itertools import pairwise, zip_longest

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from hemix.errors import ConfigError, unknown_name
from hemix.nn.cost import Cost
from hemix.nn.fields import Fields, Layout
from hemix.nn.mlp import SplitLinear
from hemix.nn.norm import PerTokenLayerNorm

MAX_HIDDEN = 4096


class AutoSplitTokenizer(nn.Module):
    """Interact, then split: an MLP over all fields of request and candidate, cut into M tokens.

    `hidden` None: twice the output, at most 4096.
    """

    def __init__(
        self, request: Layout, candidate: Layout, num_tokens: int, width: int, hidden: int | None = None
    ) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        hidden = hidden or min(2 * num_tokens * width, MAX_HIDDEN)
        self.first = SplitLinear(request.width, candidate.width, hidden)
        self.second = nn.Linear(hidden, num_tokens * width)
        self.norm = PerTokenLayerNorm(num_tokens, width)
        start_without_bias(self.first.linear, self.second)

    def encode(self, request: Fields) -> Float[Tensor, "R I"]:
        """The request's part of the hidden layer."""
        return self.first.request(request.values)

    def forward(self, candidate: Fields, of_request: Float[Tensor, "N I"]) -> Float[Tensor, "N M D"]:
        hidden = torch.relu(self.first.candidate(candidate.values, of_request))
        return self.norm(self.second(hidden).unflatten(1, (self.num_tokens, -1)))

    def cost(self) -> Cost:
        return self.first.cost() + Cost(per_candidate=self.second.weight.numel())


class PerTokenTokenizer(nn.Module):
    """One linear map of all fields per token: the tokenizer of a public implementation (UniRank)."""

    def __init__(self, request: Layout, candidate: Layout, num_tokens: int, width: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.maps = SplitLinear(request.width, candidate.width, num_tokens * width)
        self.norm = PerTokenLayerNorm(num_tokens, width)
        start_without_bias(self.maps.linear)

    def encode(self, request: Fields) -> Float[Tensor, "R I"]:
        """The request's part of all tokens."""
        return self.maps.request(request.values)

    def forward(self, candidate: Fields, of_request: Float[Tensor, "N I"]) -> Float[Tensor, "N M D"]:
        mapped = self.maps.candidate(candidate.values, of_request)
        return nn.functional.silu(self.norm(mapped.unflatten(1, (self.num_tokens, -1))))

    def cost(self) -> Cost:
        return self.maps.cost()


class GroupTokenizer(nn.Module):
    """One linear map per group of fields; a group of request fields alone is mapped once per request."""

    def __init__(self, request: Layout, candidate: Layout, groups: Sequence[Sequence[str]], width: int) -> None:
        super().__init__()
        self.num_tokens = len(groups)
        self._request = [tuple(name for name in group if name in request.names) for group in groups]
        self._candidate = [tuple(name for name in group if name in candidate.names) for group in groups]
        self.of_request = tuple(place for place, names in enumerate(self._candidate) if not names)
        self._maps = [
            SplitLinear(request.select(own).width, candidate.select(others).width, width)
            for own, others in zip(self._request, self._candidate, strict=True)
        ]
        self.maps = nn.ModuleList(self._maps)
        self.norm = PerTokenLayerNorm(self.num_tokens, width)
        start_without_bias(*(part.linear for part in self._maps))

    def encode(self, request: Fields) -> Float[Tensor, "R M D"]:
        """The request's part of each token, before the norm."""
        parts = zip(self._maps, self._request, strict=True)
        return torch.stack([part.request(request.select(names).values) for part, names in parts], dim=1)

    def forward(self, candidate: Fields, of_request: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        tokens = [
            part.candidate(candidate.select(names).values, token) if names else token
            for part, names, token in zip(self._maps, self._candidate, of_request.unbind(1), strict=True)
        ]
        return self.norm(torch.stack(tokens, dim=1))

    def request_tokens(self, of_request: Float[Tensor, "R M D"]) -> Float[Tensor, "R U D"]:
        """The tokens of groups that have no field of the candidate, from what `encode` returned."""
        return self.norm(of_request)[:, list(self.of_request)]

    def cost(self) -> Cost:
        return sum((part.cost() for part in self._maps), Cost())


class ChunkTokenizer(GroupTokenizer):
    """All fields side by side, the request's first, cut into M pieces of one width (give or take one number).

    Pieces do not heed where a field ends. Raises ConfigError for more pieces than numbers.
    """

    def __init__(self, request: Layout, candidate: Layout, num_tokens: int, width: int) -> None:
        total = request.width + candidate.width
        if num_tokens > total:
            raise ConfigError(
                f"tokenizer 'auto_split' cuts the fields into model.num_tokens pieces; there are {total} numbers for "
                f"{num_tokens} pieces. Lower model.num_tokens, or raise model.embedding_dim."
            )
        ends = [total * (place + 1) // num_tokens for place in range(num_tokens)]
        own = _pieces("request", [min(end, request.width) for end in ends])
        others = _pieces("candidate", [max(end - request.width, 0) for end in ends])
        names = {*own.names, *others.names}
        sides = ("request", "candidate")
        groups = [[f"{side} {m}" for side in sides if f"{side} {m}" in names] for m in range(num_tokens)]
        super().__init__(own, others, groups, width)
        self._own, self._others = own, others

    def encode(self, request: Fields) -> Float[Tensor, "R M D"]:
        return super().encode(_cut(request, self._own))

    def forward(self, candidate: Fields, of_request: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        return super().forward(_cut(candidate, self._others), of_request)


def _pieces(side: str, ends: Sequence[int]) -> Layout:
    """The pieces of one side that are not empty, each called by its number."""
    widths = {f"{side} {place}": end - start for place, (start, end) in enumerate(pairwise([0, *ends]))}
    kept = {name: width for name, width in widths.items() if width}
    return Layout(names=tuple(kept), widths=tuple(kept.values()))


def _cut(fields: Fields, pieces: Layout) -> Fields:
    return Fields(values=fields.values, widths=pieces.widths, names=pieces.names)


Tokenizer = AutoSplitTokenizer | PerTokenTokenizer | GroupTokenizer


def check_groups(groups: Sequence[tuple[str, ...]] | None, num_tokens: int | None, tokenizer: str) -> None:
    """Raises ValueError for `token_groups` of another tokenizer than the one of groups, or of other tokens."""
    if groups is None:
        return
    if tokenizer != "semantic_group":
        raise ValueError(f"token_groups belong to tokenizer 'semantic_group'; tokenizer is {tokenizer!r}: change one")
    if num_tokens not in (None, len(groups)):
        raise ValueError(
            f"there is one token per group: num_tokens is {num_tokens}, token_groups has {len(groups)}; leave "
            "num_tokens out"
        )


def feature_groups(
    declared: Sequence[tuple[str, ...]] | None, num_tokens: int, request: Layout, candidate: Layout
) -> list[tuple[str, ...]]:
    """The fields of each token: as `declared` in `model.token_groups`, else `num_tokens` made of each side's fields.

    Raises ConfigError for a group that is empty or names an unknown field, a field in no group, and more tokens than
    fields.
    """
    names = (*request.names, *candidate.names)
    if declared is None:
        if num_tokens > len(names):
            raise ConfigError(
                f"A tokenizer of groups needs a feature for each token; there are {len(names)} features for "
                f"{num_tokens} tokens. Lower model.num_tokens, or declare model.token_groups."
            )
        return _groups_by_side(request.names, candidate.names, num_tokens)
    for place, group in enumerate(declared):
        if not group or len(set(group)) < len(group):
            raise ConfigError(
                f"A group of features names at least one, and each once; model.token_groups.{place} is {list(group)}."
            )
        for name in group:
            if name not in names:
                raise unknown_name(f"model.token_groups.{place}: feature", name, names)
    grouped = {name for group in declared for name in group}
    left = [name for name in names if name not in grouped]
    if left:
        raise ConfigError(
            f"Every feature of request and candidate must be in a group of model.token_groups; {', '.join(left)} "
            f"{'is' if len(left) == 1 else 'are'} in none. Add it to one, or take it out of data.features."
        )
    return list(declared)


def _groups_by_side(request: tuple[str, ...], candidate: tuple[str, ...], num_tokens: int) -> list[tuple[str, ...]]:
    """Each side cut evenly, in proportion to its fields, and the two in turn: both are among the first and the last.

    >>> _groups_by_side(("user", "age", "hour"), ("item", "price"), 3)
    [('user', 'age'), ('item', 'price'), ('hour',)]
    """
    if num_tokens == 1:
        return [(*request, *candidate)]
    share = round(num_tokens * len(request) / (len(request) + len(candidate)))
    share = max(min(share, len(request), num_tokens - bool(candidate)), bool(request), num_tokens - len(candidate))
    sides = [
        [tuple(part.tolist()) for part in np.array_split(np.array(names, dtype=object), count)] if count else []
        for names, count in ((request, share), (candidate, num_tokens - share))
    ]
    return [group for pair in zip_longest(*sides) for group in pair if group is not None]


def start_without_bias(*layers: nn.Linear) -> None:
    """A norm follows: with torch's random bias it would, at first, see little but that, the same in every row."""
    for layer in layers:
        nn.init.zeros_(layer.bias)
