"""DeLong's covariance against its definition, pair by pair."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemix.evaluate import metrics
from hemix.evaluate.delong import delong, difference


def by_definition(scores, labels):
    """Structural components of DeLong et al. (1988), eq. 4-6: every pair, one by one."""
    positives, negatives = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    m, n, systems = len(positives), len(negatives), len(scores)
    kernel = np.zeros((systems, m, n))
    for s, values in enumerate(scores):
        for i, p in enumerate(positives):
            for j, q in enumerate(negatives):
                kernel[s, i, j] = 1.0 if values[p] > values[q] else 0.5 if values[p] == values[q] else 0.0
    areas = kernel.mean(axis=(1, 2))
    v10, v01 = kernel.mean(axis=2), kernel.mean(axis=1)
    covariance = np.zeros((systems, systems))
    for a in range(systems):
        for b in range(systems):
            s10 = ((v10[a] - areas[a]) * (v10[b] - areas[b])).sum() / (m - 1)
            s01 = ((v01[a] - areas[a]) * (v01[b] - areas[b])).sum() / (n - 1)
            covariance[a, b] = s10 / m + s01 / n
    return areas, covariance


@given(st.integers(0, 10_000), st.integers(4, 25), st.booleans())
def test_equals_the_definition(seed, rows, ties):
    random = np.random.default_rng(seed)
    labels = np.concatenate([[0, 0, 1, 1], random.integers(0, 2, rows - 4)]).astype(np.float64)
    scores = [random.normal(size=rows) + labels * strength for strength in (0.0, 1.0, 2.0)]
    scores = [np.round(values) for values in scores] if ties else scores
    areas, covariance = delong(scores, labels)
    expected_areas, expected = by_definition(scores, labels)
    np.testing.assert_allclose(areas, expected_areas, atol=1e-12)
    np.testing.assert_allclose(covariance, expected, atol=1e-12)
    assert areas[0] == pytest.approx(metrics.auc(scores[0], labels))


def test_a_system_differs_from_itself_by_nothing():
    random = np.random.default_rng(0)
    scores, labels = random.normal(size=50), (random.random(50) < 0.5).astype(np.float64)
    assert difference([scores, scores], labels) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("labels", [[1.0, 0.0, 0.0], [1.0, 1.0, 1.0], []])
def test_fewer_than_two_rows_of_a_class_are_undefined(labels):
    labels = np.array(labels)
    areas, covariance = delong([np.arange(len(labels)) * 1.0], labels)
    assert np.isnan(areas).all()
    assert np.isnan(covariance).all()
