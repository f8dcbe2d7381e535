"""Taking away: against changing the batch by hand and scoring it again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from conformance.rankers import perturbed_ranker
from explain.test_gradients import means
from factories import make_batch, make_inputs, take_requests
from hemix.batch import NULL_ID, PADDING_ID, Batch, Columns, FieldSpec, History
from hemix.explain.ablation import ablate
from hemix.explain.probe import Probe
from hemix.ranker import Ranker, score_embedded

INPUTS = make_inputs()
LENGTHS = {"global": (5, 4, 1), "real_time": (2, 3, 0)}


@pytest.fixture(params=["hemix", "din", "dlrm"], scope="module")
def ranker(request: pytest.FixtureRequest) -> Ranker:
    return perturbed_ranker(request.param, INPUTS, by=0.2).eval()


def null(columns: Columns, field: FieldSpec) -> Columns:
    """The field missing in every row, by hand."""
    ids, numbers = columns.ids.clone(), columns.numbers.clone()
    if field.table is None:
        numbers[..., field.start : field.start + field.width] = torch.nan
    else:
        ids[..., field.start : field.start + field.width] = PADDING_ID
        ids[..., field.start] = NULL_ID
    return Columns(ids=ids, numbers=numbers)


def without(history: History, event: int) -> History:
    kept = [place for place in range(int(history.lengths[0])) if place != event]
    events = Columns(ids=history.events.ids[:, kept], numbers=history.events.numbers[:, kept])
    return History(events=events, times=history.times[:, kept], lengths=history.lengths - 1)


def with_history(batch: Batch, name: str, history: History) -> Batch:
    return replace(batch, requests=replace(batch.requests, histories={**batch.requests.histories, name: history}))


@torch.no_grad()
def test_every_effect(ranker: Ranker) -> None:
    batch = take_requests(make_batch(INPUTS, counts=(1, 1, 1), lengths=LENGTHS, seed=5), [1])
    baseline, x = means(ranker), ranker.embed(batch)
    chosen = {"global": [3, 0], "real_time": [1]}
    found = ablate(ranker, batch, Probe(ranker.backbone, x, 1), baseline, chosen)
    whole = ranker(batch)[0, 1]

    def effect(changed: Batch) -> float:
        return float(whole - ranker(changed)[0, 1])

    requests = {field.name: field for field in INPUTS.request}
    expected = [
        effect(replace(batch, requests=replace(batch.requests, columns=null(batch.requests.columns, requests[name]))))
        for name in x.request.names
    ]
    np.testing.assert_allclose(found.request_null, expected, atol=2e-5)
    candidates = {field.name: field for field in INPUTS.candidate}
    expected = [
        effect(replace(batch, candidates=null(batch.candidates, candidates[name]))) for name in x.candidate.names
    ]
    np.testing.assert_allclose(found.candidate_null, expected, atol=2e-5)
    for spec in INPUTS.histories:
        history = batch.requests.histories[spec.name]
        fields = {field.name: field for field in spec.fields}
        expected = [
            effect(with_history(batch, spec.name, replace(history, events=null(history.events, fields[name]))))
            for name in x.histories[spec.name][0].names
        ]
        np.testing.assert_allclose(found.event_null[spec.name], expected, atol=2e-5)
        empty = replace(history, lengths=torch.zeros_like(history.lengths))
        assert found.history[spec.name] == pytest.approx(effect(with_history(batch, spec.name, empty)), abs=2e-5)
        assert list(found.event[spec.name]) == chosen[spec.name]
        for event, value in found.event[spec.name].items():
            alone = with_history(batch, spec.name, without(history, event))
            assert value == pytest.approx(effect(alone), abs=2e-5)


@torch.no_grad()
def test_means_take_the_place_of_one_field(ranker: Ranker) -> None:
    batch = take_requests(make_batch(INPUTS, counts=(1, 1, 1), lengths=LENGTHS, seed=6), [0])
    baseline, x = means(ranker), ranker.embed(batch)
    found = ablate(ranker, batch, Probe(ranker.backbone, x, 0), baseline, {})
    start = 0
    for place, width in enumerate(x.candidate.widths):
        values = x.candidate.values.clone()
        values[:, start : start + width] = baseline.candidate[start : start + width]
        start += width
        logit = score_embedded(ranker.backbone, replace(x, candidate=replace(x.candidate, values=values)))[0, 0]
        expected = float(score_embedded(ranker.backbone, x)[0, 0] - logit)
        assert found.candidate_mean[place] == pytest.approx(expected, abs=2e-5)
    events, attended = x.histories["global"]
    values = events.values.clone()
    values[..., : events.widths[0]] = baseline.histories["global"][: events.widths[0]]
    changed = {**x.histories, "global": (replace(events, values=values), attended)}
    logit = score_embedded(ranker.backbone, replace(x, histories=changed))[0, 0]
    expected = float(score_embedded(ranker.backbone, x)[0, 0] - logit)
    assert found.event_mean["global"][0] == pytest.approx(expected, abs=2e-5)
