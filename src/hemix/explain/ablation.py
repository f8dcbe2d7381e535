"""What happens to a score when something is taken away: one field, one history, one event at a time.

Unlike contributions these effects need not add up: two fields that say the same each look dispensable.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hemix.batch import NULL_ID, PADDING_ID, Batch, Columns, FieldSpec, History
from hemix.explain.baseline import Baseline
from hemix.explain.probe import Probe, Variants
from hemix.nn.fields import Fields
from hemix.ranker import Ranker


@dataclass(frozen=True, kw_only=True, slots=True)
class Effects:
    """Logit minus the logit without: above zero where the thing raises the score. Fields in embedded order."""

    request_mean: Float[np.ndarray, " F"]
    """Without: with its mean vector in training."""
    request_null: Float[np.ndarray, " F"]
    """Without: as if its value were missing."""
    candidate_mean: Float[np.ndarray, " G"]
    candidate_null: Float[np.ndarray, " G"]
    event_mean: dict[str, Float[np.ndarray, " _"]]
    """Of a field in all events of a history."""
    event_null: dict[str, Float[np.ndarray, " _"]]
    history: dict[str, float]
    """Without: as if the user had no such history."""
    event: dict[str, dict[int, float]]
    """Without: as if that event had not been; of the chosen events."""


def ablate(ranker: Ranker, batch: Batch, probe: Probe, baseline: Baseline, events: dict[str, Sequence[int]]) -> Effects:
    """Take away every field and history of the probe's row, and the named `events` of each history.

    `batch` is what the probe's vectors were embedded from.
    """
    x, embedding = probe.x, ranker.embedding
    whole = probe.logits(Variants(candidate=x.candidate.values))[0]

    def effect(variants: Variants) -> np.ndarray:
        return (whole - probe.logits(variants)).double().cpu().numpy()

    requests = _nulled(batch.requests.columns, ranker.inputs.request, x.request.names)
    candidates = _nulled(batch.candidates, ranker.inputs.candidate, x.candidate.names)
    means, nulls, without, single = {}, {}, {}, {}
    for spec in ranker.inputs.histories:
        if spec.name not in x.histories:
            continue
        values, attended = x.histories[spec.name]
        means[spec.name] = effect(Variants(events={spec.name: _averaged(values, baseline.histories[spec.name])}))
        history = batch.requests.histories[spec.name]
        columns = _nulled(history.events, spec.fields, values.names)
        times, lengths = (x.expand(len(values.names), *x.shape[1:]) for x in (history.times, history.lengths))
        missing, _ = embedding.history(spec.name, History(events=columns, times=times, lengths=lengths))
        nulls[spec.name] = effect(Variants(events={spec.name: missing.values}))
        without[spec.name] = float(effect(Variants(attended={spec.name: torch.zeros_like(attended)}))[0])
        single[spec.name] = _without_events(effect, spec.name, attended, events.get(spec.name, ()))
    return Effects(
        request_mean=effect(Variants(request=_averaged(x.request, baseline.request))),
        request_null=effect(Variants(request=embedding.request(requests).values)),
        candidate_mean=effect(Variants(candidate=_averaged(x.candidate, baseline.candidate))),
        candidate_null=effect(Variants(candidate=embedding.candidate(candidates).values)),
        event_mean=means,
        event_null=nulls,
        history=without,
        event=single,
    )


def _without_events(
    effect: Callable[[Variants], np.ndarray], history: str, attended: Bool[Tensor, "1 T"], events: Sequence[int]
) -> dict[int, float]:
    seen = attended.repeat(len(events), 1)
    seen[torch.arange(len(events)), list(events)] = False
    return dict(zip(events, effect(Variants(attended={history: seen})).tolist(), strict=True))


def _averaged(fields: Fields, mean: Float[Tensor, " W"]) -> Float[Tensor, "F *rows W"]:
    """A copy per field, in which that field has its mean vector."""
    copies = fields.values.repeat(len(fields.names), *[1] * (fields.values.dim() - 1))
    start = 0
    for copy, width in zip(copies, fields.widths, strict=True):
        copy[..., start : start + width] = mean[start : start + width]
        start += width
    return copies


def _nulled(columns: Columns, specs: Sequence[FieldSpec], names: Sequence[str]) -> Columns:
    """A copy of one row (or one history) per named field, in which that field is missing."""
    known = {spec.name: spec for spec in specs}
    ids = columns.ids.repeat(len(names), *[1] * (columns.ids.dim() - 1))
    numbers = columns.numbers.repeat(len(names), *[1] * (columns.numbers.dim() - 1))
    for place, name in enumerate(names):
        spec = known[name]
        own = slice(spec.start, spec.start + spec.width)
        if spec.table is None:
            numbers[place, ..., own] = torch.nan
        else:
            ids[place, ..., own] = PADDING_ID
            ids[place, ..., spec.start] = NULL_ID
    return Columns(ids=ids, numbers=numbers)
