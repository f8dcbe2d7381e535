"""Metrics of regressions: predicted values against observed ones, exact, in float64, NaN where they are undefined.

Axes: N rows, U units that are resampled, B draws.
"""

import numpy as np
from jaxtyping import Float

from hemix.evaluate.bootstrap import Rated, Units
from hemix.evaluate.metrics import Rows


def mae(predicted: Rows, observed: Rows, weights: Rows | None = None) -> float:
    """Mean absolute error, in the unit of the label.

    >>> mae(np.array([1.0, 5.0]), np.array([2.0, 2.0]))
    2.0
    """
    return _mean(np.abs(_errors(predicted, observed)), weights)


def rmse(predicted: Rows, observed: Rows, weights: Rows | None = None) -> float:
    """Root of the mean squared error, in the unit of the label.

    >>> rmse(np.array([1.0, 9.0]), np.array([2.0, 2.0]))
    5.0
    """
    return float(np.sqrt(_mean(_errors(predicted, observed) ** 2, weights)))


def mean_ratio(predicted: Rows, observed: Rows, weights: Rows | None = None) -> float:
    """Mean prediction over mean value: 1 when right on the whole, below 1 when the model predicts too little.

    >>> mean_ratio(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    0.5
    """
    whole = _mean(observed, weights)
    return _mean(predicted, weights) / whole if whole else float("nan")


def constant_rmse(observed: Rows, weights: Rows | None = None) -> float:
    """RMSE of always predicting the mean of these rows: what a model has to beat."""
    return rmse(np.full(len(observed), _mean(observed, weights)), observed, weights)


class ValueSample:
    """Rows prepared so that every metric of a resampled split is a ratio of two sums over units."""

    def __init__(self, rated: Rated, units: Units) -> None:
        weights = np.ones(len(rated)) if rated.weights is None else rated.weights.astype(np.float64)
        errors = _errors(rated.logits, rated.labels)
        columns = (np.ones(len(rated)), np.abs(errors), errors**2, rated.logits, rated.labels)
        self._sums = np.stack(
            [np.bincount(units.codes, weights * values, minlength=units.num) for values in columns], axis=1
        )

    def metrics(self, counts: Float[np.ndarray, "B U"]) -> dict[str, Float[np.ndarray, " B"]]:
        """Every metric of each draw; `counts` says how often each unit was drawn. NaN where undefined."""
        rows, absolute, squared, predicted, observed = (counts @ self._sums).T
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(observed == 0, np.nan, predicted / observed)
            return {"mae": absolute / rows, "rmse": np.sqrt(squared / rows), "mean_ratio": ratio}


def _errors(predicted: Rows, observed: Rows) -> Rows:
    return predicted.astype(np.float64) - observed


def _mean(values: Rows, weights: Rows | None) -> float:
    if not len(values) or (weights is not None and not weights.sum() > 0):
        return float("nan")
    return float(np.average(values.astype(np.float64), weights=weights))
