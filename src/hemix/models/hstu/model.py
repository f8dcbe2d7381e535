"""HSTU as a backbone: blocks of events, the request behind them, and candidates that see both."""

from collections.abc import Mapping
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hemix.batch import Inputs
from hemix.models.backbone import AttentionMap, Update
from hemix.models.histories import prefixed, under
from hemix.models.hstu.config import HSTUConfig
from hemix.models.hstu.stack import Block, Stack, count
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layouts, State
from hemix.nn.mlp import MLP
from hemix.nn.ragged import Ragged
from hemix.nn.towers import build_towers

REQUEST = "of the request"
"""Under which the state of the request's own token stands."""


class HSTU(nn.Module):
    """Backbone: each history is a block of events that sees the blocks before it; the first depends on itself alone.

    The request's token and the candidates stand at one place, behind the last event, at the time of the request. Data
    without request fields has no such token.
    """

    def __init__(self, config: HSTUConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        width, num_events = config.token_dim, sum(history.max_length for history in inputs.histories)
        self._events = {
            history.name: nn.Linear(layouts.histories[history.name].width, width) for history in inputs.histories
        }
        self.events = nn.ModuleList(self._events.values())
        self.request = nn.Linear(layouts.request.width, width) if layouts.request.width else None
        self.candidate = nn.Linear(layouts.candidate.width, width)
        longest = num_events + (self.request is not None) + 1
        self.stack = Stack(config, longest, num_places=num_events + 1)
        self.norm = nn.LayerNorm(width)
        bottom = [width, *config.hidden][-1]
        self.head = nn.Sequential(
            MLP(width, config.hidden, "swish"),
            build_towers(config.towers, bottom, config.tower_hidden, len(inputs.tasks)),
        )

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        """The tokens; of the first history, all that others will see of it."""
        assert events.times is not None
        tokens = self._events[name](events.values)
        if name == next(iter(self._events)):
            return prefixed(name, self.stack.block(tokens, events.times, attended, [])._asdict())
        return prefixed(name, {"tokens": tokens, "times": events.times, "attended": attended})

    def encode_request(self, request: Fields, histories: State) -> State:
        assert request.times is not None
        blocks: dict[str, Block] = {}
        for name in self._events:
            own, before = under(name, histories), list(blocks.values())
            if "keys" in own:
                blocks[name] = Block(**own)
            else:
                blocks[name] = self.stack.block(own["tokens"], own["times"], own["attended"], before)
        state = {"place": count(list(blocks.values()), like=request.times), "time": request.times}
        if self.request is not None:
            times = request.times[:, None]
            token, there = self.request(request.values)[:, None], torch.ones_like(times, dtype=torch.bool)
            blocks[REQUEST] = self.stack.block(token, times, there, list(blocks.values()))
        for name, block in blocks.items():
            state |= prefixed(name, block._asdict())
        return state

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        def last(rows: Tensor, place: Tensor, time: Tensor, *blocks: Tensor) -> Tensor:
            before = [Block(*blocks[i : i + 5]) for i in range(0, len(blocks), 5)]
            return self.stack.rows(rows, place, time, before)[-1]

        tensors = [tensor for block in self._blocks(state).values() for tensor in block]
        rows = ragged.map(last, self.candidate(candidate.values), state["place"], state["time"], *tensors)
        return self.head(self.norm(rows))

    def _blocks(self, state: State) -> dict[str, Block]:
        names = [*self._events, *([] if self.request is None else [REQUEST])]
        return {name: Block(*(state[f"{name}.{field}"] for field in Block._fields)) for name in names}

    def _alone(
        self, state: State, candidate: Fields, ragged: Ragged
    ) -> tuple[Float[Tensor, "N 1 D"], Tensor, Tensor, dict[str, Block]]:
        """Every candidate with a copy of all that it sees: for few of them."""
        blocks = {
            name: Block(*(ragged.spread(tensor) for tensor in block)) for name, block in self._blocks(state).items()
        }
        tokens = self.candidate(candidate.values)[:, None]
        return tokens, ragged.spread(state["place"]), ragged.spread(state["time"]), blocks

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of each candidate over each history, in the last layer; an answer is of all that the candidate sees."""
        tokens, place, time, blocks = self._alone(state, candidate, ragged)
        found, answers = self.stack.look(tokens, place, time, list(blocks.values()))
        return [
            AttentionMap(
                history=name, kind="target", weights=weights.transpose(1, 2), adds_to_one=False, answers=answers
            )
            for name, weights in zip(blocks, found, strict=True)
            if name != REQUEST
        ]

    def updates(self, state: State, candidate: Fields, ragged: Ragged) -> list[Update]:
        """Of each layer, to the row of a candidate."""
        tokens, place, time, blocks = self._alone(state, candidate, ragged)
        streams = self.stack.rows(tokens, place, time, list(blocks.values()))
        return [
            Update(name=f"layer {number}", stream=before, added=after - before)
            for number, (before, after) in enumerate(pairwise(streams), 1)
        ]

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Maps and layers of the events and the request, once; of a row over them, per candidate."""
        per_request, before = 0, 0
        for name, part in self._events.items():
            per_request += lengths[name] * products(part) + self.stack.block_cost(lengths[name], before)
            before += lengths[name]
        if self.request is not None:
            per_request += products(self.request) + self.stack.block_cost(1, before)
            before += 1
        row = products(self.candidate) + self.stack.row_cost(before)
        return Cost(per_request=per_request, per_candidate=row + products(self.head))
