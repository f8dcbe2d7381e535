"""The backbone of LONGER: events to tokens, layers over them for the request, the same layers for its candidates."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from hemix.batch import Inputs
from hemix.models.backbone import AttentionMap, Update
from hemix.models.histories import oldest_first
from hemix.models.longer.block import CausalBlock, visible_behind
from hemix.models.longer.config import LONGERConfig
from hemix.models.longer.token_merge import TokenMerge
from hemix.nn.cached_attention import KVCache
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layouts, State
from hemix.nn.mixing import SMALL_STD
from hemix.nn.mlp import SplitLinear
from hemix.nn.ragged import Ragged
from hemix.nn.sequence import merge
from hemix.nn.tokenizers import start_without_bias
from hemix.nn.towers import build_head


class LONGER(nn.Module):
    """Backbone. Tokens of a request stand as [request globals ; learned queries ; groups, newest first].

    The first of them are the queries; under `query_kind` recent the newest groups are among them.
    """

    no_decay = ("queries",)

    def __init__(self, config: LONGERConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        self.config = config
        width = config.token_dim
        histories = oldest_first(inputs.histories)
        maps = {
            history.name: nn.Linear(layouts.histories[history.name].width, config.event_dim) for history in histories
        }
        self._event_maps = maps
        self.events = nn.ModuleList(maps.values())
        self.merging = TokenMerge(config, sum(history.max_length for history in histories))
        self._num_request_globals = config.num_request_globals if layouts.request.width else 0
        self.request_globals = (
            nn.Linear(layouts.request.width, self._num_request_globals * width) if self._num_request_globals else None
        )
        self.queries = (
            nn.Parameter(torch.empty(config.recent_queries, width).normal_(std=SMALL_STD))
            if config.query_kind == "learnable"
            else None
        )
        self.candidate_globals = SplitLinear(
            layouts.request.width, layouts.candidate.width, config.num_candidate_globals * width
        )
        self._blocks = [
            CausalBlock(width, config.num_heads, config.ffn_expansion) for _ in range(1 + config.num_layers)
        ]
        self.blocks = nn.ModuleList(self._blocks)
        self.final_norm = nn.LayerNorm(width)
        self._build_head(layouts, len(inputs.tasks))
        of_request = [] if self.request_globals is None else [self.request_globals]
        start_without_bias(*maps.values(), *of_request, self.candidate_globals.linear)

    def _build_head(self, layouts: Layouts, num_tasks: int) -> None:
        config = self.config
        tokens = config.num_candidate_globals if config.pooling == "concat" else 1
        self.first = SplitLinear(
            layouts.request.width + config.query_mean * config.token_dim,
            layouts.candidate.width + tokens * config.token_dim,
            config.hidden[0],
        )
        self.rest = build_head(config.hidden, "relu", config.towers, config.tower_hidden, num_tasks)

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        """Events as wide as in a group: what follows depends on how many newer ones there are."""
        return {f"{name}.events": self._event_maps[name](events.values), f"{name}.attended": attended}

    def encode_request(self, request: Fields, histories: State) -> State:
        state = {"candidate_globals": self.candidate_globals.request(request.values)}
        x, attended, num_queries = self._tokens(request, histories)
        head = request.values
        for place, block in enumerate(self._blocks):
            keys, values = block.keys_values(x)
            state |= {f"keys.{place}": keys, f"values.{place}": values, f"attended.{place}": attended}
            if block is self._blocks[-1] and not self.config.query_mean:
                break
            x = block(x[:, :num_queries], keys, values, visible_behind(attended, num_queries))
            attended = attended[:, :num_queries]
        if self.config.query_mean:
            head = torch.cat([head, self._query_mean(x, attended)], dim=1)
        return {**state, "first": self.first.request(head)}

    def _tokens(self, request: Fields, histories: State) -> tuple[Float[Tensor, "R S D"], Bool[Tensor, "R S"], int]:
        """Of the request, which of them are there, and how many of them, from the first, are queries."""
        parts = [(histories[f"{name}.events"], histories[f"{name}.attended"]) for name in reversed(self._event_maps)]
        groups, attended = self.merging(*merge([(events.flip(1), there.flip(1)) for events, there in parts]))
        front = []
        if self.request_globals is not None:
            front.append(self.request_globals(request.values).unflatten(1, (-1, self.config.token_dim)))
        if self.queries is not None:
            front.append(self.queries.expand(len(groups), -1, -1))
        x = torch.cat([*front, groups], dim=1)
        num_front = x.shape[1] - groups.shape[1]
        recent = 0 if self.queries is not None else min(self.config.recent_queries, groups.shape[1])
        return x, torch.cat([attended.new_ones(len(x), num_front), attended], dim=1), num_front + recent

    def _query_mean(self, x: Float[Tensor, "R Q D"], attended: Bool[Tensor, "R Q"]) -> Float[Tensor, "R D"]:
        """Over the query tokens that are there, behind the request globals; zero if there are none."""
        queries = self.final_norm(x[:, self._num_request_globals :])
        kept = attended[:, self._num_request_globals :, None]
        return queries.masked_fill(~kept, 0.0).sum(dim=1) / kept.sum(dim=1).clamp(min=1)

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        last = self.updates(state, candidate, ragged)[-1]
        tokens = self.final_norm(last.stream + last.added)
        pooled = tokens.flatten(1) if self.config.pooling == "concat" else tokens.mean(dim=1)
        own = torch.cat([candidate.values, pooled], dim=1)
        return self.rest(self.first.candidate(own, ragged.spread(state["first"])))

    def updates(self, state: State, candidate: Fields, ragged: Ragged) -> list[Update]:
        """Of attention and FFN of each layer, to the tokens of the candidates."""
        x, found = self._candidate_tokens(state, candidate, ragged), []
        for place, block in enumerate(self._blocks):
            added = block.ask(x, _cache(state, place), ragged)
            found.append(Update(name=f"block {place + 1} attention", stream=x, added=added))
            x = x + added
            added = block.feed(x)
            found.append(Update(name=f"block {place + 1} ffn", stream=x, added=added))
            x = x + added
        return found

    def _candidate_tokens(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N M D"]:
        flat = self.candidate_globals.candidate(candidate.values, ragged.spread(state["candidate_globals"]))
        return flat.unflatten(1, (-1, self.config.token_dim))

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of the candidate's tokens over the groups, in the first layer; the events of a group share its weight."""
        ages = self._ages(state)
        num_groups = self.merging.num_groups(sum(age.shape[1] for age in ages.values()))
        block, size = self._blocks[0], self.config.merge_size
        weights = block.look(self._candidate_tokens(state, candidate, ragged), _cache(state, 0), ragged)
        weights = weights[..., weights.shape[3] - num_groups :]
        values = state["values.0"][:, :, state["values.0"].shape[2] - num_groups :]
        answers = block.answers(weights, ragged.spread(values))
        total = sum(state[f"{name}.attended"].sum(dim=1, keepdim=True) for name in ages)
        maps = []
        for name, age in ages.items():
            group = age // size
            in_group = (total - group * size).clamp(min=1, max=size)
            shown, spread = weights.shape[:3], ragged.spread(group)[:, None, None]
            shares = weights.gather(3, spread.expand(*shown, -1)) / ragged.spread(in_group)[:, None, None]
            absent = ragged.spread(~state[f"{name}.attended"])[:, None, None]
            maps.append(
                AttentionMap(
                    history=name,
                    kind="target",
                    weights=shares.masked_fill(absent, 0.0),
                    adds_to_one=False,
                    answers=answers,
                )
            )
        return maps

    def _ages(self, state: State) -> dict[str, Int[Tensor, "R _"]]:
        """Of each history: how many events of the request are newer than each of its own."""
        newer: Tensor | int = 0
        found = {}
        for name in reversed(self._event_maps):
            attended = state[f"{name}.attended"]
            since = attended.flip(1).cumsum(1).flip(1)
            found[name] = (newer + since - 1).clamp(min=0)
            newer = newer + attended.sum(dim=1, keepdim=True)
        return found

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Events and their groups, layers for the request and for a candidate, and the MLP; docs/models/longer.md."""
        config, length = self.config, sum(lengths[name] for name in self._event_maps)
        num_groups = self.merging.num_groups(length)
        learned = 0 if self.queries is None else config.recent_queries
        num_tokens = self._num_request_globals + learned + num_groups
        recent = 0 if learned else min(config.recent_queries, num_groups)
        num_queries = self._num_request_globals + learned + recent
        per_request = self.merging.cost(length)
        per_request += sum(lengths[name] * products(part) for name, part in self._event_maps.items())
        per_request += 0 if self.request_globals is None else products(self.request_globals)
        per_candidate, own = products(self.rest), config.num_candidate_globals
        for block in self._blocks:
            per_request += block.key_cost(num_tokens)
            if block is not self._blocks[-1] or config.query_mean:
                per_request += block.query_cost(num_queries, num_tokens)
            per_candidate += block.key_cost(own) + block.query_cost(own, num_tokens + own)
            num_tokens = num_queries
        layers = Cost(per_request=per_request, per_candidate=per_candidate)
        return layers + self.candidate_globals.cost() + self.first.cost()


def _cache(state: State, place: int) -> KVCache:
    """What a layer keeps of each request."""
    return KVCache(keys=state[f"keys.{place}"], values=state[f"values.{place}"], attended=state[f"attended.{place}"])
