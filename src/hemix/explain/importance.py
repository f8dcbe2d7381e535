"""Permutation importance: how much worse a model ranks when one field no longer belongs to its row.

A field's values are dealt to other rows (of a candidate), other requests (of a request), or other events; a history as
a whole goes to another request. Nothing is trained again, so that fields that say the same share their importance. Each
cost is paired: the same users are drawn for the model with and without the field.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hemix.batch import Batch, Columns, FieldSpec, History, Inputs, Requests
from hemix.data.store import SplitView
from hemix.evaluate import metrics
from hemix.evaluate.bootstrap import Rated, Sample, Units, interval, replicate
from hemix.explain.report import Importance
from hemix.ranker import Ranker

WHOLE = "*"
"""Stands for all fields of a history."""
CHUNK_ROWS = 2048
CHUNK_EVENTS = 100_000
METRICS = ("auc", "gauc", "log_loss")


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffled:
    """A split scored with one field shuffled."""

    side: str
    name: str
    logits: np.ndarray


@dataclass(frozen=True, kw_only=True, slots=True)
class Drawn:
    """Requests drawn from a split, with other requests to take values from."""

    view: SplitView
    requests: np.ndarray
    partner: np.ndarray
    """Of each drawn request, the drawn request whose values it gets; never itself."""
    rows: np.ndarray
    """Of each row of the drawn requests, the row whose values it gets."""
    offsets: np.ndarray
    """(R + 1,) rows of the drawn requests."""


def draw(view: SplitView, max_rows: int, seed: int) -> Drawn:
    """Whole requests in random order until `max_rows` candidates are reached, and where shuffled values come from."""
    random = np.random.default_rng(seed)
    requests = random.permutation(view.num_requests)
    counts = view.counts(requests)
    requests = requests[: int(np.searchsorted(np.cumsum(counts), max_rows)) + 1]
    offsets = np.concatenate([[0], np.cumsum(view.counts(requests))])
    return Drawn(
        view=view,
        requests=requests,
        partner=_others(len(requests), random),
        rows=_others(int(offsets[-1]), random),
        offsets=offsets,
    )


def _others(count: int, random: np.random.Generator) -> np.ndarray:
    """A permutation without a fixed point (of one: itself): along a random cycle."""
    order = random.permutation(count)
    found = np.empty(count, np.int64)
    found[order] = np.roll(order, 1)
    return found


@torch.inference_mode()
def score_shuffled(ranker: Ranker, drawn: Drawn, task: int, device: torch.device) -> tuple[Rated, list[Shuffled]]:
    """The drawn rows as they are, and their logits with each field and each history shuffled; one pass over the data.

    Of the columns of requests and candidates all are in memory, of the events those of a few requests at a time.
    """
    flat = drawn.view.store.split(drawn.view.name, serving=True, histories=False).batch(drawn.requests)
    kept: dict[tuple[str, str], list[np.ndarray]] = {}
    base, labels, users = [], [], []
    for batch, part, other in _chunks(drawn):
        base.append(_logits(ranker, batch, task, device))
        labels.append((batch.labels if batch.labels is not None else torch.zeros(batch.num_rows, 1))[:, task].numpy())
        users.append(np.repeat(batch.requests.users.numpy(), batch.offsets.diff().numpy()))
        for side, name, changed in _variants(ranker, batch, flat, drawn, part, other):
            kept.setdefault((side, name), []).append(_logits(ranker, changed, task, device))
    counts = np.diff(drawn.offsets)
    rated = Rated(
        logits=np.concatenate(base),
        labels=np.concatenate(labels),
        users=np.concatenate(users),
        requests=np.repeat(np.arange(len(counts)), counts),
    )
    return rated, [Shuffled(side=key[0], name=key[1], logits=np.concatenate(parts)) for key, parts in kept.items()]


def _chunks(drawn: Drawn) -> Iterator[tuple[Batch, slice, Batch]]:
    """Batches of the drawn requests, their places among them, and the batch of their partners."""
    view = drawn.view
    longest = sum(spec.max_length for spec in view.store.inputs.histories)
    most = max(1, CHUNK_EVENTS // max(1, longest))
    start = 0
    while start < len(drawn.requests):
        stop = int(np.searchsorted(drawn.offsets, drawn.offsets[start] + CHUNK_ROWS))
        part = slice(start, max(start + 1, min(stop, start + most, len(drawn.requests))))
        yield view.batch(drawn.requests[part]), part, view.batch(drawn.requests[drawn.partner[part]])
        start = part.stop


def _variants(
    ranker: Ranker, batch: Batch, flat: Batch, drawn: Drawn, part: slice, other: Batch
) -> Iterator[tuple[str, str, Batch]]:
    """The batch with each field, then each history, taken from elsewhere."""
    inputs = ranker.inputs
    requests, rows = drawn.partner[part], drawn.rows[drawn.offsets[part.start] : drawn.offsets[part.stop]]
    for spec in inputs.request:
        columns = _replaced(batch.requests.columns, flat.requests.columns, spec, torch.from_numpy(requests))
        yield "request", spec.name, replace(batch, requests=replace(batch.requests, columns=columns))
    for spec in inputs.candidate:
        columns = _replaced(batch.candidates, flat.candidates, spec, torch.from_numpy(rows))
        yield "candidate", spec.name, replace(batch, candidates=columns)
    for name in ranker.embedding.layouts.histories:
        yield name, WHOLE, _with_history(batch, name, _moved(other.requests, batch.requests, name))
        for spec in _fields_of(inputs, name):
            yield name, spec.name, _with_history(batch, name, _mixed(batch.requests.histories[name], spec, part.start))


def _replaced(columns: Columns, source: Columns, spec: FieldSpec, rows: Tensor) -> Columns:
    """The columns with one field taken from some rows of `source`."""
    own = slice(spec.start, spec.start + spec.width)
    if spec.table is not None:
        ids = columns.ids.clone()
        ids[:, own] = source.ids[rows][:, own]
        return Columns(ids=ids, numbers=columns.numbers)
    numbers = columns.numbers.clone()
    numbers[:, own] = source.numbers[rows][:, own]
    return Columns(ids=columns.ids, numbers=numbers)


def _mixed(history: History, spec: FieldSpec, seed: int) -> History:
    """One field shuffled among all events of the batch; each event gets that of another one."""
    events = history.events
    present = torch.arange(events.ids.shape[1]) < history.lengths[:, None]
    where = present.nonzero()
    source = where[torch.from_numpy(_others(len(where), np.random.default_rng(seed)))]
    own = slice(spec.start, spec.start + spec.width)
    ids, numbers = events.ids.clone(), events.numbers.clone()
    changed, read = (ids, events.ids) if spec.table is not None else (numbers, events.numbers)
    changed[where[:, 0], where[:, 1], own] = read[source[:, 0], source[:, 1], own]
    return replace(history, events=Columns(ids=ids, numbers=numbers))


def _moved(source: Requests, target: Requests, name: str) -> History:
    """A history of other requests, whose events keep their distances in time to the request."""
    history = source.histories[name]
    present = torch.arange(history.times.shape[1]) < history.lengths[:, None]
    return replace(history, times=torch.where(present, history.times + (target.times - source.times)[:, None], 0))


def _with_history(batch: Batch, name: str, history: History) -> Batch:
    histories = {**batch.requests.histories, name: history}
    return replace(batch, requests=replace(batch.requests, histories=histories))


def _fields_of(inputs: Inputs, history: str) -> tuple[FieldSpec, ...]:
    return next(spec.fields for spec in inputs.histories if spec.name == history)


def _logits(ranker: Ranker, batch: Batch, task: int, device: torch.device) -> np.ndarray:
    shift = ranker.inputs.tasks[task].logit_shift
    return ranker(batch.to(device))[:, task].float().cpu().numpy() + shift


def costs(rated: Rated, shuffled: list[Shuffled], *, draws: int, seed: int) -> list[Importance]:
    """Cost of each shuffle in AUC, gAUC and log loss, with 95 % intervals over users; the dearest in AUC first.

    Rows without a label take no part.
    """
    known = ~np.isnan(rated.labels)
    whole = rated.take(known)
    systems = [whole, *(replace(whole, logits=found.logits[known]) for found in shuffled)]
    values = [quality(system) for system in systems]
    units = Units.of(whole, draws)
    replicates: list[dict[str, np.ndarray]] = []
    if draws and units.num > 1:
        samples = [Sample(system, units, full=False) for system in systems]
        replicates = replicate(samples, units.num, draws=draws, seed=seed)
    found = []
    for place, what in enumerate(shuffled, 1):
        figures = {}
        for name in METRICS:
            sign = -1.0 if name == "log_loss" else 1.0
            low, high = float("nan"), float("nan")
            if replicates:
                low, high = interval(sign * (replicates[0][name] - replicates[place][name]))
            figures[name] = (sign * (values[0][name] - values[place][name]), low, high)
        found.append(Importance(side=what.side, name=what.name, **figures))
    return sorted(found, key=lambda cost: -cost.auc[0])


def quality(rated: Rated) -> dict[str, float]:
    """AUC, gAUC and log loss of labelled rows; NaN where undefined."""
    seen = rated.take(rated.users >= 0)
    return {
        "auc": metrics.auc(rated.logits, rated.labels),
        "gauc": metrics.gauc(seen.logits, seen.labels, seen.users),
        "log_loss": metrics.log_loss(rated.logits, rated.labels),
    }
