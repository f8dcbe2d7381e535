"""Differences of systems: found where they are, not found where they are not, refused where rows differ."""

import dataclasses
import math

import numpy as np
import pytest

from evaluate.worlds import make_runs
from hemix.errors import RunError
from hemix.evaluate import compare as compare_module
from hemix.evaluate.compare import Comparison, compare
from hemix.evaluate.evaluator import EvaluateConfig, evaluate

QUICK = EvaluateConfig(bootstrap_draws=300)


def of_metric(comparison, metric="auc"):
    return [found for found in comparison.differences if found.metric == metric]


def test_a_better_system_is_established_in_every_metric():
    found = compare(make_runs([0.3, 2.0]), QUICK)
    assert [system.name for system in found.systems] == ["system 0", "system 1"]
    assert {d.metric for d in found.differences} == {"auc", "gauc", "log_loss", "ne", "brier", "ndcg@10"}
    for difference in found.differences:
        assert (difference.system, difference.baseline) == ("system 1", "system 0")
        assert difference.method == "bootstrap"
        if difference.metric in ("auc", "gauc", "ndcg@10"):
            assert difference.established
            assert difference.better
            assert difference.low < difference.value < difference.high


def test_lower_is_better_for_losses():
    weak, strong = make_runs([0.0, 1.0])
    flat = dataclasses.replace(weak, logits=weak.logits * 3)
    found = {d.metric: d for d in compare([flat, strong], QUICK).differences}
    assert found["log_loss"].value < 0
    assert found["log_loss"].better
    assert found["log_loss"].established


def test_values_are_differences_of_the_reports():
    a, b = make_runs([0.5, 1.0])
    found = {d.metric: d.value for d in compare([a, b], QUICK).differences}
    first, second = (evaluate(run, EvaluateConfig(bootstrap_draws=0)).first for run in (a, b))
    for metric, value in found.items():
        assert value == pytest.approx(second.value(metric) - first.value(metric))


def test_pairing_makes_intervals_narrower_than_those_of_the_systems():
    a, b = make_runs([2.0, 2.1])
    b = dataclasses.replace(b, logits=(0.95 * a.logits + 0.05 * b.logits).astype(np.float32))
    found = compare([a, b], QUICK)
    (difference,) = of_metric(found)
    single = found.systems[0].metrics["auc"]
    assert difference.high - difference.low < (single.high - single.low) / 3


def test_a_system_against_itself_differs_by_nothing():
    (a,) = make_runs([1.0])
    b = dataclasses.replace(a, origin=a.origin.model_copy(update={"config": "other", "system": "other", "run": "b"}))
    for difference in compare([a, b], QUICK).differences:
        assert (difference.value, difference.low, difference.high) == (0.0, 0.0, 0.0)
        assert not difference.established
        assert not difference.better


def test_all_pairs_are_there_and_the_first_is_their_baseline():
    found = compare(make_runs([0.2, 0.5, 1.0]), QUICK)
    pairs = [(d.baseline, d.system) for d in of_metric(found)]
    assert pairs == [("system 0", "system 1"), ("system 0", "system 2"), ("system 1", "system 2")]
    assert len(found.against("system 0")) == 2 * 6


def test_seeds_of_a_system_are_one_row_with_their_spread():
    runs = make_runs([0.5, 1.0], seeds=3, seed_noise=0.5)
    found = compare(runs, QUICK)
    first = found.systems[0]
    values = [evaluate(run, EvaluateConfig(bootstrap_draws=0)).auc for run in runs[:3]]
    assert first.runs == ("run-0-0", "run-0-1", "run-0-2")
    assert first.seeds == (0, 1, 2)
    assert first.metrics["auc"].value == pytest.approx(np.mean(values))
    assert first.spread["auc"] == pytest.approx(np.std(values, ddof=1))
    assert first.rows_per_second == pytest.approx(runs[0].num_rows / 2)
    assert "users and seeds" in found.note
    single = compare([runs[0], runs[3]], QUICK)
    assert "One seed per system" in single.note
    assert math.isnan(single.systems[0].spread["auc"])


def test_noise_of_training_widens_the_interval():
    widths = []
    for noise in (0.0, 2.0):
        (difference,) = of_metric(compare(make_runs([1.0, 1.2], seeds=3, seed_noise=noise), QUICK))
        widths.append(difference.high - difference.low)
    assert widths[1] > widths[0]


def test_seeds_that_agree_add_nothing_but_scale_is_right():
    """Two seeds at +1 and -1: variance of their mean is s^2 / 2 = 1; resampling plain would give 1/2."""
    draws = [{"auc": np.full(100_000, value)} for value in (1.0, -1.0)]
    found = compare_module._over_seeds(draws, np.random.default_rng(0))["auc"]
    assert found.mean() == pytest.approx(0.0, abs=0.02)
    assert found.var() == pytest.approx(1.0, abs=0.02)
    same = compare_module._over_seeds([{"auc": np.arange(5.0)}] * 3, np.random.default_rng(0))["auc"]
    np.testing.assert_allclose(same, np.arange(5.0))


def test_one_row_per_user_uses_delong():
    runs = make_runs([0.5, 1.0], num_users=400, rows_per_user=1)
    one = np.unique(runs[0].users, return_index=True)[1]
    runs = [
        dataclasses.replace(
            run,
            logits=run.logits[one],
            labels=run.labels[one],
            users=run.users[one],
            times=run.times[one],
            requests=np.arange(len(one)),
        )
        for run in runs
    ]
    found = {d.metric: d for d in compare(runs, EvaluateConfig(bootstrap_draws=2000)).differences}
    assert found["auc"].method == "DeLong"
    assert found["log_loss"].method == "bootstrap"
    nobody = [dataclasses.replace(run, users=np.full_like(run.users, -1)) for run in runs]
    again = {d.metric: d for d in compare(nobody, EvaluateConfig(bootstrap_draws=0)).differences}
    assert again["auc"].low == found["auc"].low
    assert again["log_loss"].reason == "no draws were made"
    assert again["gauc"].reason == "gauc is undefined on these rows"
    shared = [dataclasses.replace(run, users=run.users // 2 * 2) for run in runs]
    (bootstrap,) = of_metric(compare(shared, EvaluateConfig(bootstrap_draws=2000)))
    assert bootstrap.method == "bootstrap"
    assert bootstrap.high - bootstrap.low == pytest.approx(found["auc"].high - found["auc"].low, rel=0.15)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"store": "t" * 64}, "differ in their store"),
        ({"split": "valid"}, "differ in their split: test and valid"),
        ({"tasks": ("buy",)}, "differ in their tasks"),
    ],
)
def test_other_data_is_refused(change, what):
    a, b = make_runs([0.5, 1.0], num_users=5)
    b = dataclasses.replace(b, origin=b.origin.model_copy(update=change))
    with pytest.raises(RunError, match=f"run-0-0 and run-1-0 {what}.*Evaluate both on one store and split"):
        compare([a, b], QUICK)


def test_other_rows_are_refused():
    a, b = make_runs([0.5, 1.0], num_users=5)
    with pytest.raises(RunError, match=r"differ in their rows \(labels, users, requests or times\)"):
        compare([a, dataclasses.replace(b, labels=1 - b.labels)], QUICK)
    (c,) = make_runs([1.0], num_users=4)
    with pytest.raises(RunError, match=r"differ in their number of rows"):
        compare([a, c], QUICK)


def test_too_few_systems_or_a_run_twice_are_refused():
    runs = make_runs([0.5], num_users=5, seeds=2)
    with pytest.raises(RunError, match="needs two systems; no run was given"):
        compare([], QUICK)
    with pytest.raises(RunError, match="needs two systems; all 2 runs are seeds of one: 'system 0'"):
        compare(runs, QUICK)
    with pytest.raises(RunError, match="must differ in their seeds; run-0-0, run-0-0"):
        compare([runs[0], runs[0]], QUICK)
    with pytest.raises(RunError, match="There is no task number 1; there are: click"):
        compare(runs, QUICK, task=1)


def test_two_configurations_of_one_name_are_told_apart():
    a, b = make_runs([0.5, 1.0], num_users=20)
    b = dataclasses.replace(b, origin=b.origin.model_copy(update={"system": "system 0"}))
    assert [system.name for system in compare([a, b], QUICK).systems] == ["system 0", "system 0 (run-1-0)"]


def test_unknown_labels_take_no_part():
    a, b = make_runs([0.5, 1.0])
    labels = a.labels.copy()
    labels[::2] = np.nan
    found = compare([dataclasses.replace(run, labels=labels) for run in (a, b)], QUICK)
    assert found.rows == np.isfinite(labels).sum()


def test_a_comparison_is_read_back():
    found = compare(make_runs([0.5, 1.0], num_users=20), QUICK)
    text = found.model_dump_json()
    assert Comparison.model_validate_json(text).model_dump_json() == text


@pytest.mark.slow
def test_differences_are_established_falsely_about_one_time_in_twenty():
    """Two equally good systems on 300 splits: their interval leaves out zero in some 5 % of them."""
    wrong = sum(
        of_metric(compare(make_runs([1.0, 1.0], num_users=150, seed=seed), EvaluateConfig(bootstrap_draws=400)))[
            0
        ].established
        for seed in range(300)
    )
    assert 0.015 <= wrong / 300 <= 0.09
