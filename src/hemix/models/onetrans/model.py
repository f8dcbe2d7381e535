"""The backbone of OneTrans: events of all histories in one sequence, tokens of the features, blocks, towers."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hemix.batch import Inputs
from hemix.models.backbone import AttentionMap, Update
from hemix.models.histories import oldest_first, prefixed, under
from hemix.models.onetrans.block import OneTransBlock
from hemix.models.onetrans.config import OneTransConfig
from hemix.nn.cached_attention import KVCache
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layout, Layouts, State
from hemix.nn.mixing import SMALL_STD
from hemix.nn.ragged import Ragged
from hemix.nn.sequence import merge
from hemix.nn.tokenizers import AutoSplitTokenizer, GroupTokenizer, feature_groups, start_without_bias
from hemix.nn.towers import build_towers

CHUNK = 2**24
"""Pairs of events that are worked on at a time, over requests."""

Part = tuple[Float[Tensor, "R _ D"], Bool[Tensor, "R _"]]


class OneTrans(nn.Module):
    """Backbone. In its state events stand latest first, so that the latest are a slice and padding is at the end."""

    no_decay = ("separator", "positions")

    def __init__(self, config: OneTransConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        self.config = config
        width = config.token_dim
        histories = oldest_first(inputs.histories)
        maps = [nn.Linear(layouts.histories[history.name].width, width) for history in histories]
        start_without_bias(*maps)
        self._events = {history.name: part for history, part in zip(histories, maps, strict=True)}
        self.events = nn.ModuleList(maps)
        separators = len(histories) - 1 if config.separator and histories else 0
        self.max_length = sum(history.max_length for history in histories) + separators
        self.separator = nn.Parameter(torch.empty(width).normal_(std=SMALL_STD)) if separators else None
        has_positions = config.position == "recency" and self.max_length > 0
        self.positions = (
            nn.Parameter(torch.empty(self.max_length, width).normal_(std=SMALL_STD)) if has_positions else None
        )
        self.tokenizer = _build_tokenizer(config, layouts.request, layouts.candidate)
        self._blocks = [
            OneTransBlock(config, has_events=bool(histories), asking=asking)
            for asking in asking_events(
                self.max_length, config.feature_tokens, config.num_blocks, pyramid=config.pyramid
            )
        ]
        self.blocks = nn.ModuleList(self._blocks)
        pooled = width * (config.feature_tokens if config.pooling == "flatten" else 1)
        self.towers = build_towers(config.towers, pooled, config.tower_hidden, len(inputs.tasks))

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        return prefixed(name, {"tokens": self._events[name](events.values), "attended": attended})

    def encode_request(self, request: Fields, histories: State) -> State:
        x, attended = self._sequence(request, histories)
        if self.positions is not None:
            x = x + self.positions[: x.shape[1]]
        requests = max(1, CHUNK // max(1, x.shape[1] ** 2))
        chunks = [self._encode(*part) for part in zip(x.split(requests), attended.split(requests), strict=True)]
        encoded = {key: torch.cat([chunk[key] for chunk in chunks]) for key in chunks[0]}
        return {"tokenizer": self.tokenizer.encode(request), "attended": attended, **encoded}

    def _sequence(self, request: Fields, histories: State) -> Part:
        """All events and separators, latest first; never more than the histories may hold, however wide the padding."""
        parts = self._parts(histories)
        if not parts:
            nothing = request.values.new_zeros(len(request.values), 0, self.config.token_dim)
            return nothing, nothing[:, :, 0].bool()
        events, attended = latest_first(parts)
        return events[:, : self.max_length], attended[:, : self.max_length]

    def _parts(self, histories: State) -> list[Part]:
        """The events of each history, oldest first, and a separator between two histories."""
        parts: list[Part] = []
        for name in self._events:
            encoded = under(name, histories)
            if parts and self.separator is not None:
                one = encoded["attended"].new_ones(len(encoded["attended"]), 1)
                parts.append((self.separator.expand(len(one), 1, -1), one))
            parts.append((encoded["tokens"], encoded["attended"]))
        return parts

    def _encode(self, x: Float[Tensor, "R T D"], attended: Bool[Tensor, "R T"]) -> State:
        """Keys and values of every block."""
        length, state = x.shape[1], {}
        seen = attended[:, None].expand(-1, length, -1)
        itself = torch.eye(length, dtype=torch.bool, device=x.device)
        visible = (seen.triu() if self.config.attention == "causal" else seen) | itself
        for place, block in enumerate(self._blocks):
            keys, values, x = block.encode(x, visible)
            visible = visible[:, : x.shape[1], : x.shape[1]]
            state |= {f"keys.{place}": keys, f"values.{place}": values}
        return state

    def _cache(self, state: State, place: int) -> KVCache:
        keys, values = state[f"keys.{place}"], state[f"values.{place}"]
        return KVCache(keys=keys, values=values, attended=state["attended"][:, : keys.shape[2]])

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        x = self.tokens(state, candidate, ragged)
        for place, block in enumerate(self._blocks):
            x = block(x, self._cache(state, place), ragged)
        return self.towers(self.pool(x))

    def tokens(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N M D"]:
        """Of the features of each row, as they enter the first block."""
        return self.tokenizer(candidate, ragged.spread(state["tokenizer"]))

    def pool(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N W"]:
        """What the towers read."""
        return x.flatten(1) if self.config.pooling == "flatten" else x.mean(dim=1)

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of the feature tokens over each history in the first block, which sees all events.

        The softmax is over all histories, the separators and the tokens themselves; answers are a history's own part.
        """
        parts = self._parts(state)
        if not parts:
            return []
        block, cache = self._blocks[0], self._cache(state, 0)
        found = block.event_weights(self.tokens(state, candidate, ragged), cache, ragged)
        columns = self._columns(parts)
        widths = [attended.shape[1] for _, attended in parts]
        rows, requests = ragged.spread(columns)[:, None, None], columns[:, None, :, None]
        weights = found.new_zeros(*found.shape[:3], sum(widths)).scatter(3, rows.expand_as(found), found)
        keyed = cache.values
        values = keyed.new_zeros(*keyed.shape[:2], sum(widths), keyed.shape[3])
        values = values.scatter(2, requests.expand_as(keyed), keyed)
        step = 1 if self.separator is None else 2
        pieces = (weights.split(widths, dim=3)[::step], values.split(widths, dim=2)[::step])
        maps = []
        for name, seen, of_events in zip(self._events, *pieces, strict=True):
            answers = torch.einsum("nmht,nhtd->nmhd", seen, ragged.spread(of_events)).flatten(2)
            maps.append(
                AttentionMap(
                    history=name, kind="dynamic", weights=seen, adds_to_one=False, answers=block.output(answers)
                )
            )
        return maps

    def _columns(self, parts: Sequence[Part]) -> Int[Tensor, "R T"]:
        """Where each event of the sequence stands among the columns of all parts side by side."""
        numbers = torch.arange(sum(attended.shape[1] for _, attended in parts), device=parts[0][0].device).double()
        numbered, start = [], 0
        for _, attended in parts:
            end = start + attended.shape[1]
            numbered.append((numbers[start:end].expand(len(attended), -1)[:, :, None], attended))
            start = end
        return latest_first(numbered)[0][:, : self.max_length, 0].long()

    def updates(self, state: State, candidate: Fields, ragged: Ragged) -> list[Update]:
        """Of attention and FFN of each block, to the feature tokens."""
        x, found = self.tokens(state, candidate, ragged), []
        for place, block in enumerate(self._blocks):
            for name, added in block.parts(x, self._cache(state, place), ragged).items():
                found.append(Update(name=f"block {place + 1} {name}", stream=x, added=added))
                x = x + added
        return found

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Maps of events, tokenizer, blocks over ever fewer events, towers; see docs/models/onetrans.md."""
        events = sum(lengths[name] * products(part) for name, part in self._events.items())
        cost = Cost(per_request=events, per_candidate=products(self.towers)) + self.tokenizer.cost()
        separators = 0 if self.separator is None else len(self._events) - 1
        length = min(sum(lengths[name] for name in self._events) + separators, self.max_length)
        for block in self._blocks:
            cost += block.cost(length)
            length = min(length, block.asking)
        return cost


def asking_events(max_length: int, num_tokens: int, num_blocks: int, *, pyramid: bool) -> list[int]:
    """How many of the latest events ask in each block: all in the first, then evenly fewer, without `pyramid` all.

    The line ends at as many as there are feature tokens, in the last block; but there none ask: nobody would read it.

    >>> asking_events(1190, 12, 6, pyramid=True)
    [1190, 954, 719, 483, 248, 0]
    >>> asking_events(1190, 12, 3, pyramid=False)
    [1190, 1190, 0]
    """
    last = min(num_tokens, max_length) if pyramid else max_length
    return [round(max_length + (last - max_length) * place / (num_blocks - 1)) for place in range(num_blocks - 1)] + [0]


def latest_first(parts: Sequence[Part]) -> Part:
    """`merge`, with the latest event in front; each part is oldest first."""
    return merge([(events.flip(1), attended.flip(1)) for events, attended in reversed(parts)])


def _build_tokenizer(config: OneTransConfig, request: Layout, candidate: Layout) -> AutoSplitTokenizer | GroupTokenizer:
    """Raises ConfigError for groups that do not fit the fields."""
    if config.tokenizer == "group":
        groups = feature_groups(config.token_groups, config.feature_tokens, request, candidate)
        return GroupTokenizer(request, candidate, groups, config.token_dim)
    return AutoSplitTokenizer(request, candidate, config.feature_tokens, config.token_dim, config.tokenizer_hidden)
