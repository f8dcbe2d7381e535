"""DIEN: deep interest evolution network (AAAI 2019, https://arxiv.org/abs/1809.03672).

    h_1, h_2, .. = GRU(e_1, e_2, ..)                    interest extractor, over the events of each history
    a_t    = softmax over t of h_t W e_a                e_a: the candidate's fields that the event has too
    u_t    = s(W_u h_t + U_u h'_(t-1) + b_u)            interest evolution, for each candidate; s: the logistic function
    r_t    = s(W_r h_t + U_r h'_(t-1) + b_r)
    n_t    = tanh(W_n h_t + r_t * U_n h'_(t-1) + b_n)
    h'_t   = (1 - a_t u_t) * h'_(t-1) + a_t u_t * n_t   AUGRU
    logits = towers(MLP([request ; candidate ; h'_T of each history]))

The paper's auxiliary loss is an objective: objectives/next_event.py. Filled gaps and differences: docs/models/dien.md.
Parity test: tests/parity/test_dien.py.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, is_none
from hemix.models.backbone import AttentionMap, ModelKind
from hemix.models.histories import comparable_histories, prefixed, target_maps, under
from hemix.nn.activation import Activation
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layout, Layouts, State
from hemix.nn.mlp import SplitLinear
from hemix.nn.ragged import Ragged
from hemix.nn.towers import SharedBottomConfig, TowersConfig, build_head
from hemix.refine import RefineConfig
from hemix.search_space import Draw

Width = Annotated[int, Field(ge=1)]
Evolution = Literal["augru", "agru", "aigru", "gru"]


class DIENConfig(Config):
    """Sizes of DIEN; which of them are the paper's: docs/models/dien.md."""

    name: Literal["dien"] = "dien"
    embedding_dim: Width = 16
    """Width of every embedding whose feature sets no `dim`."""
    histories: tuple[str, ...] | None = None
    """Histories whose interests are followed; None: all of the data."""
    hidden_dim: Width | None = None
    """Width of the interests; None: that of the fields which event and candidate share, so that an inner product with
    them, the auxiliary loss, is defined."""
    evolution: Evolution = "augru"
    """What attention does in the second recurrence: it scales the update gate, takes its place, scales the input, or
    nothing, and the states are averaged by it."""
    hidden: tuple[Width, ...] = Field(default=(200, 80), min_length=1)
    """Widths of the hidden layers over all fields."""
    activation: Activation = "dice"
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the hidden layers and the tasks."""
    tower_hidden: tuple[Width, ...] = ()
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads. Raises ConfigError for one that is missing or shares no field."""
        return comparable_histories(inputs, self.histories)


class AttentiveGRU(nn.Module):
    """A GRU whose steps a candidate's attention scales: one state per candidate, zero before the first event.

    All candidates of a batch take a step together, those with longer histories first: a row that is past its last
    event leaves the loop. What the event alone gives to a gate is computed once per request and read step by step.
    """

    def __init__(self, kind: Literal["augru", "agru", "aigru"], width: int) -> None:
        super().__init__()
        self.kind = kind
        self.width = width
        self.num_gates = 1 if kind == "agru" else 2
        self.input = nn.Linear(width, (self.num_gates + 1) * width)
        self.gates = nn.Linear(width, self.num_gates * width, bias=False)
        self.new = nn.Linear(width, width, bias=False)

    def encode(self, states: Float[Tensor, "R T H"]) -> Float[Tensor, "R T G"]:
        """``W h_t`` of the reset gate, the update gate and the new state, with ``b`` unless attention scales h_t."""
        return F.linear(states, self.input.weight, None if self.kind == "aigru" else self.input.bias)

    def forward(
        self,
        weights: Float[Tensor, "N T"],
        encoded: Float[Tensor, "R T G"],
        lengths: Int[Tensor, " R"],
        ragged: Ragged,
    ) -> Float[Tensor, "N H"]:
        """The state of each candidate after the last event of its request; `unbind` keeps gradients of steps small."""
        ends = ragged.spread(lengths)
        order = torch.argsort(ends, descending=True, stable=True)
        request = ragged.spread(torch.arange(len(lengths), device=lengths.device))[order]
        alive = (ends[:, None] > torch.arange(weights.shape[1], device=ends.device)).sum(dim=0).tolist()
        scales = weights.index_select(0, order)[:, :, None].unbind(dim=1)
        state, ended = weights.new_zeros(len(weights), self.width), []
        for inputs, scale, rows in zip(encoded.unbind(dim=1), scales, alive, strict=True):
            if rows < len(state):
                ended.append(state[rows:])
                state = state[:rows]
            state = self._step(state, inputs.index_select(0, request[:rows]), scale[:rows])
        return torch.cat([state, *reversed(ended)]).index_select(0, torch.argsort(order))

    def _step(
        self, state: Float[Tensor, "N H"], inputs: Float[Tensor, "N G"], scale: Float[Tensor, "N 1"]
    ) -> Float[Tensor, "N H"]:
        if self.kind == "aigru":
            inputs = torch.addcmul(self.input.bias, scale, inputs)
        of_gates, of_new = inputs.split([self.num_gates * self.width, self.width], dim=1)
        gates = torch.sigmoid(torch.addmm(of_gates, state, self.gates.weight.T))
        reset, update = gates[:, : self.width], gates[:, self.width :]
        new = torch.tanh(torch.addcmul(of_new, reset, self.new(state)))
        match self.kind:
            case "augru":
                update = scale * update
            case "agru":
                update = scale.expand_as(state)
            case "aigru":
                pass
        return torch.lerp(state, new, update)

    def cost(self, length: int) -> Cost:
        return Cost(
            per_request=length * products(self.input),
            per_candidate=length * (products(self.gates) + products(self.new)),
        )


class PooledGRU(nn.Module):
    """A GRU without attention: its states, which no candidate changes, are averaged by the weights of the attention."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)

    def encode(self, states: Float[Tensor, "R T H"]) -> Float[Tensor, "R T H"]:
        return run_gru(self.gru, states)

    def forward(
        self,
        weights: Float[Tensor, "N T"],
        encoded: Float[Tensor, "R T H"],
        lengths: Int[Tensor, " R"],
        ragged: Ragged,
    ) -> Float[Tensor, "N H"]:
        return ragged.map(torch.bmm, weights, encoded)

    def cost(self, length: int) -> Cost:
        return Cost(per_request=length * gru_products(self.gru), per_candidate=length * self.gru.hidden_size)


class Interest(nn.Module):
    """Extractor, attention and evolution of the interests in one history; zero for a request without events.

    `shared` names the fields that are compared; `width`: None is that of these.
    """

    softmax = True

    def __init__(
        self, shared: Sequence[str], events: Layout, evolution: Evolution = "augru", width: int | None = None
    ) -> None:
        super().__init__()
        self.shared = tuple(shared)
        compared = events.select(shared).width
        self.width = width or compared
        self.extractor = nn.GRU(events.width, self.width, batch_first=True)
        self.query = nn.Linear(compared, self.width, bias=False)
        self.evolution = PooledGRU(self.width) if evolution == "gru" else AttentiveGRU(evolution, self.width)

    def encode(self, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        """The interest after each event, and what the evolution needs of it. Padding follows, so no state sees it."""
        states = run_gru(self.extractor, events.values)
        return {"states": states, "evolving": self.evolution.encode(states), "attended": attended}

    def forward(self, candidate: Fields, encoded: State, ragged: Ragged) -> Float[Tensor, "N H"]:
        """The final interest of each candidate in the history that `encode` was given."""
        return self.evolve(self.weights(candidate, encoded, ragged), encoded, ragged)

    def evolve(self, weights: Float[Tensor, "N T"], encoded: State, ragged: Ragged) -> Float[Tensor, "N H"]:
        """The final interests under these weights of the events."""
        if weights.shape[1] == 0:
            return weights.new_zeros(len(weights), self.width)
        return self.evolution(weights, encoded["evolving"], encoded["attended"].sum(dim=1), ragged)

    def weights(self, candidate: Fields, encoded: State, ragged: Ragged) -> Float[Tensor, "N T"]:
        """``a_t``: they add up to 1 over the events of a request; 0 where there is none."""
        keys = encoded["evolving" if isinstance(self.evolution, PooledGRU) else "states"]
        compared = candidate.select(self.shared).values
        if keys.shape[1] == 0:
            return compared.new_zeros(len(compared), 0)
        return ragged.map(_softmax_over_events, self.query(compared), keys, encoded["attended"])

    def cost(self, length: int) -> Cost:
        """Of T events. Weights: d H for the query and T H for the products, per candidate."""
        if not length:
            return Cost()
        own = Cost(
            per_request=length * gru_products(self.extractor),
            per_candidate=products(self.query) + length * self.width,
        )
        return own + self.evolution.cost(length)


class DIEN(nn.Module):
    """Backbone: interests of each candidate in each history, then one MLP whose first layer is split (nn/mlp.py)."""

    def __init__(self, config: DIENConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        self._interests = {
            history.name: Interest(history.shared, layouts.histories[history.name], config.evolution, config.hidden_dim)
            for history in inputs.histories
        }
        self.interests = nn.ModuleList(self._interests.values())
        width = sum(interest.width for interest in self._interests.values())
        self.first = SplitLinear(layouts.request.width, layouts.candidate.width + width, config.hidden[0])
        self.rest = build_head(config.hidden, config.activation, config.towers, config.tower_hidden, len(inputs.tasks))

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        return prefixed(name, self._interests[name].encode(events, attended))

    def encode_request(self, request: Fields, histories: State) -> State:
        return {"request": self.first.request(request.values)}

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        interests = [interest(candidate, under(name, state), ragged) for name, interest in self._interests.items()]
        own = torch.cat([candidate.values, *interests], dim=1)
        return self.rest(self.first.candidate(own, ragged.spread(state["request"])))

    def state_widths(self) -> dict[str, int]:
        """See `Sequential`."""
        return {name: interest.width for name, interest in self._interests.items()}

    def event_states(self, name: str, state: State) -> Float[Tensor, "R T H"]:
        """See `Sequential`: the interests that the extractor finds, h_t."""
        return under(name, state)["states"]

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of each candidate over each history; the answers are the final interests."""
        return target_maps(self._interests, state, candidate, ragged)

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Both recurrences of each history, and the MLP, whose first layer is split."""
        interests = sum((part.cost(lengths[name]) for name, part in self._interests.items()), Cost())
        return interests + self.first.cost() + Cost(per_candidate=products(self.rest))


def run_gru(gru: nn.GRU, x: Float[Tensor, "R T D"]) -> Float[Tensor, "R T H"]:
    """The state after each step, the first from zero; torch's refuses a sequence of length 0."""
    return gru(x)[0] if x.shape[1] else x.new_zeros(len(x), 0, gru.hidden_size)


def gru_products(gru: nn.GRU) -> int:
    """Multiply-adds of a step."""
    return 3 * gru.hidden_size * (gru.input_size + gru.hidden_size)


def _softmax_over_events(
    queries: Float[Tensor, "B C H"], keys: Float[Tensor, "B T H"], attended: Bool[Tensor, "B T"]
) -> Float[Tensor, "B C T"]:
    """Not scaled, as the paper has it; 0 everywhere for a request without events."""
    absent = ~attended[:, None]
    scores = torch.bmm(queries, keys.transpose(1, 2))
    return scores.masked_fill(absent, torch.finfo(scores.dtype).min).softmax(dim=2).masked_fill(absent, 0.0)


MODEL = ModelKind(
    config=DIENConfig,
    build=DIEN,
    paper="arXiv 1809.03672",
    histories="read",
    space={
        "evolution": Draw(choice=("augru", "agru", "aigru")),
        "hidden": Draw(choice=((128, 64), (200, 80), (512, 256))),
    },
)
