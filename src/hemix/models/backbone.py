"""What a model is to the ranker: three steps, each of which sees only what its result may depend on.

It knows what it costs. A model may also show what happens inside it: `Attentive`, `Residual` and `Gated`; let
objectives learn from it or train a part of it: `Sequential` and `Searching`; and add to the loss: `Penalised`. Each
file of a model ends with its `ModelKind`, by the name `MODEL`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from hemix.batch import HistorySpec, Inputs
from hemix.nn.cost import Cost
from hemix.nn.embedding import NumberForm
from hemix.nn.fields import Fields, Layouts, State
from hemix.nn.mixer_block import MixerBlock
from hemix.nn.ragged import Ragged
from hemix.refine import RefinerConfig
from hemix.search_space import Draw


class ModelSettings(Protocol):
    """What the ranker asks of the settings of any model; the rest is between them and the model."""

    @property
    def name(self) -> str:
        """That of the model's file."""
        ...

    @property
    def embedding_dim(self) -> int:
        """Width of every embedding whose feature sets no `dim`."""
        ...

    @property
    def refine(self) -> RefinerConfig | None:
        """A module that refines the fields of every row before they interact."""
        ...

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads or averages. Raises ConfigError for one that the data does not have."""
        ...


@runtime_checkable
class Backbone(Protocol):
    """Embedded fields to logits, in three steps.

    `Fields.times` say when a request or an event was, `Fields.ids` what was embedded.
    """

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        """What depends on the events of one history alone; its keys begin with the history's name."""
        ...

    def encode_request(self, request: Fields, histories: State) -> State:
        """What depends on the request's own fields, and on its encoded histories, but on no candidate."""
        ...

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        """Logits of the candidates in row order, from all that the other two steps returned."""
        ...

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Multiply-adds by formula, without running anything; `lengths` are the events of each history."""
        ...


@runtime_checkable
class Penalised(Protocol):
    """A model that adds something of its own to any loss."""

    def penalty(self) -> Float[Tensor, ""] | None:
        """What the last forward pass in training adds, to be asked for once; None: nothing."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelKind:
    """A model as the ranker knows it: how to build it, and what to print about it."""

    config: type[Any]
    """Its settings: a `Config` and `ModelSettings`, all with defaults."""
    build: Callable[[Any, Inputs, Layouts], Backbone]
    paper: str
    histories: Literal["read", "averaged"]
    """Whether it reads the events of a history, or their mean."""
    numbers: NumberForm = "embedded"
    """How it wants the number fields of request and candidate."""
    first_order: Literal["beside", "alone"] | None = None
    """Whether every value has a weight of its own beside its vector, or in its place."""
    space: Mapping[str, Draw] = field(default_factory=dict)
    """What a search tries of its settings, by key; the paper's own range where it prints one."""


@runtime_checkable
class Sequential(Protocol):
    """A model that reads a history event by event, and can be asked what it knows after each of them."""

    def state_widths(self) -> Mapping[str, int]:
        """Of each history that it reads so: the width of these states."""
        ...

    def event_states(self, name: str, state: State) -> Float[Tensor, "R T H"]:
        """What is known after each event of the history `name`, from its encoded form; no later event is in it."""
        ...


@runtime_checkable
class Searching(Protocol):
    """A model that picks events of a history by learnt scores. Picking has no gradient: an objective trains them."""

    def search_widths(self) -> Mapping[str, int]:
        """Of each history that it searches so: the width of what `relevant` returns."""
        ...

    def relevant(
        self, name: str, state: State, candidate: Fields, ragged: Ragged, kept: Bool[Tensor, "R T"], *, softmax: bool
    ) -> Float[Tensor, "N E"]:
        """Of each candidate: the sum of the kept events of the history `name`, each times its score (or the softmax of
        it over these events), and the candidate's own vector.
        """
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class AttentionMap:
    """How queries of one kind look at the events of one history. The weights are those of the forward pass."""

    history: str
    kind: Literal["fixed", "dynamic", "target"]
    """Learned queries of the model; tokens of the features; the candidate itself."""
    weights: Float[Tensor, "N Q H T"]
    """Of each row, query and head; 0 where there is no event."""
    adds_to_one: bool
    """A softmax over this history; else the weights are strengths, which may be below zero, or the softmax is over
    more than this history, or of events that are searched for and may not be there."""
    answers: Float[Tensor, "N Q E"]
    """What each query gets from the history (or from several at once), as it goes into the rest of the model."""
    queries: Float[Tensor, "Q D"] | None = None
    """Of `fixed` queries: the vectors by which they ask."""


@runtime_checkable
class Attentive(Protocol):
    """A model whose attention to events can be looked at."""

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> Sequence[AttentionMap]:
        """The attention of `score` with these arguments; histories and kinds that the model lacks are left out."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Update:
    """What one part of a block adds to the residual stream."""

    name: str
    stream: Float[Tensor, "N M D"]
    """The tokens before."""
    added: Float[Tensor, "N M D"]


@runtime_checkable
class Residual(Protocol):
    """A model of blocks that add to a stream of tokens."""

    def updates(self, state: State, candidate: Fields, ragged: Ragged) -> Sequence[Update]:
        """What the blocks of `score` add with these arguments, in order."""
        ...


def mixer_updates(x: Float[Tensor, "N M D"], blocks: Sequence[MixerBlock]) -> list[Update]:
    """Of mixing and network of each block, to the tokens that enter the first one."""
    found = []
    for place, block in enumerate(blocks, 1):
        for name, part, norm in block.parts():
            added, after = block.add(x, part, norm)
            found.append(Update(name=f"block {place} {name}", stream=x, added=added))
            x = after
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Gate:
    """How much one layer lets pass of each field, row by row."""

    name: str
    fields: tuple[str, ...]
    values: Float[Tensor, "N F"]
    """Means over the numbers of a field: 1 lets all of it pass, 0 nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Crossing:
    """How strongly one layer multiplies each two fields, in any row."""

    name: str
    fields: tuple[str, ...]
    norms: Float[Tensor, "F F"]
    """Frobenius norm of the block of its matrix that takes field g (column) to the products with field f (row)."""


@runtime_checkable
class Gated(Protocol):
    """A model that multiplies fields by layers which can be looked at; either list may be empty."""

    def gates(self, state: State, candidate: Fields, ragged: Ragged) -> Sequence[Gate]:
        """The gates of `score` with these arguments."""
        ...

    def crossings(self) -> Sequence[Crossing]:
        """The matrices of its cross layers, field by field."""
        ...
