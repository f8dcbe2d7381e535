"""Resampling: the same numbers as repeating rows, the same answer in any number of threads, and honest coverage."""

import math
import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemix.evaluate import bootstrap, metrics
from hemix.evaluate.bootstrap import Rated, Sample, Units, interval, replicate
from hemix.evaluate.calibration import ece


def simulate(num_users=40, seed=0, *, ties=False, weights=False, rows_per_user=6, spread=0.7):
    """Users with a taste of their own; requests of two rows."""
    random = np.random.default_rng(seed)
    users = np.repeat(np.arange(num_users), 1 + random.poisson(rows_per_user, num_users))
    logits = random.normal(size=len(users)) + spread * random.normal(size=num_users)[users]
    labels = (random.random(len(users)) < metrics.probabilities(logits - 1)).astype(np.float64)
    logits = logits + random.normal(size=len(users))
    return Rated(
        logits=np.round(logits) if ties else logits,
        labels=labels,
        users=users,
        requests=np.arange(len(users)) // 2,
        weights=random.exponential(size=len(users)) if weights else None,
    )


def by_repetition(rows, codes, counts):
    """Metrics of a resampled split made by hand: each copy of a user is a user of its own."""
    weights = np.ones(len(rows)) if rows.weights is None else rows.weights
    mass = weights * counts[codes]
    aucs = metrics.grouped_auc(rows.logits, rows.labels, rows.users, weights)
    times = counts[codes[np.unique(rows.users, return_index=True)[1]]]
    used = aucs.defined
    return {
        "auc": metrics.auc(rows.logits, rows.labels, mass),
        "pr_auc": metrics.pr_auc(rows.logits, rows.labels, mass),
        "log_loss": metrics.log_loss(rows.logits, rows.labels, mass),
        "ne": metrics.normalized_entropy(rows.logits, rows.labels, mass),
        "brier": metrics.brier(rows.logits, rows.labels, mass),
        "copc": metrics.copc(rows.logits, rows.labels, mass),
        "gauc": (aucs.values * aucs.weights * times)[used].sum() / (aucs.weights * times)[used].sum(),
    }


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weights", [False, True])
def test_a_draw_equals_the_metrics_of_repeated_rows(ties, weights):
    rows = simulate(ties=ties, weights=weights)
    units = Units.of(rows, 10)
    counts = np.random.default_rng(3).integers(0, 4, (5, units.num)).astype(np.float64)
    found = Sample(rows, units, ndcg_k=(2,)).metrics(counts)
    for draw in range(5):
        expected = by_repetition(rows, units.codes, counts[draw])
        assert {name: found[name][draw] for name in expected} == pytest.approx(expected, rel=1e-10)


def test_drawing_everyone_once_gives_the_metrics_themselves():
    rows = simulate(ties=True)
    found = Sample(rows, Units.of(rows, 10), ndcg_k=(1, 2)).metrics(np.ones((1, 40)))
    assert found["ece"][0] == pytest.approx(ece(rows.logits, rows.labels))
    assert found["ndcg@2"][0] == pytest.approx(metrics.ndcg_at_k(rows.logits, rows.labels, rows.requests, 2))
    assert found["gauc"][0] == pytest.approx(metrics.gauc(rows.logits, rows.labels, rows.users))


@given(st.integers(0, 1000))
def test_a_draw_takes_as_many_users_as_there_are(seed):
    counts = bootstrap._counts(17, 100, 5, seed)
    assert counts.shape == (5, 17)
    assert (counts.sum(axis=1) == 17).all()


def test_the_result_does_not_depend_on_threads(monkeypatch):
    rows = simulate()
    units = Units.of(rows, 300)
    found = []
    for cores in (1, 4):
        monkeypatch.setattr(os, "cpu_count", lambda cores=cores: cores)
        found.append(replicate([Sample(rows, units)], units.num, draws=300, seed=7)[0])
    for name, values in found[0].items():
        assert len(values) == 300
        np.testing.assert_array_equal(values, found[1][name])


def test_rows_without_users_are_resampled_by_request():
    rows = simulate()
    nobody = Rated(logits=rows.logits, labels=rows.labels, users=np.full(len(rows), -1), requests=rows.requests)
    units = Units.of(nobody, 10)
    assert units.kind == "requests"
    assert units.num == len(np.unique(rows.requests))
    np.testing.assert_array_equal(units.codes[:-1:2], units.codes[1::2][: len(units.codes[:-1:2])])
    found = Sample(nobody, units).metrics(np.ones((1, units.num)))
    assert math.isnan(found["gauc"][0])
    assert found["auc"][0] == pytest.approx(metrics.auc(rows.logits, rows.labels))


def test_pooling_changes_the_interval_little_and_the_time_a_lot(monkeypatch):
    rows = simulate(num_users=5000, rows_per_user=3)
    exact_units = Units.of(rows, 400)
    (exact,) = replicate([Sample(rows, exact_units, ndcg_k=(2,))], exact_units.num, draws=400, seed=0)
    monkeypatch.setattr(bootstrap, "EXACT_WORK", 0)
    units = Units.of(rows, 400)
    assert units.pooled
    assert units.num == bootstrap.POOLED_UNITS
    (pooled,) = replicate([Sample(rows, units, ndcg_k=(2,))], units.num, draws=400, seed=0)
    assert exact.keys() == pooled.keys()
    for name, values in exact.items():
        spread = values.std()
        assert pooled[name].std() == pytest.approx(spread, rel=0.15), name
        assert pooled[name].mean() == pytest.approx(values.mean(), abs=(0.5 if name == "ece" else 0.2) * spread), name


def test_an_interval_needs_nearly_all_draws_defined():
    values = np.arange(100.0)
    assert interval(values) == pytest.approx((2.475, 96.525))
    assert interval(np.where(values < 4, math.nan, values))[0] > 4
    assert all(math.isnan(end) for end in interval(np.where(values < 6, math.nan, values)))
    assert all(math.isnan(end) for end in interval(np.full(10, math.nan)))


@pytest.mark.slow
def test_intervals_cover_the_truth_about_as_often_as_they_say():
    """300 splits of 150 users drawn from one population: 95 % intervals of AUC and log loss hold its value."""
    population = simulate(num_users=100_000, seed=1)
    truth = {
        "auc": metrics.auc(population.logits, population.labels),
        "log_loss": metrics.log_loss(population.logits, population.labels),
    }
    held = dict.fromkeys(truth, 0)
    for seed in range(300):
        rows = simulate(num_users=150, seed=1000 + seed)
        units = Units.of(rows, 400)
        (draws,) = replicate([Sample(rows, units, full=False)], units.num, draws=400, seed=0)
        for name, value in truth.items():
            low, high = interval(draws[name])
            held[name] += low <= value <= high
    for name, count in held.items():
        assert 0.91 <= count / 300 <= 0.985, name
