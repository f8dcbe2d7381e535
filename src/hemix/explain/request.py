"""One request explained: why a candidate got its score, and why another got a different one."""

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch

from hemix.batch import Inputs
from hemix.data.decode import UNKNOWN
from hemix.data.store import Store
from hemix.errors import ConfigError, unknown_name
from hemix.explain.ablation import Effects, ablate
from hemix.explain.baseline import Baseline, training_mean
from hemix.explain.case import Candidate, Case, Events, RequestKey
from hemix.explain.gradients import Contributions, integrated_gradients
from hemix.explain.inside import field_gates
from hemix.explain.probe import Probe
from hemix.explain.report import (
    Attention,
    Difference,
    Event,
    EventFieldEffect,
    Explained,
    FieldEffect,
    HistoryEffect,
    RequestReport,
)
from hemix.models import Attentive
from hemix.nn.ragged import Ragged
from hemix.ranker import Embedded, Ranker, encode_embedded
from hemix.run.model_file import check_encoder
from hemix.run.run import Run, Split

TOP_EVENTS = 10
"""Events of each history, those that contribute most, that are also taken away one by one."""
BEST = 10


_KNOWN: WeakKeyDictionary[Run, dict[str, Baseline]] = WeakKeyDictionary()
"""Baselines by store: the same for every request that a run is asked about, and half the work of explaining one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Question:
    """What all candidates of one explanation share."""

    case: Case
    ranker: Ranker
    baseline: Baseline
    task: int
    logits: np.ndarray
    """(N,) of the candidates that the request showed."""


def explain_request(
    run: Run,
    request: str,
    candidates: Sequence[str] = (),
    *,
    split: Split = "valid",
    task: str | None = None,
    store: Store | None = None,
) -> RequestReport:
    """Explain the score of one candidate of a request, or of two and what sets them apart.

    `request` is ``user=KEY``, ``user=KEY,time=TIME`` or ``row=NUMBER`` of the split. `candidates` are the raw keys of
    one or two items of the catalog; none: the candidate of the row, else the one with the highest score. `task` of None
    is the first. Raises InputError for a user, request or item that is not there, ConfigError for an unknown task or
    candidates that are not one or two different ones.
    """
    store = run.store if store is None else store
    check_encoder(run.folder, store)
    place = task_place(store.inputs, task)
    if len(candidates) > 2 or len(set(candidates)) < len(candidates):
        raise ConfigError(
            f"One candidate is explained, or two different ones are compared; got {', '.join(map(repr, candidates))}."
        )
    key = RequestKey.parse(request)
    case = Case(store, split, key)
    ranker = run.ranker
    asked = [case.candidate(item) for item in candidates]
    with torch.inference_mode():
        logits = ranker(case.batch.to(run.device))[:, place].double().cpu().numpy()
    logits += store.inputs.tasks[place].logit_shift
    if not asked:
        asked = [case.shown(int(np.argmax(logits)) if key.row is None else int(np.searchsorted(case.rows, key.row)))]
    known = _KNOWN.setdefault(run, {})
    if store.hash not in known:
        known[store.hash] = training_mean(ranker, store)
    question = _Question(case=case, ranker=ranker, baseline=known[store.hash], task=place, logits=logits)
    explained = tuple(_explain(question, found) for found in asked)
    histories = {name: case.events(name) for name in ranker.embedding.layouts.histories}
    best = np.argsort(-logits, kind="stable")[:BEST]
    return RequestReport(
        run=run.path.name, model=ranker.config.name, store=store.hash, split=split, task=store.inputs.tasks[place].name,
        user=case.user, time=case.time, candidates=len(logits),
        best=tuple((case.items[index], _probability(float(logits[index]))) for index in best),
        histories={name: _events(found) for name, found in histories.items()},
        explained=explained,
        differences=_differences(*explained) if len(explained) == 2 else (),
        notes=tuple(_notes(question, asked, explained[0])),
    )  # fmt: skip


def task_place(inputs: Inputs, task: str | None) -> int:
    """Number of a task; None: the first. Raises ConfigError for an unknown one, or a regression."""
    names = [spec.name for spec in inputs.tasks]
    if task is not None and task not in names:
        raise unknown_name("task", task, names)
    place = 0 if task is None else names.index(task)
    if inputs.tasks[place].kind != "binary":
        binary = ", ".join(spec.name for spec in inputs.tasks if spec.kind == "binary")
        raise ConfigError(
            f"What is explained is the logit of a label of 0 and 1; {names[place]!r} is a regression. Labels that can "
            f"be explained: {binary or 'none'}."
        )
    return place


def _explain(question: _Question, candidate: Candidate) -> Explained:
    case, ranker = question.case, question.ranker
    batch = case.batch_of(candidate).to(next(ranker.parameters()).device)
    with torch.no_grad():
        x = ranker.embed(batch)
    probe = Probe(ranker.backbone, x, question.task)
    gained = integrated_gradients(probe, question.baseline)
    by_event = {name: values.sum(axis=1) for name, values in gained.events.items()}
    strongest = {name: np.argsort(-np.abs(sums))[:TOP_EVENTS].tolist() for name, sums in by_event.items()}
    effects = ablate(ranker, batch, probe, question.baseline, strongest)
    shift = case.store.inputs.tasks[question.task].logit_shift
    logit = gained.logit + shift
    labels = case.batch.labels
    label = float("nan") if labels is None or candidate.place is None else float(labels[candidate.place, question.task])
    others = np.delete(question.logits, [] if candidate.place is None else [candidate.place])
    return Explained(
        item=candidate.item,
        row=None if candidate.place is None else int(case.rows[candidate.place]),
        label=None if np.isnan(label) else label,
        logit=logit,
        probability=_probability(logit),
        place=1 + int((others > logit).sum()),
        missing=candidate.missing,
        baseline=gained.baseline + shift,
        residual=gained.residual,
        steps=gained.steps,
        fields=_field_effects(case, candidate, x, gained, effects),
        histories=tuple(_history_effect(x, name, gained, effects) for name in x.histories),
        attention=attention_of(ranker, x),
        gates=field_gates(ranker, [x]),
    )


def _field_effects(
    case: Case, candidate: Candidate, x: Embedded, gained: Contributions, effects: Effects
) -> tuple[FieldEffect, ...]:
    sides = (
        ("request", x.request.names, case.request_values(), gained.request, effects.request_mean, effects.request_null),
        ("candidate", x.candidate.names, case.candidate_values(candidate), gained.candidate, effects.candidate_mean,
         effects.candidate_null),
    )  # fmt: skip
    return tuple(
        FieldEffect(
            side=side, name=name, value=values[name], contribution=float(contribution), against_mean=float(mean),
            against_null=float(null),
        )
        for side, names, values, *figures in sides
        for name, contribution, mean, null in zip(names, *figures, strict=True)
    )  # fmt: skip


def _history_effect(x: Embedded, name: str, gained: Contributions, effects: Effects) -> HistoryEffect:
    values = gained.events[name]
    figures = zip(
        x.histories[name][0].names, values.sum(axis=0), effects.event_mean[name], effects.event_null[name], strict=True
    )
    return HistoryEffect(
        name=name,
        contribution=float(values.sum()),
        without=effects.history[name],
        fields=tuple(
            EventFieldEffect(name=field, contribution=float(c), against_mean=float(mean), against_null=float(null))
            for field, c, mean, null in figures
        ),
        events=tuple(values.sum(axis=1).tolist()),
        without_event=effects.event[name],
    )


@torch.no_grad()
def attention_of(ranker: Ranker, x: Embedded) -> tuple[Attention, ...]:
    """Where the queries of a batch of one row look."""
    backbone = ranker.backbone
    if not isinstance(backbone, Attentive):
        return ()
    maps = backbone.attention(encode_embedded(backbone, x), x.candidate, Ragged(x.offsets, 1))
    return tuple(
        Attention(
            history=found.history,
            kind=found.kind,
            query=query,
            adds_to_one=found.adds_to_one,
            weights=tuple(weights.mean(dim=0).tolist()),
        )
        for found in maps
        for query, weights in enumerate(found.weights[0])
    )


def _events(found: Events) -> tuple[Event, ...]:
    rows = zip(*found.features.values(), strict=True) if found.features else [()] * len(found.items)
    return tuple(
        Event(item=item, time=time, values=dict(zip(found.features, row, strict=True)))
        for item, time, row in zip(found.items, found.times, rows, strict=True)
    )


def _differences(first: Explained, second: Explained) -> tuple[Difference, ...]:
    """By field and by event, the largest first."""
    found = [
        Difference(side=a.side, name=a.name, first=a.value, second=b.value, difference=a.contribution - b.contribution)
        for a, b in zip(first.fields, second.fields, strict=True)
    ]
    for a, b in zip(first.histories, second.histories, strict=True):
        for place, (ours, theirs) in enumerate(zip(a.events, b.events, strict=True)):
            found.append(Difference(side=a.name, name=str(place), first=None, second=None, difference=ours - theirs))
    return tuple(sorted(found, key=lambda difference: -abs(difference.difference)))


def _notes(question: _Question, candidates: Sequence[Candidate], explained: Explained) -> list[str]:
    """What a reader must know to trust the figures."""
    case, ranker = question.case, question.ranker
    notes = []
    if not explained.attention:
        notes.append(f"{ranker.config.name} has no attention: there are no weights of events to show.")
    unknown = [name for name, value in case.request_values().items() if value == UNKNOWN]
    if unknown:
        notes.append(
            f"The request has values that the model did not see in training: {', '.join(unknown)}. They share the "
            f"vector of all unknown values."
        )
    for candidate in candidates:
        if candidate.missing:
            notes.append(
                f"Item {candidate.item!r} was not shown in this request, so these fields are missing: "
                f"{', '.join(candidate.missing)}."
            )
        elif candidate.place is None:
            notes.append(f"Item {candidate.item!r} was not shown in this request.")
        fields = [name for name, value in case.candidate_values(candidate).items() if value == UNKNOWN]
        if fields:
            notes.append(f"Item {candidate.item!r} has values that the model did not see: {', '.join(fields)}.")
    lengths = {name: int(case.batch.requests.histories[name].lengths[0]) for name in ranker.embedding.layouts.histories}
    return notes + [f"The history {name!r} is empty at this time." for name, length in lengths.items() if not length]


def _probability(logit: float) -> float:
    return float(1 / (1 + np.exp(-float(logit))))
