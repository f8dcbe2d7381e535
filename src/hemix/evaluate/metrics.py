"""Metrics of binary predictions: exact, aware of tied scores, in float64, and NaN where they are undefined.

Axes: N rows, G groups (users or requests). `logits` are natural log odds; `scores` are anything that orders rows, since
only their order counts; `labels` are 0 or 1; `weights` are >= 0 and count a row that many times. Nothing here averages
over batches: a metric of a split is computed once, from all of its rows.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

Rows = Float[np.ndarray, " N"]
Groups = Int[np.ndarray, " N"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grouped:
    """A metric of each group, NaN where the group does not define it, and the weight of the group's rows."""

    keys: Int[np.ndarray, " G"]
    values: Float[np.ndarray, " G"]
    weights: Float[np.ndarray, " G"]

    @property
    def defined(self) -> Bool[np.ndarray, " G"]:
        return ~np.isnan(self.values)

    @property
    def left_out(self) -> int:
        """Groups that do not define the metric and take no part in a mean."""
        return int(np.isnan(self.values).sum())

    def weighted_mean(self) -> float:
        """Mean over the groups that define the metric, by the weight of their rows."""
        used = self.defined
        return _ratio(float(self.values[used] @ self.weights[used]), float(self.weights[used].sum()))

    def mean(self) -> float:
        """Plain mean over the groups that define the metric."""
        used = self.defined
        return _ratio(float(self.values[used].sum()), float(used.sum()))


@dataclass(frozen=True, kw_only=True, slots=True)
class TieRuns:
    """Rows sorted by group and falling score, cut into runs of equal score: the base of everything that ranks."""

    order: Int[np.ndarray, " N"]
    starts: Int[np.ndarray, " runs"]
    """First sorted row of each run."""
    group_starts: Int[np.ndarray, " G"]
    """First run of each group."""
    keys: Int[np.ndarray, " G"]

    def sums(self, values: Rows) -> Float[np.ndarray, " runs"]:
        """Sum of `values` (in the rows' own order) over each run."""
        return np.add.reduceat(values[self.order], self.starts) if values.size else np.zeros(0)

    def group_sums(self, run_values: Float[np.ndarray, " runs"]) -> Float[np.ndarray, " G"]:
        return np.add.reduceat(run_values, self.group_starts) if run_values.size else np.zeros(0)

    def before(self, run_values: Float[np.ndarray, " runs"]) -> Float[np.ndarray, " runs"]:
        """Sum over the runs of the same group that stand before each run (those with higher scores)."""
        running = np.cumsum(run_values) - run_values
        return running - np.repeat(running[self.group_starts], self.runs_per_group)

    @property
    def runs_per_group(self) -> Int[np.ndarray, " G"]:
        return np.diff(self.group_starts, append=len(self.starts))


def tie_runs(scores: Rows, groups: Groups | None = None) -> TieRuns:
    """Sort rows by (group, falling score) and find the runs of equal score."""
    if groups is None:
        order = np.argsort(-scores)
        sorted_groups = np.zeros(len(scores), dtype=np.int64)
    else:
        order = np.lexsort((-scores, groups))
        sorted_groups = groups[order]
    sorted_scores = scores[order]
    first = np.ones(len(scores), dtype=bool)
    first[1:] = sorted_groups[1:] != sorted_groups[:-1]
    new_group = first.copy()
    first[1:] |= sorted_scores[1:] != sorted_scores[:-1]
    starts = np.flatnonzero(first)
    group_starts = np.flatnonzero(new_group[starts])
    return TieRuns(order=order, starts=starts, group_starts=group_starts, keys=sorted_groups[starts[group_starts]])


def auc(scores: Rows, labels: Rows, weights: Rows | None = None) -> float:
    """Area under the ROC curve: how often a positive row stands above a negative one; a tie counts one half.

    NaN when one class is missing: an undefined metric is not 0.5.

    >>> auc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]))
    0.875
    """
    if weights is not None:
        return grouped_auc(scores, labels, np.zeros(len(scores), dtype=np.int64), weights).weighted_mean()
    positive = labels > 0
    above, below = np.sort(scores[positive]), np.sort(scores[~positive])
    if not len(above) or not len(below):
        return float("nan")
    pairs = int(np.searchsorted(below, above, "left").sum()) + int(np.searchsorted(below, above, "right").sum())
    return pairs / (2 * len(above) * len(below))


def grouped_auc(scores: Rows, labels: Rows, groups: Groups, weights: Rows | None = None) -> Grouped:
    """AUC within each group, by one sort; NaN for a group with one class."""
    weights = np.ones(len(scores)) if weights is None else weights.astype(np.float64)
    runs = tie_runs(scores, groups)
    total = runs.sums(weights)
    positives = runs.sums(weights * (labels > 0))
    negatives = total - positives
    pairs = runs.group_sums(negatives * (runs.before(positives) + positives / 2))
    possible = runs.group_sums(positives) * runs.group_sums(negatives)
    values = np.divide(pairs, possible, out=np.full(len(possible), np.nan), where=possible > 0)
    return Grouped(keys=runs.keys, values=values, weights=runs.group_sums(total))


def gauc(scores: Rows, labels: Rows, users: Groups, weights: Rows | None = None) -> float:
    """User AUC weighted by impressions (Zhu et al., arXiv:1706.06978, eq. 8); users with one class are left out.

    >>> gauc(np.array([1.0, 2.0, 1.0, 2.0, 3.0]), np.array([0.0, 1.0, 1.0, 0.0, 0.0]), np.array([7, 7, 9, 9, 9]))
    0.4
    """
    return grouped_auc(scores, labels, users, weights).weighted_mean()


def grouped_ndcg(scores: Rows, labels: Rows, groups: Groups, k: int) -> Grouped:
    """NDCG@k within each group; NaN for a group with one class, where every order is as good as any other.

    Rows with equal scores have no order, so their gain is its expectation over all of their orders.
    """
    runs = tie_runs(scores, groups)
    sizes = np.diff(runs.starts, append=len(scores)).astype(np.float64)
    gains = runs.sums((labels > 0).astype(np.float64))
    top = np.minimum(runs.before(sizes), k).astype(np.int64)
    bottom = np.minimum(runs.before(sizes) + sizes, k).astype(np.int64)
    discounts = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, k + 2)))])
    reached = runs.group_sums(gains / sizes * (discounts[bottom] - discounts[top]))
    positives, rows = runs.group_sums(gains), runs.group_sums(sizes)
    best = discounts[np.minimum(positives, k).astype(np.int64)]
    mixed = (positives > 0) & (positives < rows)
    values = np.divide(reached, best, out=np.full(len(best), np.nan), where=mixed)
    return Grouped(keys=runs.keys, values=values, weights=rows)


def ndcg_at_k(scores: Rows, labels: Rows, groups: Groups, k: int) -> float:
    """Mean NDCG@k over the groups that hold both classes.

    >>> round(ndcg_at_k(np.array([3.0, 2.0, 1.0]), np.array([0.0, 1.0, 0.0]), np.array([0, 0, 0]), k=2), 6)
    0.63093
    """
    return grouped_ndcg(scores, labels, groups, k).mean()


def pr_auc(scores: Rows, labels: Rows, weights: Rows | None = None) -> float:
    """Average precision: precision at each distinct score, weighted by the recall gained there. NaN without positives.

    >>> round(pr_auc(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])), 6)
    0.833333
    """
    weights = np.ones(len(scores)) if weights is None else weights.astype(np.float64)
    runs = tie_runs(scores)
    positives = runs.sums(weights * (labels > 0))
    if not positives.sum() > 0:
        return float("nan")
    selected = np.cumsum(runs.sums(weights))
    precision = np.divide(np.cumsum(positives), selected, out=np.zeros(len(selected)), where=selected > 0)
    return float(positives @ precision / positives.sum())


def probabilities(logits: Rows) -> Rows:
    """Logistic function in float64, without overflow."""
    return np.exp(-np.logaddexp(0.0, -logits.astype(np.float64)))


def row_log_loss(logits: Rows, labels: Rows) -> Rows:
    """Log loss of each row in nats, from logits: exact where a probability would round to 0 or 1."""
    logits = logits.astype(np.float64)
    return np.logaddexp(0.0, logits) - labels * logits


def log_loss(logits: Rows, labels: Rows, weights: Rows | None = None) -> float:
    """Mean negative log likelihood in nats.

    >>> round(log_loss(np.array([0.0, 0.0]), np.array([0.0, 1.0])), 6)
    0.693147
    """
    return _mean(row_log_loss(logits, labels), weights)


def base_rate(labels: Rows, weights: Rows | None = None) -> float:
    """Share of positive rows."""
    return _mean(labels.astype(np.float64), weights)


def entropy(rate: float) -> float:
    """Entropy of a coin with this rate in nats: the log loss of always predicting the base rate."""
    if not 0 < rate < 1:
        return 0.0 if rate in (0.0, 1.0) else float("nan")
    return float(-(rate * np.log(rate) + (1 - rate) * np.log1p(-rate)))


def normalized_entropy(logits: Rows, labels: Rows, weights: Rows | None = None) -> float:
    """Log loss over that of always predicting the base rate of these rows (He et al., ADKDD 2014); below 1 is better.

    NaN when one class is missing.
    """
    return _ratio(log_loss(logits, labels, weights), entropy(base_rate(labels, weights)))


def brier(logits: Rows, labels: Rows, weights: Rows | None = None) -> float:
    """Mean squared distance of the predicted probability from the label."""
    return _mean((probabilities(logits) - labels) ** 2, weights)


def copc(logits: Rows, labels: Rows, weights: Rows | None = None) -> float:
    """Clicks over predicted clicks: 1 when calibrated on the whole, above 1 when the model predicts too little."""
    return _ratio(_sum(labels.astype(np.float64), weights), _sum(probabilities(logits), weights))


def _sum(values: Rows, weights: Rows | None) -> float:
    return float(values.sum() if weights is None else values @ weights)


def _mean(values: Rows, weights: Rows | None) -> float:
    return _ratio(_sum(values, weights), float(len(values) if weights is None else weights.sum()))


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")
