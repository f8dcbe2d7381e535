"""BST: behaviour sequence transformer (DLP-KDD 2019, https://arxiv.org/abs/1905.06874).

    S^0    = [e_1 ; ... ; e_T ; c]                events of all histories, oldest first, and behind them the candidate
    S'     = LN(S + Dropout(MH(S)))               MH: multi-head self-attention, all rows see all rows
    S^l    = LN(S' + Dropout(LeakyReLU(S' W1 + b1) W2 + b2))                                     once per block
    logits = towers(MLP([request ; candidate ; last rows of S^L ; its candidate row]))           MLP: LeakyReLU

    e_t    = W_q q_t + W_x x_t + b_s + p_(T + 1 - t)   q: fields that event and candidate share; x: the event's others
    c      = W_q q + v                                 s: the event's history; p: by order; v: for what only events have

Rows of events see the candidate, and so are other rows for every candidate. What events do among themselves in the
first block is still computed once per request (nn/transformer_block.py). Where events do not see the candidate
(`events_see_candidate: false`) all of their rows are.
Filled gaps and differences: docs/models/bst.md. Parity test: tests/parity/test_bst.py.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, check_read, is_none
from hemix.errors import ConfigError
from hemix.models.backbone import AttentionMap, ModelKind
from hemix.models.histories import comparable_histories, oldest_first, prefixed
from hemix.nn.attention import event_weights, over_events
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layout, Layouts, State
from hemix.nn.mixing import SMALL_STD
from hemix.nn.mlp import SplitLinear
from hemix.nn.ragged import Ragged
from hemix.nn.sequence import merge, places
from hemix.nn.towers import SharedBottomConfig, TowersConfig, build_towers
from hemix.nn.transformer_block import TransformerBlock, attend, side_by_side
from hemix.refine import RefineConfig
from hemix.search_space import Draw

Width = Annotated[int, Field(ge=1)]
CHUNK = 2**24
"""Numbers of the largest intermediate result that are worked on at a time: 64 MB. Where training would have to keep
more, it keeps what goes into each chunk, and computes the chunk again for the gradients."""


class BSTConfig(Config):
    """Sizes of BST; which of them are the paper's: docs/models/bst.md."""

    name: Literal["bst"] = "bst"
    embedding_dim: Width = 16
    """Width of every embedding whose feature sets no `dim`."""
    histories: tuple[str, ...] | None = None
    """Histories that make up the sequence; None: all of the data."""
    token_dim: Width = 64
    """Width of a row of the sequence."""
    num_blocks: Width = 1
    num_heads: Width = 8
    """Of the self-attention; must divide token_dim."""
    ffn_expansion: Width = 4
    """Hidden width of the feed-forward network, in token_dim."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Of what attention and feed-forward network add to a row."""
    position: Literal["recency", "none"] = "recency"
    """`recency`: a learned vector by order, counted back from the candidate; `none`: order is only in event fields."""
    events_see_candidate: bool = True
    """Rows of events attend to the candidate, as in the paper; false: they are computed once per request."""
    pooling: Literal["concat", "candidate", "mean"] = "concat"
    """What is read of the last block: its latest rows and the candidate's, the candidate's alone, the mean of all."""
    concat_length: Width = 20
    """Of `concat`: how many events, the latest ones; zeros stand where a request has fewer."""
    hidden: tuple[Width, ...] = Field(default=(256, 128, 64), min_length=1)
    """Widths of the hidden layers over all fields."""
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the hidden layers and the tasks."""
    tower_hidden: tuple[Width, ...] = ()
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "BSTConfig":
        if self.token_dim % self.num_heads:
            raise ValueError(
                f"token_dim must be a multiple of num_heads; token_dim is {self.token_dim}, num_heads is "
                f"{self.num_heads}: change one of them"
            )
        if self.pooling != "concat":
            check_read(self, "pooling", "concat_length")
        return self

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories of the sequence, oldest first. Raises ConfigError if there are none, or one shares no field."""
        found = comparable_histories(inputs, self.histories)
        if not found:
            raise ConfigError(
                "model.name 'bst' puts the candidate behind a sequence of events, got no history. Declare one under "
                "data.histories and name it in model.histories, or take a model that needs none."
            )
        return oldest_first(found)


class Tokens(nn.Module):
    """Events of several histories, and candidates, as vectors of one width; shared fields go through the same columns.

    `origin` is a vector for each history, and last the candidate's own.
    """

    no_decay = ("origin",)

    def __init__(self, histories: Sequence[HistorySpec], layouts: Mapping[str, Layout], width: int) -> None:
        super().__init__()
        self.shared = tuple(dict.fromkeys(name for history in histories for name in history.shared))
        self._widths: dict[tuple[str | None, str], int] = {}
        self._fields: dict[str | None, list[tuple[str | None, str]]] = {}
        for history in histories:
            layout = layouts[history.name]
            own = [(None if name in history.shared else history.name, name) for name in layout.names]
            self._fields[history.name] = own
            self._widths |= dict(zip(own, layout.widths, strict=True))
        self._fields[None] = [(None, name) for name in self.shared]
        self.map = nn.Linear(sum(self._widths.values()), width, bias=False)
        self.origin = nn.Parameter(torch.zeros(len(self._fields), width))

    def events(self, name: str, events: Fields) -> Float[Tensor, "R T D"]:
        return self._token(name, events.values)

    def candidates(self, candidate: Fields) -> Float[Tensor, "N D"]:
        return self._token(None, candidate.select(self.shared).values)

    def _token(self, side: str | None, values: Float[Tensor, "*rows W"]) -> Float[Tensor, "*rows D"]:
        columns = dict(zip(self._widths, self.map.weight.split(list(self._widths.values()), dim=1), strict=True))
        weight = torch.cat([columns[field] for field in self._fields[side]], dim=1)
        return F.linear(values, weight, self.origin[list(self._fields).index(side)])

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """The map of each event, and of the candidate."""
        width = {side: sum(self._widths[field] for field in fields) for side, fields in self._fields.items()}
        events = sum(length * width[name] for name, length in lengths.items())
        return Cost(per_request=events * self.map.out_features, per_candidate=width[None] * self.map.out_features)


def latest(x: Float[Tensor, "B C T D"], lengths: Int[Tensor, " B"], count: int) -> Float[Tensor, "B C n D"]:
    """The last `count` of the first `lengths` rows; in front arbitrary ones, where there are fewer."""
    place = (lengths[:, None] - count + torch.arange(count, device=x.device)).clamp(min=0)
    return x.gather(2, place[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3]))


def recomputed(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, whose intermediate results are computed again for the gradients."""
    return partial(checkpoint, function, use_reentrant=False)


class BST(nn.Module):
    """Backbone. Only rows that something reads are computed in the last block.

    The state holds keys and values of events for each block in which no candidate has been seen yet.
    """

    no_decay = ("position",)

    def __init__(self, config: BSTConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        self.config = config
        self._names = tuple(history.name for history in inputs.histories)
        longest = sum(history.max_length for history in inputs.histories)
        self.tokens = Tokens(inputs.histories, layouts.histories, config.token_dim)
        self.position = None
        if config.position == "recency":
            self.position = nn.Parameter(torch.empty(longest, config.token_dim).normal_(std=SMALL_STD))
        sizes = (config.token_dim, config.num_heads, config.ffn_expansion, config.dropout)
        self._blocks = [TransformerBlock(*sizes) for _ in range(config.num_blocks)]
        self.blocks = nn.ModuleList(self._blocks)
        self._concatenated = min(config.concat_length, longest) if config.pooling == "concat" else 0
        of_events = self._concatenated * config.token_dim
        # rows that no candidate is in belong to the request's part of the first layer
        self._events_first = not config.events_see_candidate and config.pooling == "concat"
        of_request, of_candidate = (of_events, 0) if self._events_first else (0, of_events)
        self.first = SplitLinear(
            layouts.request.width + of_request,
            layouts.candidate.width + of_candidate + config.token_dim,
            config.hidden[0],
        )
        layers = [layer for pair in pairwise(config.hidden) for layer in (nn.Linear(*pair), nn.LeakyReLU())]
        towers = build_towers(config.towers, config.hidden[-1], config.tower_hidden, len(inputs.tasks))
        self.rest = nn.Sequential(nn.LeakyReLU(), *layers, towers)

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        return prefixed(name, {"tokens": self.tokens.events(name, events), "attended": attended})

    def encode_request(self, request: Fields, histories: State) -> State:
        x, attended = merge([(histories[f"{name}.tokens"], histories[f"{name}.attended"]) for name in self._names])
        if self.position is not None:
            order = attended.sum(dim=1)[:, None] - torch.arange(1, x.shape[1] + 1, device=x.device)
            x = x + self.position[order.clamp(0, len(self.position) - 1)]
        if self.config.events_see_candidate:
            return {"request": self.first.request(request.values), **self._encode_first(x, attended)}
        state = self._encode_all(x, attended)
        own = [request.values, state["pooled"]] if self._events_first else [request.values]
        return {"request": self.first.request(torch.cat(own, dim=1)), **state}

    def _encode_first(self, x: Float[Tensor, "R T D"], attended: Bool[Tensor, "R T"]) -> State:
        """Of the first block: what events do among themselves, for those rows that are computed for the candidates."""
        block = self._blocks[0]
        keys, values = block.keys_values(x)
        rows = self._read(block, x[:, None], attended)[:, 0]
        queries = block.queries(rows)
        parts = queries.split(max(1, CHUNK // max(1, keys.shape[0] * keys.shape[1] * keys.shape[2])), dim=2)
        run = recomputed(attend) if len(parts) > 1 and torch.is_grad_enabled() else attend
        found = [run(part, keys, values, attended) for part in parts]
        answers, mass = (torch.cat(each, dim=2) for each in zip(*found, strict=True))
        encoded = {"rows": rows, "queries": queries, "answers": answers, "mass": mass}
        return {"keys": keys[:, None], "values": values[:, None], "attended": attended, **encoded}

    def _encode_all(self, x: Float[Tensor, "R T D"], attended: Bool[Tensor, "R T"]) -> State:
        """All blocks over events that see no candidate. A request without events attends to padding, for nothing."""
        finite = attended | ~attended.any(dim=1, keepdim=True)
        encoded = []
        for block in self._blocks:
            keys, values = block.keys_values(x)
            encoded.append((keys, values))
            x = self._read(block, x[:, None], attended)[:, 0]
            if x.shape[1]:
                x = block(x, over_events(block.query(x), keys, values, finite))
        keys, values = (torch.stack(each, dim=1) for each in zip(*encoded, strict=True))
        pooled = self._pooled_events(x[:, None], attended)[:, 0]
        return {"keys": keys, "values": values, "attended": attended, "pooled": pooled}

    def _read(
        self, block: TransformerBlock, x: Float[Tensor, "B C T D"], attended: Bool[Tensor, "B T"]
    ) -> Float[Tensor, "B C n D"]:
        """Rows of events whose output of this block something reads; behind the last block the latest stand last."""
        if block is not self._blocks[-1]:
            return x
        return latest(x, attended.sum(dim=1), self._rows_read(x.shape[2]))

    def _rows_read(self, length: int) -> int:
        """How many events are read of the last block."""
        return length if self.config.pooling == "mean" else min(self._concatenated, length)

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        tokens, length = self.tokens.candidates(candidate), state["attended"].shape[1]
        attention = self.config.num_heads * (length + 1)
        if self.config.events_see_candidate:
            most = length if len(self._blocks) > 1 else self._rows_read(length)
            per_pair = max(attention, (most + 1) * self.config.ffn_expansion * self.config.token_dim)
            encoded = [state[key] for key in ("attended", "keys", "values", "rows", "queries", "answers", "mass")]
            pooled = over_pairs(self._score_all, per_pair, ragged, tokens, *encoded)
        else:
            encoded = [state[key] for key in ("attended", "keys", "values")]
            pooled = over_pairs(self._score_candidates, attention, ragged, tokens, *encoded)
            if not self._events_first:
                of_events, count = ragged.spread(state["pooled"]), ragged.spread(state["attended"].sum(dim=1))
                pooled = self._pooled(of_events, pooled, count)
        own = torch.cat([candidate.values, pooled], dim=1)
        return self.rest(self.first.candidate(own, ragged.spread(state["request"])))

    def _score_candidates(self, x: Float[Tensor, "B C D"], *encoded: Tensor) -> Float[Tensor, "B C D"]:
        """Rows of candidates behind all blocks, where events do not see them."""
        attended, keys, values = encoded
        for place, block in enumerate(self._blocks):
            x = block.candidates(x, block.keys_values(x), keys[:, place], values[:, place], attended)
        return x

    def _score_all(self, x: Float[Tensor, "B C D"], *encoded: Tensor) -> Float[Tensor, "B C P"]:
        """What is read of all rows behind all blocks, where events see the candidate."""
        attended, keys, values, rows, queries, answers, mass = encoded
        first, *others = self._blocks
        own = first.keys_values(x)
        events = first.events(rows, (queries, answers, mass), own)
        x = first.candidates(x, own, keys[:, 0], values[:, 0], attended)
        for block in others:
            events, x = self._over_all_rows(block, events, x, attended)
        count = attended.sum(dim=1)[:, None].expand(x.shape[:2])
        return self._pooled(self._pooled_events(events, attended), x, count)

    def _over_all_rows(
        self,
        block: TransformerBlock,
        events: Float[Tensor, "B C T D"],
        x: Float[Tensor, "B C D"],
        attended: Bool[Tensor, "B T"],
    ) -> tuple[Float[Tensor, "B C n D"], Float[Tensor, "B C D"]]:
        """A block over sequences of which each candidate has its own."""
        keys, values = block.keys_values(torch.cat([events, x[:, :, None]], dim=2).flatten(0, 1))
        there = torch.cat([attended, attended.new_ones(len(attended), 1)], dim=1)
        rows = torch.cat([self._read(block, events, attended), x[:, :, None]], dim=2).flatten(0, 1)
        found = over_events(block.query(rows), keys, values, there.repeat_interleave(x.shape[1], dim=0))
        rows = block(rows, found).unflatten(0, x.shape[:2])
        return rows[:, :, :-1], rows[:, :, -1]

    def _pooled_events(self, events: Float[Tensor, "B C n D"], attended: Bool[Tensor, "B T"]) -> Float[Tensor, "B C E"]:
        """The sum of the rows that `_read` chose, or all side by side; arbitrary ones count as zero."""
        count = events.shape[2]
        there = torch.arange(count, device=events.device) >= count - attended.sum(dim=1)[:, None]
        events = torch.where(there[:, None, :, None], events, 0.0)
        if self.config.pooling == "mean":
            return events.sum(dim=2)
        return F.pad(events.flatten(2), ((self._concatenated - count) * events.shape[3], 0))

    def _pooled(
        self, events: Float[Tensor, "*rows E"], x: Float[Tensor, "*rows D"], count: Int[Tensor, "*rows"]
    ) -> Float[Tensor, "*rows P"]:
        """The same with the candidate's row, of as many events."""
        if self.config.pooling == "mean":
            return (events + x) / (count + 1)[..., None]
        return torch.cat([events, x], dim=-1)

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of the candidate's row over each history in the first block; it also attends to itself."""
        block, tokens = self._blocks[0], self.tokens.candidates(candidate)[:, None]
        keys, values, there = (
            ragged.spread(x) for x in (state["keys"][:, 0], state["values"][:, 0], state["attended"])
        )
        own_keys, _ = block.keys_values(tokens)
        everything = torch.cat([keys, own_keys], dim=2)
        there = torch.cat([there, there.new_ones(len(there), 1)], dim=1)
        weights = event_weights(block.query(tokens), everything, there)[..., :-1]
        answers = block.output(side_by_side(weights.transpose(1, 2) @ values))
        attended = [state[f"{name}.attended"] for name in self._names]
        maps = []
        for name, place in zip(self._names, places(attended), strict=True):
            # -1, which is padding of this history, looks up the zero behind all events
            found = ragged.spread(place % (weights.shape[3] + 1))[:, None, None].expand(*weights.shape[:3], -1)
            own = F.pad(weights, (0, 1)).gather(3, found)
            maps.append(AttentionMap(history=name, kind="target", weights=own, adds_to_one=False, answers=answers))
        return maps

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Tokens, blocks and the MLP, whose first layer is split; see docs/models/bst.md."""
        length = sum(lengths[name] for name in self._names)
        cost = self.tokens.cost({name: lengths[name] for name in self._names}) + self.first.cost()
        for place, block in enumerate(self._blocks):
            rows = self._rows_read(length) if place + 1 == len(self._blocks) else length
            cost += self._block_cost(block, length, rows, first=place == 0)
        return cost + Cost(per_candidate=products(self.rest))

    def _block_cost(self, block: TransformerBlock, length: int, rows: int, *, first: bool) -> Cost:
        """Of a block over so many events, of which some rows are wanted, and a candidate."""
        width = self.config.token_dim
        attention, row, key = 2 * length * width, block.row_cost(), block.key_cost()
        candidate = key + row + attention
        if not self.config.events_see_candidate:
            return Cost(per_request=length * key + rows * (row + attention), per_candidate=candidate)
        if first:
            query = products(block.query)
            return Cost(
                per_request=length * key + rows * (query + attention),
                per_candidate=candidate + rows * (width + row - query),
            )
        return Cost(per_candidate=(length + 1) * key + (rows + 1) * (row + attention + 2 * width))


def over_pairs(
    function: Callable[..., Tensor], per_pair: int, ragged: Ragged, tokens: Float[Tensor, "N D"], *per_request: Tensor
) -> Float[Tensor, "N P"]:
    """``function(tokens (B, C, D), *per_request (B, ...)) -> (B, C, P)`` for candidates in chunks.

    `per_pair`: numbers of its largest intermediate result for each candidate.
    """
    keeps_all = ragged.num_rows * per_pair <= CHUNK or not torch.is_grad_enabled()
    run = function if keeps_all else recomputed(function)
    return ragged.map_in_chunks(run, CHUNK // per_pair, tokens, *per_request)


MODEL = ModelKind(
    config=BSTConfig,
    build=BST,
    paper="arXiv 1905.06874",
    histories="read",
    space={
        "token_dim": Draw(choice=(32, 64, 128)),
        "num_heads": Draw(choice=(2, 4, 8)),
        "num_blocks": Draw(integer=(1, 2)),
        "dropout": Draw(choice=(0.0, 0.1, 0.2)),
    },
)
