"""Shuffling, its costs, and what is inside: pencil values."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hemix.batch import Columns, FieldSpec, History, Requests
from hemix.data.store import Store
from hemix.evaluate.bootstrap import Rated
from hemix.explain.importance import Shuffled, _mixed, _moved, _others, costs, draw, score_shuffled
from hemix.explain.inside import _redundancy
from hemix.models.backbone import AttentionMap
from hemix.run import Run


@given(count=st.integers(2, 40), seed=st.integers(0, 99))
def test_everyone_gets_the_values_of_someone_else(count: int, seed: int) -> None:
    found = _others(count, np.random.default_rng(seed))
    assert sorted(found) == list(range(count))
    assert (found != np.arange(count)).all()


def test_costs_of_a_field_that_decides_and_of_one_that_does_not() -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 2, 600).astype(np.float64)
    users = np.repeat(np.arange(60), 10)
    logits = 4 * labels - 2
    rated = Rated(logits=logits, labels=labels, users=users, requests=users)
    idle = Shuffled(side="request", name="idle", logits=logits)
    cause = Shuffled(side="candidate", name="cause", logits=random.permutation(logits))
    first, second = costs(rated, [idle, cause], draws=200, seed=0)
    assert (first.side, first.name, second.name) == ("candidate", "cause", "idle")
    assert second.auc == second.gauc == second.log_loss == (0.0, 0.0, 0.0)
    assert first.auc[0] == pytest.approx(0.5, abs=0.06)
    for value, low, high in (first.auc, first.gauc, first.log_loss):
        assert 0 < low < value < high


def test_rows_without_label_take_no_part_and_one_user_has_no_interval() -> None:
    labels = np.array([0.0, 1.0, np.nan])
    rated = Rated(logits=np.array([0.0, 1.0, 9.0]), labels=labels, users=np.zeros(3, int), requests=np.zeros(3, int))
    (found,) = costs(rated, [Shuffled(side="request", name="a", logits=np.array([1.0, 0.0, -9.0]))], draws=50, seed=0)
    assert found.auc[0] == 1.0
    assert np.isnan(found.auc[1])


def test_events_are_mixed_within_what_is_there() -> None:
    ids = torch.tensor([[[1, 5], [2, 6], [0, 0]], [[3, 7], [0, 0], [0, 0]]], dtype=torch.int32)
    history = History(
        events=Columns(ids=ids, numbers=torch.zeros(2, 3, 0)),
        times=torch.zeros(2, 3, dtype=torch.int64),
        lengths=torch.tensor([2, 1]),
    )
    mixed = _mixed(history, FieldSpec(name="a", kind="id", start=0, table="t"), 0).events.ids
    assert (mixed[..., 1] == ids[..., 1]).all()
    there = ids[..., 0] > 0
    assert sorted(mixed[..., 0][there].tolist()) == [1, 2, 3]
    assert (mixed[..., 0][there] != ids[..., 0][there]).all()
    assert (mixed[..., 0][~there] == 0).all()


def test_a_history_of_another_request_keeps_its_distance_in_time() -> None:
    """Events 3 and 1 before a request at 10, moved to one at 50; padding stays zero."""
    history = History(
        events=Columns(ids=torch.ones(1, 3, 1, dtype=torch.int32), numbers=torch.zeros(1, 3, 0)),
        times=torch.tensor([[7, 9, 0]]),
        lengths=torch.tensor([2]),
    )
    source, target = (
        Requests(
            columns=Columns(ids=torch.zeros(1, 0, dtype=torch.int32), numbers=torch.zeros(1, 0)),
            histories={"h": history},
            users=torch.zeros(1, dtype=torch.int64),
            times=torch.tensor([time]),
        )
        for time in (10, 50)
    )
    assert _moved(source, target, "h").times.tolist() == [[47, 49, 0]]


def test_only_what_is_shuffled_moves(runs: dict[str, Run], shop: Store) -> None:
    """A variant per field and per history, of whole requests; unshuffled logits are those of an evaluation."""
    run = runs["dlrm"]
    drawn = draw(shop.split("valid", serving=True), 60, 3)
    assert 60 <= drawn.offsets[-1] < 63
    rated, shuffled = score_shuffled(run.ranker, drawn, 1, run.device)
    inputs = shop.inputs
    sides = {"request": inputs.request, "candidate": inputs.candidate}
    named = [(side, field.name) for side, fields in sides.items() for field in fields]
    for history in inputs.histories:
        named += [(history.name, "*"), *((history.name, field.name) for field in history.fields)]
    assert [(found.side, found.name) for found in shuffled] == named
    predicted = run.predict("valid")
    order = np.concatenate([drawn.view.rows(int(request)) for request in drawn.requests])
    np.testing.assert_allclose(rated.logits, predicted.logits[order, 1], atol=1e-5)
    np.testing.assert_array_equal(rated.labels, predicted.labels[order, 1])
    assert all((found.logits != rated.logits).any() for found in shuffled if found.name != "clock_weekday")


def test_redundancy_by_hand() -> None:
    """Two rows, the second without events: it takes no part. One query looks at one event, the other at both."""
    weights = torch.tensor([[[[1.0, 0.0]], [[0.5, 0.5]]], [[[0.0, 0.0]], [[0.0, 0.0]]]])
    answers = torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]]])
    queries = torch.tensor([[3.0, 0.0], [4.0, 4.0]])
    found = _redundancy([
        AttentionMap(history="h", kind="fixed", weights=weights, adds_to_one=True, answers=answers, queries=queries)
    ])  # fmt: skip
    half = pytest.approx(0.5**0.5, abs=1e-5)
    assert found.queries is not None
    assert (found.queries[0][1], found.answers[0][1], found.weights[0][1]) == (half, 0.0, half)
    assert found.events_seen == (1.0, pytest.approx(2.0))
    assert found.events == 2.0
