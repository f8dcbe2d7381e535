"""What explanations say, as values that can be written as JSON and read back."""

import math
from collections.abc import Sequence

from hemix.config import Config
from hemix.data.decode import Value

LITTLE = 1e-3
"""A difference of logits of which shares say nothing."""


class FieldEffect(Config):
    """One field of the request or the candidate: what it adds, and what taking it away would do (logits)."""

    side: str
    """request or candidate."""
    name: str
    value: Value
    contribution: float
    """By integrated gradients from the training mean; contributions add up."""
    against_mean: float
    """Logit minus the logit with the field's mean vector in training."""
    against_null: float
    """Logit minus the logit with the field missing."""


class EventFieldEffect(Config):
    """The same of one field in all events of a history."""

    name: str
    contribution: float
    against_mean: float
    against_null: float


class HistoryEffect(Config):
    """One history: what its events add, each and together."""

    name: str
    contribution: float
    without: float
    """Logit minus the logit of a user without this history."""
    fields: tuple[EventFieldEffect, ...]
    events: tuple[float, ...]
    """Contribution of each event, oldest first."""
    without_event: dict[int, float]
    """Logit minus the logit without one event, of those that contribute most."""


class Attention(Config):
    """Where one query looks: the weight of each event, oldest first (mean over heads)."""

    history: str
    kind: str
    """fixed, dynamic or target."""
    query: int
    adds_to_one: bool
    weights: tuple[float, ...]


class FieldGates(Config):
    """How much one layer lets pass of each field: 1 all of it, 0 nothing; for a row, or the mean over rows."""

    name: str
    fields: dict[str, float]


class FieldPairs(Config):
    """How strongly one cross layer multiplies each two fields: norms of the blocks of its matrix."""

    name: str
    fields: tuple[str, ...]
    norms: tuple[tuple[float, ...], ...]


class Explained(Config):
    """Why one candidate got its score for a request."""

    item: str
    row: int | None
    """Row of the split; None: the request did not show this item."""
    label: float | None
    logit: float
    """With the shift that undoes down-sampling."""
    probability: float
    place: int
    """1: no candidate of the request scores higher."""
    missing: tuple[str, ...]
    """Fields that it lacks because the request did not show it."""
    baseline: float
    """Logit where every field has its mean vector in training."""
    residual: float
    """What contributions leave of `logit` - `baseline`, through rounding and steps."""
    steps: int
    fields: tuple[FieldEffect, ...]
    histories: tuple[HistoryEffect, ...]
    attention: tuple[Attention, ...]
    """Empty for a model without attention."""
    gates: tuple[FieldGates, ...]
    """Empty for a model without gates."""


class Event(Config):
    """One event of a history."""

    item: str
    time: str
    values: dict[str, Value]


class Difference(Config):
    """Contribution to the first candidate's logit minus that to the second's."""

    side: str
    """request, candidate, or a history's name."""
    name: str
    """A field; of a history the number of the event, oldest is 0."""
    first: Value
    second: Value
    difference: float


class RequestReport(Config):
    """Why the candidates of one request got their scores."""

    run: str
    model: str
    store: str
    split: str
    task: str
    user: str | None
    time: str
    candidates: int
    """Shown by the request."""
    best: tuple[tuple[str, float], ...]
    """Items of the request with the highest probabilities."""
    histories: dict[str, tuple[Event, ...]]
    """That the model reads, oldest event first."""
    explained: tuple[Explained, ...]
    """One candidate, or two to be compared."""
    differences: tuple[Difference, ...]
    """By size; they add up to the difference of the logits. Empty for one candidate."""
    notes: tuple[str, ...]


class Importance(Config):
    """What shuffling one field costs: rise of the loss, fall of AUC and gAUC, each with a 95 % interval over users."""

    side: str
    """request, candidate, or a history's name."""
    name: str
    """A field, or `*` for a history as a whole."""
    auc: tuple[float, float, float]
    """Value, low, high; NaN where undefined."""
    gauc: tuple[float, float, float]
    log_loss: tuple[float, float, float]


class Redundancy(Config):
    """How alike the queries of one kind over a history are: mean cosine of each pair over the sampled requests."""

    history: str
    kind: str
    queries: tuple[tuple[float, ...], ...] | None
    """Of the query vectors; None where they differ from row to row."""
    answers: tuple[tuple[float, ...], ...]
    weights: tuple[tuple[float, ...], ...]
    """Of the attention maps (mean over heads)."""
    events_seen: tuple[float, ...]
    """Effective number of events of each query: exp of the entropy of its weights; NaN without a softmax."""
    events: float
    """Mean number of events there are."""


class BlockNorms(Config):
    """Size of the residual stream before one part of a block, and of what the part adds (mean norm of a token)."""

    name: str
    stream: float
    added: float


class ModelReport(Config):
    """What a model uses."""

    run: str
    model: str
    store: str
    split: str
    task: str
    rows: int
    requests: int
    users: int
    auc: float
    gauc: float
    log_loss: float
    interval: str
    importance: tuple[Importance, ...]
    """By falling cost in AUC."""
    redundancy: tuple[Redundancy, ...]
    """Empty for a model without attention."""
    blocks: tuple[BlockNorms, ...]
    """Empty for a model without residual blocks."""
    gates: tuple[FieldGates, ...]
    """Means over rows; empty for a model without gates."""
    crossings: tuple[FieldPairs, ...]
    """Empty for a model without cross layers."""
    notes: tuple[str, ...]


def shown(value: Value) -> str:
    """A raw value as text.

    >>> shown(4.0), shown(("a", "b")), shown(None)
    ('4', 'a, b', '(none)')
    """
    if value is None or value == ():
        return "(none)"
    if isinstance(value, tuple):
        return ", ".join(value)
    return value if isinstance(value, str) else f"{value:g}"


def values_of(event: Event) -> str:
    """The values of an event in one line, without its item's own key."""
    return "; ".join(f"{name} {shown(value)}" for name, value in event.values.items() if value != event.item)


def strongest(series: Sequence[Sequence[float]], count: int) -> list[int]:
    """Places of the `count` largest sizes in any of some equally long series, the largest first.

    >>> strongest([[0.1, -3.0, 0.0], [2.0, 0.0, 0.0]], 2)
    [1, 0]
    """
    sizes = [max(abs(value) for value in values) for values in zip(*series, strict=True)]
    return sorted(range(len(sizes)), key=lambda place: (-sizes[place], place))[:count]


def residual_text(found: Explained) -> str:
    """The residual as a share of what is explained; as it is where that is next to nothing."""
    gained = found.logit - found.baseline
    return f"{abs(found.residual / gained):.2%}" if abs(gained) >= LITTLE else f"{found.residual:+.6f}"


def signed(value: float) -> str:
    """Four digits with a sign; a dash where undefined."""
    return "-" if math.isnan(value) else f"{value:+.4f}"
