"""The backbone of HeMix: tokenizer, mixed queries, blocks, pooling, towers."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from hemix.batch import Inputs
from hemix.errors import ConfigError
from hemix.models.backbone import AttentionMap, Update, mixer_updates
from hemix.models.hemix.config import HeMixConfig
from hemix.models.hemix.crosses import HistoryCrosses
from hemix.models.hemix.queries import MixedQueries, merged
from hemix.models.hemix.tokenizers import build_tokenizer
from hemix.models.histories import prefixed, under
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layout, Layouts, State
from hemix.nn.mixer_block import MixerBlock
from hemix.nn.mixing import SMALL_STD, build_mixing
from hemix.nn.norm import build_norm
from hemix.nn.ragged import Ragged
from hemix.nn.token_ffn import build_ffn
from hemix.nn.tokenizers import GroupTokenizer, Tokenizer, start_without_bias
from hemix.nn.towers import OwnTowers, build_towers


class HeMix(nn.Module):
    """Backbone. Settings that do not fit the data are ConfigErrors here, before any weight is allocated."""

    no_decay = ("task_tokens",)

    def __init__(self, config: HeMixConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        self.config = config
        names = {"global": config.global_history, "real_time": config.real_time_history}
        self._history = {group: name for group, name in names.items() if name is not None}
        self._crosses = HistoryCrosses(config.used_histories(inputs)) if config.history_crosses else None
        candidate = layouts.candidate if self._crosses is None else self._crosses.beside(layouts.candidate)
        self.tokenizer = build_tokenizer(config, layouts.request, candidate, config.feature_tokens)
        self.query_tokenizer = self._build_query_tokenizer(layouts)
        num_tokens = config.feature_tokens + self._build_queries(layouts)
        tasks = len(inputs.tasks)
        if config.pooling == "task_token":
            self.task_tokens = nn.Parameter(torch.empty(tasks, config.token_dim).normal_(std=SMALL_STD))
            num_tokens += tasks
        self._blocks = [_build_block(num_tokens, config) for _ in range(config.num_blocks)]
        self.blocks = nn.ModuleList(self._blocks)
        self.final_norm = build_norm(config.norm_kind, config.token_dim) if config.has_final_norm else nn.Identity()
        pooled = num_tokens * config.token_dim if config.pooling == "flatten" else config.token_dim
        if config.pooling == "task_token":
            self.towers = OwnTowers(pooled, config.tower_hidden, tasks)
        else:
            self.towers = build_towers(config.towers, pooled, config.tower_hidden, tasks)

    def _build_query_tokenizer(self, layouts: Layouts) -> Tokenizer | None:
        """Under `user_only_dynamic`: what makes the dynamic queries, where the tokenizer has no such tokens itself."""
        config = self.config
        if not config.user_only_dynamic:
            return None
        if isinstance(self.tokenizer, GroupTokenizer):
            most, have = max(config.num_dynamic_global, config.num_dynamic_real_time), len(self.tokenizer.of_request)
            if most > have:
                raise ConfigError(
                    f"Under model.user_only_dynamic, groups of request features alone can query; {most} are asked for, "
                    f"{have} groups have no feature of the candidate. Lower model.num_dynamic_global and "
                    "num_dynamic_real_time, or split model.token_groups."
                )
            return None
        if not layouts.request.width:
            raise ConfigError(
                "model.user_only_dynamic makes queries of the request's features, and there are none. Declare "
                "data.features.request, or set it to false."
            )
        num_queries = config.num_dynamic_global + config.num_dynamic_real_time
        return build_tokenizer(config, layouts.request, Layout(names=(), widths=()), num_queries)

    def _build_queries(self, layouts: Layouts) -> int:
        """Build `queries` and the maps of events; returns how many answers there are."""
        config, width = self.config, self.config.token_dim
        dynamic = {"global": config.num_dynamic_global, "real_time": config.num_dynamic_real_time}
        fixed = {"global": config.num_fixed_global, "real_time": config.num_fixed_real_time}
        sides = {group: layouts.histories[name] for group, name in self._history.items()}
        self._event_maps: dict[str, nn.Linear] = {}
        self._queries: dict[str, MixedQueries] = {}
        if config.event_projection == "shared" and sides:
            self.events = _build_event_map(_same_events(list(sides.values())), width)
            self._event_maps = dict.fromkeys(sides, self.events)
        sequences = [tuple(sides)] if config.merge_histories else [(group,) for group in sides]
        for groups in sequences:
            own: nn.Module | None = None
            if config.event_projection == "per_history":
                maps = {group: _build_event_map(sides[group], width) for group in groups}
                self._event_maps |= maps
                own = nn.ModuleDict(maps) if config.merge_histories else maps[groups[0]]
            num_dynamic, num_fixed = (sum(kind[group] for group in groups) for kind in (dynamic, fixed))
            key = "merged" if config.merge_histories else groups[0]
            self._queries[key] = MixedQueries(own, num_dynamic, num_fixed, config)
        self.queries = nn.ModuleDict(self._queries)
        return sum(queries.num_dynamic + queries.num_fixed for queries in self._queries.values())

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        group = next(group for group, history in self._history.items() if history == name)
        sequence = self._event_maps[group](events.values)
        queries = self._queries["merged" if self.config.merge_histories else group]
        encoded = queries.encode(sequence, attended)
        if not self.config.merge_histories:
            encoded["fixed"] = queries.fixed_answers(encoded)
        if self._crosses is not None:
            encoded["mean"] = self._crosses.mean(name, events, attended)
        return prefixed(name, encoded)

    def encode_request(self, request: Fields, histories: State) -> State:
        state = {"tokenizer": self.tokenizer.encode(request)}
        if self.config.merge_histories:
            sequence = merged([under(name, histories) for name in self._history.values()])
            fixed = self._queries["merged"].fixed_answers(sequence)
            state |= prefixed(self._state_name("merged"), {**sequence, "fixed": fixed})
        if self.config.user_only_dynamic:
            tokens = self._request_tokens(request, state["tokenizer"])
            each = Ragged(torch.arange(len(tokens) + 1, device=tokens.device), len(tokens))
            for group, queries in self._queries.items():
                name = self._state_name(group)
                encoded = under(name, {**histories, **state})
                asking = self._asking(group, tokens)
                state |= prefixed(name, {"asking": asking, "dynamic": queries(asking, encoded, each)})
        return state

    def _request_tokens(self, request: Fields, of_request: Tensor) -> Float[Tensor, "R Q D"]:
        """Tokens that no candidate is in."""
        if isinstance(self.tokenizer, GroupTokenizer):
            return self.tokenizer.request_tokens(of_request)
        assert self.query_tokenizer is not None
        nothing = request.select(())
        return self.query_tokenizer(nothing, self.query_tokenizer.encode(request))

    def _state_name(self, group: str) -> str:
        """Under which the state of a sequence stands; longer than either name where two are merged."""
        return "+".join(self._history.values()) if group == "merged" else self._history[group]

    def _asking(self, group: str, tokens: Float[Tensor, "N M D"]) -> Float[Tensor, "N Q D"]:
        """The tokens that query: the first ones the global history, the last ones the real-time one."""
        first = tokens[:, : self.config.num_dynamic_global]
        last = tokens[:, tokens.shape[1] - self.config.num_dynamic_real_time :]
        if group == "merged":
            return torch.cat([first, last], dim=1)
        return first if group == "global" else last

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        x = self.mixer_input(state, candidate, ragged)
        for block in self._blocks:
            x = block(x)
        return self.towers(self.pool(self.final_norm(x)))

    def mixer_input(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N M D"]:
        """[T_R ; T_G ; NS], in each T the dynamic rows before the fixed ones; then the task tokens."""
        tokens = self._tokens(state, candidate, ragged)
        parts = [part for group in reversed(self._queries) for part in self._answers(group, tokens, state, ragged)]
        parts.append(tokens)
        if self.config.pooling == "task_token":
            parts.append(self.task_tokens.expand(len(tokens), -1, -1))
        return torch.cat(parts, dim=1)

    def _tokens(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N M D"]:
        """Of all features of a row."""
        if self._crosses is not None:
            candidate = self._crosses.add(candidate, state, ragged)
        return self.tokenizer(candidate, ragged.spread(state["tokenizer"]))

    def _answers(
        self, group: str, tokens: Float[Tensor, "N M D"], state: State, ragged: Ragged
    ) -> tuple[Float[Tensor, "N Q D"], Float[Tensor, "N F D"]]:
        """Of the dynamic and of the fixed queries over one sequence."""
        encoded = under(self._state_name(group), state)
        if self.config.user_only_dynamic:
            dynamic = ragged.spread(encoded["dynamic"])
        else:
            dynamic = self._queries[group](self._asking(group, tokens), encoded, ragged)
        return dynamic, ragged.spread(encoded["fixed"])

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of the dynamic and the fixed queries over each history; over a merged sequence, cut into its histories."""
        tokens = self._tokens(state, candidate, ragged)
        maps = []
        for group, queries in self._queries.items():
            encoded = under(self._state_name(group), state)
            own = self.config.user_only_dynamic
            asking = ragged.spread(encoded["asking"]) if own else self._asking(group, tokens)
            answers = dict(zip(("dynamic", "fixed"), self._answers(group, tokens, state, ragged), strict=True))
            names = list(self._history.values()) if group == "merged" else [self._history[group]]
            lengths = [under(name, state)["attended"].shape[1] for name in names]
            for kind, weights in queries.look(asking, encoded, ragged).items():
                maps += [
                    AttentionMap(
                        history=name,
                        kind=kind,
                        weights=part,
                        adds_to_one=len(names) == 1,
                        answers=answers[kind],
                        queries=queries.asking() if kind == "fixed" else None,
                    )
                    for name, part in zip(names, weights.split(lengths, dim=3), strict=True)
                ]
        return maps

    def updates(self, state: State, candidate: Fields, ragged: Ragged) -> list[Update]:
        """Of mixing and FFN of each block."""
        return mixer_updates(self.mixer_input(state, candidate, ragged), self._blocks)

    def pool(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N *pooled"]:
        """What the towers read."""
        match self.config.pooling:
            case "mean":
                return x.mean(dim=1)
            case "flatten":
                return x.flatten(1)
            case "task_token":
                return x[:, x.shape[1] - len(self.task_tokens) :]

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Tokenizer, queries over histories of these lengths, blocks and towers; see docs/models/hemix.md."""
        cost = self.tokenizer.cost()
        length = {group: lengths[name] for group, name in self._history.items()}
        cost += Cost(per_request=sum(length[group] * products(part) for group, part in self._event_maps.items()))
        for group, queries in self._queries.items():
            events = sum(length.values()) if group == "merged" else length[group]
            cost += Cost(per_request=queries.sequence_cost(events))
            dynamic = queries.dynamic_cost(events)
            user_only = self.config.user_only_dynamic
            cost += Cost(per_request=dynamic) if user_only else Cost(per_candidate=dynamic)
        if self.query_tokenizer is not None:
            asked = self.query_tokenizer.cost()
            cost += Cost(per_request=asked.per_request + asked.per_candidate)
        return cost + Cost(per_candidate=sum(block.cost() for block in self._blocks) + products(self.towers))


def _build_block(num_tokens: int, config: HeMixConfig) -> MixerBlock:
    width = config.token_dim
    mixing = build_mixing(config.mixer, num_tokens, width, num_heads=config.num_mixing_heads, rank=config.mixing_rank)
    ffn = build_ffn(config.ffn, num_tokens, width, config.ffn_expansion)
    return MixerBlock(mixing, ffn, width, config.norm_kind, pre_norm=config.pre_norm)


def _build_event_map(events: Layout, width: int) -> nn.Linear:
    layer = nn.Linear(events.width, width)
    start_without_bias(layer)
    return layer


def _same_events(sides: list[Layout]) -> Layout:
    """Raises ConfigError if a map cannot be shared: fields differ in name, width or order."""
    for other in sides[1:]:
        if other != sides[0]:
            raise ConfigError(
                "model.event_projection 'shared' needs histories with the same fields; one has "
                f"{_described(sides[0])}, the other {_described(other)}. Give them the same features, or set it to "
                "'per_history'."
            )
    return sides[0]


def _described(layout: Layout) -> str:
    return ", ".join(f"{name} ({width})" for name, width in zip(layout.names, layout.widths, strict=True))
