"""Variance of AUCs on the same independent rows, in closed form (DeLong, DeLong and Clarke-Pearson, Biometrics 1988).

Only for rows that are independent of each other: one row per user.

Axes: S systems, N rows.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from hemix.evaluate.metrics import Rows

NORMAL_975 = 1.959963984540054


def delong(scores: Sequence[Rows], labels: Rows) -> tuple[Float[np.ndarray, " S"], Float[np.ndarray, "S S"]]:
    """AUC of each system and their covariance; NaN with fewer than two rows of a class.

    A row's placement is the share of the other class that it stands on the right side of; sorting gives all of them in
    O(N log N) (Sun and Xu, IEEE SPL 2014).
    """
    positive = labels > 0
    num_positives, num_negatives = int(positive.sum()), int((~positive).sum())
    if min(num_positives, num_negatives) < 2:
        return np.full(len(scores), np.nan), np.full((len(scores), len(scores)), np.nan)
    of_positives = np.stack([_beaten(values[positive], values[~positive]) for values in scores])
    of_negatives = 1 - np.stack([_beaten(values[~positive], values[positive]) for values in scores])
    covariance = np.cov(of_positives) / num_positives + np.cov(of_negatives) / num_negatives
    return of_positives.mean(axis=1), np.atleast_2d(covariance)


def _beaten(own: Float[np.ndarray, " A"], others: Float[np.ndarray, " B"]) -> Float[np.ndarray, " A"]:
    """Share of `others` below each of `own`, ties one half."""
    others = np.sort(others)
    return (np.searchsorted(others, own, "left") + np.searchsorted(others, own, "right")) / (2 * len(others))


def difference(scores: Sequence[Rows], labels: Rows) -> tuple[float, float, float]:
    """AUC of the first of two systems minus that of the second, with its 95 % interval."""
    aucs, covariance = delong(scores, labels)
    value = float(aucs[0] - aucs[1])
    half = NORMAL_975 * float(np.sqrt(max(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], 0.0)))
    return value, value - half, value + half
