"""What passes between data and models: the shape of every batch, and what its columns mean.

A batch is *requests x candidates*. A request is one moment at which one user asks; it owns all that does not depend on
the item, its behaviour histories included. A candidate is one item to be scored for a request.

Axes used in every signature:
    R requests   N candidate rows, sorted by request   T history events   K tasks
    I id columns   F number columns   M slots of a multi-valued field   D width of a vector
    L labels (the tasks first)   R_plus_1 offsets: request r owns rows offsets[r] .. offsets[r + 1]

Id 0 is padding (also: "no value in this slot"), 1 is any value unseen or rare in training, 2 is null; learnt values
start at 3. A NaN among the numbers means that the value is missing.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

PADDING_ID = 0
UNKNOWN_ID = 1
NULL_ID = 2
FIRST_ID = 3

LabelKind = Literal["binary", "regression"]
FieldKind = Literal["id", "ids", "number", "vector"]


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldSpec:
    """One encoded field: where its columns stand and what they hold.

    ``id`` is one column of `Columns.ids`; ``ids`` are `width` columns of it (a set, padded with 0); ``number`` is one
    column of `Columns.numbers`; ``vector`` are `width` columns of it.
    """

    name: str
    kind: FieldKind
    start: int
    width: int = 1
    table: str | None = None
    """Embedding table of an ``id`` or ``ids`` field; fields may share one."""
    served_as: float | None = None
    """Encoded value that replaces a training-only field (position, say) outside training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TableSpec:
    """One embedding table: `num_ids` rows, the reserved ones included."""

    name: str
    num_ids: int
    dim: int | None = None
    """Width of its vectors; None takes the model's `embedding_dim`."""
    pretrained: bool = False
    """The store holds start values for it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HistorySpec:
    """One named behaviour history: its event fields and its greatest length."""

    name: str
    fields: tuple[FieldSpec, ...]
    shared: tuple[str, ...]
    """Event fields that the candidate has too, under the same name and table: what target attention compares."""
    max_length: int
    part: Literal["all", "older", "recent"]
    """``older`` and ``recent`` are the two sides of a cut: the global and the real-time sequence."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskSpec:
    """One label that is learnt, and what the model's output for it means.

    Of `log_loss` it is a logit; add `logit_shift` for the odds among all negatives, where training has fewer. Of
    `squared` it is the value, of `log_squared` log(1 + value), less `centre` and divided by `spread`: the mean and the
    standard deviation of the training rows, so that a head starts near the mean.
    """

    name: str
    logit_shift: float = 0.0
    loss: Literal["log_loss", "squared", "log_squared"] = "log_loss"
    centre: float = 0.0
    spread: float = 1.0

    @property
    def kind(self) -> LabelKind:
        return "binary" if self.loss == "log_loss" else "regression"


@dataclass(frozen=True, kw_only=True, slots=True)
class OutcomeSpec:
    """One label that is only measured, by the output of one task or the product of the probabilities of several."""

    name: str
    scored_by: tuple[str, ...]
    kind: LabelKind = "binary"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """All that a model may know about its data: fields by side, histories, tables and tasks."""

    request: tuple[FieldSpec, ...] = ()
    candidate: tuple[FieldSpec, ...] = ()
    """Item fields and pair fields: one value per candidate row."""
    histories: tuple[HistorySpec, ...] = ()
    tables: tuple[TableSpec, ...] = ()
    tasks: tuple[TaskSpec, ...] = ()
    """What is learnt: the outputs of a model, and the first K labels of a batch."""
    outcomes: tuple[OutcomeSpec, ...] = ()
    """What is only measured: the labels that follow."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Columns:
    """Encoded values of one side: an id matrix and a number matrix with the same leading axes."""

    ids: Int[Tensor, "*rows I"]
    numbers: Float[Tensor, "*rows F"]

    def to(self, device: torch.device) -> "Columns":
        return Columns(ids=self.ids.to(device), numbers=self.numbers.to(device))


@dataclass(frozen=True, kw_only=True, slots=True)
class History:
    """The events of one named history, oldest first; row r is valid up to ``lengths[r]``, zeros follow.

    `times` are microseconds since 1970, UTC.
    """

    events: Columns
    times: Int[Tensor, "R T"]
    lengths: Int[Tensor, " R"]

    def to(self, device: torch.device) -> "History":
        return History(events=self.events.to(device), times=self.times.to(device), lengths=self.lengths.to(device))


@dataclass(frozen=True, kw_only=True, slots=True)
class Requests:
    """R requests. `users` groups rows for metrics (-1: no user); `times` are microseconds since 1970, UTC."""

    columns: Columns
    histories: dict[str, History]
    users: Int[Tensor, " R"]
    times: Int[Tensor, " R"]

    def to(self, device: torch.device) -> "Requests":
        return Requests(
            columns=self.columns.to(device),
            histories={name: history.to(device) for name, history in self.histories.items()},
            users=self.users.to(device),
            times=self.times.to(device),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Requests with their candidates: those of request r are rows ``offsets[r] .. offsets[r + 1]``.

    L labels: those of the K tasks, then those that are only measured. A label of NaN is not known, or masked by
    another one: the row takes no part in its loss or metrics.
    """

    requests: Requests
    candidates: Columns
    offsets: Int[Tensor, " R_plus_1"]
    labels: Float[Tensor, "N L"] | None = None
    weights: Float[Tensor, " N"] | None = None

    @property
    def num_rows(self) -> int:
        return self.candidates.ids.shape[0]

    def to(self, device: torch.device) -> "Batch":
        return Batch(
            requests=self.requests.to(device),
            candidates=self.candidates.to(device),
            offsets=self.offsets.to(device),
            labels=None if self.labels is None else self.labels.to(device),
            weights=None if self.weights is None else self.weights.to(device),
        )
