"""Metrics against pencil values, naive formulas written apart, and scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import ndcg_score as sklearn_ndcg

from hemix.evaluate import metrics
from hemix.evaluate.calibration import calibration, ece, equal_mass_bins


def naive_auc(scores, labels, weights):
    """Every pair of a positive and a negative row, one by one."""
    won = possible = 0.0
    for s, y, w in zip(scores, labels, weights, strict=True):
        for t, z, v in zip(scores, labels, weights, strict=True):
            if y == 1 and z == 0:
                possible += w * v
                won += w * v * (1.0 if s > t else 0.5 if s == t else 0.0)
    return won / possible if possible else math.nan


@st.composite
def tied_rows(draw, max_rows=30):
    """Few distinct scores, so that ties abound; labels, users and weights to go with them."""
    rows = draw(st.integers(1, max_rows))

    def column(values):
        return np.array(draw(st.lists(values, min_size=rows, max_size=rows)))

    scores = column(st.integers(-3, 3)).astype(np.float64) / 2
    labels = column(st.integers(0, 1)).astype(np.float64)
    return scores, labels, column(st.integers(0, 3)), column(st.integers(0, 3)).astype(np.float64)


@given(tied_rows())
def test_auc_counts_pairs(rows):
    scores, labels, _, weights = rows
    ones = np.ones(len(scores))
    np.testing.assert_allclose(metrics.auc(scores, labels), naive_auc(scores, labels, ones), atol=1e-12)
    np.testing.assert_allclose(metrics.auc(scores, labels, weights), naive_auc(scores, labels, weights), atol=1e-12)
    np.testing.assert_allclose(metrics.auc(scores, labels, ones), metrics.auc(scores, labels), atol=1e-12)


@given(tied_rows())
def test_gauc_is_the_mean_of_user_aucs_by_impressions(rows):
    scores, labels, users, weights = rows
    total = mass = 0.0
    left_out = 0
    for user in np.unique(users):
        mine = users == user
        value = naive_auc(scores[mine], labels[mine], weights[mine])
        if math.isnan(value):
            left_out += 1
        else:
            total, mass = total + value * weights[mine].sum(), mass + weights[mine].sum()
    found = metrics.grouped_auc(scores, labels, users, weights)
    assert found.left_out == left_out
    np.testing.assert_allclose(found.weighted_mean(), total / mass if mass else math.nan, atol=1e-12)
    np.testing.assert_allclose(metrics.gauc(scores, labels, users, weights), found.weighted_mean())


@given(tied_rows())
def test_monotone_transforms_change_no_ranking_metric(rows):
    scores, labels, users, weights = rows
    moved = np.exp(scores) * 3 - 1
    for metric in (metrics.auc, metrics.pr_auc):
        np.testing.assert_allclose(metric(moved, labels, weights), metric(scores, labels, weights))
    np.testing.assert_allclose(metrics.gauc(moved, labels, users), metrics.gauc(scores, labels, users))
    np.testing.assert_allclose(metrics.ndcg_at_k(moved, labels, users, 2), metrics.ndcg_at_k(scores, labels, users, 2))


@given(tied_rows(), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows, random):
    scores, labels, users, weights = rows
    order = np.array(random.sample(range(len(scores)), len(scores)))
    again = scores[order], labels[order], users[order], weights[order]
    for metric in (metrics.auc, metrics.pr_auc, metrics.log_loss, metrics.brier, metrics.copc, ece):
        before, after = metric(scores, labels, weights), metric(again[0], again[1], again[3])
        np.testing.assert_allclose(after, before, atol=1e-12)
    np.testing.assert_allclose(metrics.gauc(*again), metrics.gauc(*rows), atol=1e-12)
    np.testing.assert_allclose(metrics.ndcg_at_k(*again[:3], 3), metrics.ndcg_at_k(*rows[:3], 3), atol=1e-12)


@given(tied_rows())
def test_whole_weights_are_repetitions(rows):
    scores, labels, users, weights = rows
    times = weights.astype(np.int64)
    again = np.repeat(scores, times), np.repeat(labels, times), np.repeat(users, times)
    for metric in (
        metrics.auc,
        metrics.pr_auc,
        metrics.log_loss,
        metrics.brier,
        metrics.copc,
        metrics.normalized_entropy,
    ):
        np.testing.assert_allclose(metric(scores, labels, weights), metric(again[0], again[1]), atol=1e-12)
    np.testing.assert_allclose(metrics.gauc(scores, labels, users, weights), metrics.gauc(*again), atol=1e-12)


@given(tied_rows())
def test_flipping_scores_and_labels(rows):
    scores, labels, _, weights = rows
    flipped = 1 - metrics.auc(-scores, labels, weights)
    np.testing.assert_allclose(metrics.auc(scores, labels, weights), flipped, atol=1e-12)
    np.testing.assert_allclose(metrics.log_loss(-scores, 1 - labels), metrics.log_loss(scores, labels), atol=1e-12)
    np.testing.assert_allclose(metrics.auc(-scores, 1 - labels), metrics.auc(scores, labels), atol=1e-12)


@pytest.mark.parametrize("distinct", [5, 100, None])
def test_agrees_with_scikit_learn(distinct):
    random = np.random.default_rng(0)
    logits = random.normal(-1, 1.5, 2000)
    logits = logits if distinct is None else np.round(logits * distinct / 6) / distinct * 6
    labels = (random.random(2000) < metrics.probabilities(logits)).astype(np.float64)
    weights = random.exponential(size=2000)
    predicted = metrics.probabilities(logits)
    for mass in (None, weights):
        expected = {
            "auc": roc_auc_score(labels, logits, sample_weight=mass),
            "pr_auc": average_precision_score(labels, logits, sample_weight=mass),
            "log_loss": sklearn_log_loss(labels, predicted, sample_weight=mass),
            "brier": brier_score_loss(labels, predicted, sample_weight=mass),
        }
        found = {name: getattr(metrics, name)(logits, labels, mass) for name in expected}
        assert found == pytest.approx(expected, rel=1e-10)


@given(st.integers(2, 8), st.integers(1, 10), st.randoms(use_true_random=False))
def test_ndcg_agrees_with_scikit_learn_also_on_ties(rows, k, random):
    """scikit-learn, too, averages the gain over tied scores."""
    scores = np.array([random.randint(0, 3) for _ in range(rows)], dtype=np.float64)
    labels = np.array([1.0, 0.0] + [float(random.randint(0, 1)) for _ in range(rows - 2)])
    groups = np.zeros(rows, dtype=np.int64)
    expected = sklearn_ndcg(labels[None], scores[None], k=k)
    np.testing.assert_allclose(metrics.ndcg_at_k(scores, labels, groups, k), expected, atol=1e-12)


def test_ndcg_is_a_mean_over_requests_of_both_classes():
    """Request 1: gain at places 1 and 3 of 3, (1 + 1/2) / (1 + 1/log2 3); request 2: one class; request 3: worst."""
    scores = np.array([3.0, 2.0, 1.0, 5.0, 4.0, 2.0, 1.0])
    labels = np.array([1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0])
    requests = np.array([1, 1, 1, 2, 2, 3, 3])
    found = metrics.grouped_ndcg(scores, labels, requests, 10)
    first, last = 1.5 / (1 + 1 / math.log2(3)), 1 / math.log2(3)
    np.testing.assert_allclose(found.values, [first, math.nan, last])
    assert found.left_out == 1
    assert metrics.ndcg_at_k(scores, labels, requests, 10) == pytest.approx((first + last) / 2)
    assert metrics.ndcg_at_k(scores, labels, requests, 1) == pytest.approx(0.5)


def test_ndcg_of_constant_scores_is_that_of_a_random_order():
    """Two rows, one positive, one score: half the time first (gain 1), half the time second (1 / log2 3)."""
    value = metrics.ndcg_at_k(np.zeros(2), np.array([1.0, 0.0]), np.zeros(2, dtype=np.int64), 2)
    assert value == pytest.approx((1 + 1 / math.log2(3)) / 2)


def test_pencil_values():
    logits = np.log(np.array([0.2 / 0.8, 0.5 / 0.5, 0.8 / 0.2, 0.5 / 0.5]))
    labels = np.array([0.0, 1.0, 1.0, 0.0])
    loss = -(math.log(0.8) + math.log(0.5) + math.log(0.8) + math.log(0.5)) / 4
    assert metrics.auc(logits, labels) == 3.5 / 4
    assert metrics.log_loss(logits, labels) == pytest.approx(loss)
    assert metrics.normalized_entropy(logits, labels) == pytest.approx(loss / math.log(2))
    assert metrics.copc(logits, labels) == pytest.approx(1.0)
    assert metrics.brier(logits, labels) == pytest.approx((0.04 + 0.25 + 0.04 + 0.25) / 4)
    assert metrics.pr_auc(logits, labels) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert ece(logits, labels, num_bins=1) == pytest.approx(0.0)
    assert ece(logits, labels, num_bins=4) == pytest.approx((0.2 + 0.0 + 0.2 + 0.0) / 4)


def test_two_users_by_pencil():
    """User 1 has AUC 1 over 2 rows, user 2 has AUC 0 over 3 rows, user 3 has one class: 2 / 5."""
    scores, labels = np.array([1.0, 2.0, 1.0, 2.0, 3.0, 9.0]), np.array([0.0, 1.0, 1.0, 0.0, 0.0, 1.0])
    users = np.array([1, 1, 2, 2, 2, 3])
    found = metrics.grouped_auc(scores, labels, users)
    np.testing.assert_array_equal(found.values, [1.0, 0.0, math.nan])
    np.testing.assert_array_equal(found.weights, [2, 3, 1])
    assert metrics.gauc(scores, labels, users) == pytest.approx(0.4)


@pytest.mark.parametrize("labels", [np.zeros(3), np.ones(3), np.zeros(0)])
def test_one_class_or_no_rows_is_undefined_not_a_half(labels):
    scores, groups = np.arange(len(labels), dtype=np.float64), np.zeros(len(labels), dtype=np.int64)
    assert math.isnan(metrics.auc(scores, labels))
    assert math.isnan(metrics.auc(scores, labels, np.ones(len(labels))))
    assert math.isnan(metrics.gauc(scores, labels, groups))
    assert math.isnan(metrics.ndcg_at_k(scores, labels, groups, 5))
    assert math.isnan(metrics.normalized_entropy(scores, labels))
    assert math.isnan(metrics.pr_auc(scores, labels)) == (not labels.any())
    assert math.isnan(metrics.log_loss(scores, labels)) == (len(labels) == 0)
    assert math.isnan(ece(scores, labels)) == (len(labels) == 0)


def test_no_weight_is_undefined():
    scores, labels, none = np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.zeros(2)
    for metric in (metrics.auc, metrics.pr_auc, metrics.log_loss, metrics.brier, metrics.copc, ece):
        assert math.isnan(metric(scores, labels, none))


def test_extreme_logits_stay_finite():
    logits = np.array([-1000.0, 1000.0, 1000.0], dtype=np.float32)
    labels = np.array([0.0, 1.0, 0.0], dtype=np.float32)
    assert metrics.log_loss(logits, labels) == pytest.approx(1000 / 3)
    np.testing.assert_array_equal(metrics.probabilities(logits), [0.0, 1.0, 1.0])
    assert math.isnan(metrics.copc(logits[:1], labels[:1]))


def test_constant_scores_are_worth_one_half_whatever_the_order():
    labels = np.array([1.0, 1.0, 0.0, 0.0, 0.0])
    assert metrics.auc(np.zeros(5), labels) == metrics.auc(np.zeros(5), labels[::-1]) == 0.5
    assert metrics.pr_auc(np.zeros(5), labels) == pytest.approx(0.4)


@given(tied_rows(), st.integers(1, 8))
def test_equal_scores_share_a_bin_and_bins_rise(rows, num_bins):
    scores = rows[0]
    bins = equal_mass_bins(scores, num_bins)
    order = np.argsort(scores, kind="stable")
    steps = np.diff(bins[order])
    assert (steps >= 0).all()
    assert (steps[np.diff(scores[order]) == 0] == 0).all()
    assert len(np.unique(bins)) <= num_bins


def test_bins_have_equal_mass_without_ties():
    bins = equal_mass_bins(np.random.default_rng(1).permutation(1000).astype(np.float64), 20)
    np.testing.assert_array_equal(np.bincount(bins), np.full(20, 50))


def test_calibration_of_a_coin():
    random = np.random.default_rng(2)
    logits = random.normal(size=200_000)
    labels = (random.random(200_000) < metrics.probabilities(logits)).astype(np.float64)
    found = calibration(logits, labels)
    assert found.weights.sum() == 200_000
    np.testing.assert_allclose(found.predicted, found.observed, atol=0.02)
    assert ece(logits, labels) < 0.005
    assert ece(logits + 1, labels) > 0.1


@pytest.mark.slow
def test_auc_of_a_million_rows_is_that_of_scikit_learn():
    random = np.random.default_rng(0)
    scores = random.normal(size=1_000_000).astype(np.float32)
    labels = (random.random(1_000_000) < 0.3).astype(np.float32)
    assert metrics.auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), rel=1e-12)
