"""Do the predicted probabilities come true? Rows are put into bins of equal mass by score, and compared with them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from hemix.evaluate.metrics import Rows, probabilities

NUM_BINS = 20


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Bins by rising score: weight of their rows, mean prediction and share of positives."""

    weights: Float[np.ndarray, " bins"]
    predicted: Float[np.ndarray, " bins"]
    observed: Float[np.ndarray, " bins"]

    def error(self) -> float:
        """Expected calibration error: mean distance of prediction from outcome, by weight. NaN without rows."""
        if not self.weights.sum() > 0:
            return float("nan")
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.weights))


def equal_mass_bins(scores: Rows, num_bins: int) -> Int[np.ndarray, " N"]:
    """Bin of each row. Bins hold equally many rows as far as ties allow: equal scores share a bin."""
    if not len(scores):
        return np.zeros(0, dtype=np.int64)
    cuts = np.arange(1, num_bins) * len(scores) // num_bins
    edges = np.partition(scores, np.unique(cuts))[cuts]
    return np.searchsorted(np.unique(edges), scores, side="right")


def calibration(
    logits: Rows, labels: Rows, weights: Rows | None = None, *, num_bins: int = NUM_BINS, values: bool = False
) -> Calibration:
    """Reliability of the predictions in `num_bins` bins of equal mass; bins without weight are left out.

    `values`: they are values of a regression, not logits. Equal mass, not equal width: click probabilities crowd near
    zero, where bins of equal width hold nearly all rows.
    """
    bins = equal_mass_bins(logits, num_bins)
    mass = np.ones(len(logits)) if weights is None else weights
    total = np.bincount(bins, mass, minlength=1).astype(np.float64)
    used = total > 0
    scores = logits.astype(np.float64) if values else probabilities(logits)
    predicted = np.bincount(bins, mass * scores, minlength=1)[used] / total[used]
    observed = np.bincount(bins, mass * labels, minlength=1)[used] / total[used]
    return Calibration(weights=total[used], predicted=predicted, observed=observed)


def ece(logits: Rows, labels: Rows, weights: Rows | None = None, *, num_bins: int = NUM_BINS) -> float:
    """Expected calibration error over `num_bins` bins of equal mass (Naeini et al., AAAI 2015).

    >>> ece(np.array([0.0, 0.0]), np.array([0.0, 1.0]))
    0.0
    """
    return calibration(logits, labels, weights, num_bins=num_bins).error()
