"""How far a metric could have come out otherwise: resampling of users, all metrics at once.

Rows of one user are not independent, so users are drawn, not rows: each of B draws takes U of U users with
replacement, and a row counts as often as its user was drawn. Sums over users (log loss, gAUC, NDCG ...) are then one
matrix product; AUC, average precision and ECE cost one walk over rows that were sorted once.

When rows x draws is beyond `EXACT_WORK`, users are pooled into `POOLED_UNITS` random blocks of equal size and scores
into `POOLED_BINS` bins of equal mass, for the draws only: time no longer grows with the rows, the value itself stays
exact, and the interval is that of a bootstrap over blocks (its width has a relative error of about 2 %).

Axes: N rows, U units (users, or requests where there is no user), B draws of one chunk.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Int

from hemix.batch import LabelKind
from hemix.evaluate.calibration import NUM_BINS, equal_mass_bins
from hemix.evaluate.metrics import Rows, grouped_auc, grouped_ndcg, probabilities, row_log_loss

EXACT_WORK = 400_000_000
POOLED_UNITS = 1_000
POOLED_BINS = 1_000
CHUNK_COUNTS = 4_000_000
CACHE_CELLS = 50_000
LEVEL = 0.95
MIN_DEFINED = 0.95
"""Share of draws that must define a metric for its interval to be given."""

Counts = Float[np.ndarray, "B U"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rated:
    """Rows of one label with everything a metric may ask for; `weights` of None count each row once."""

    logits: Rows
    """Of a regression: values."""
    labels: Rows
    users: Int[np.ndarray, " N"]
    requests: Int[np.ndarray, " N"]
    weights: Rows | None = None
    kind: LabelKind = "binary"

    def __len__(self) -> int:
        return len(self.logits)

    def take(self, rows: np.ndarray) -> "Rated":
        """Those rows only (a mask or indices)."""
        return Rated(
            logits=self.logits[rows],
            labels=self.labels[rows],
            users=self.users[rows],
            requests=self.requests[rows],
            weights=None if self.weights is None else self.weights[rows],
            kind=self.kind,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Units:
    """What is resampled: the unit of each row, and how many there are."""

    codes: Int[np.ndarray, " N"]
    num: int
    kind: str
    """users, or requests where rows have no user; groups of them where they are pooled."""
    pooled: bool

    @classmethod
    def of(cls, rated: Rated, draws: int, *, whole: int | None = None) -> "Units":
        """Users; a request without a user is a unit of its own. Pooled when drawing each would take too long.

        `whole`: rows that are drawn from in all, where `rated` is one of many parts.
        """
        own = np.where(rated.users >= 0, rated.users.astype(np.int64), -1 - rated.requests.astype(np.int64))
        keys, codes = np.unique(own, return_inverse=True)
        kind = "users" if (keys >= 0).any() else "requests"
        pooled = (whole or len(codes)) * draws > EXACT_WORK
        if not pooled or len(keys) <= POOLED_UNITS:
            return cls(codes=codes, num=len(keys), kind=kind, pooled=pooled)
        block = np.random.default_rng(0).permutation(len(keys)) % POOLED_UNITS
        return cls(codes=block[codes], num=POOLED_UNITS, kind=f"groups of {kind}", pooled=pooled)


class Sample:
    """Rows prepared so that every metric of a resampled split is quick to get.

    `ndcg_k`: the cuts of NDCG. With `full`, average precision and ECE are given too.
    """

    def __init__(self, rated: Rated, units: Units, *, ndcg_k: tuple[int, ...] = (), full: bool = True) -> None:
        self._full = full
        self._sums = _unit_sums(rated, units, ndcg_k)
        self._names = list(self._sums)
        self._matrix = np.stack([self._sums[name] for name in self._names], axis=1)
        self._ndcg_k = ndcg_k
        self._ranking = _Histogram(rated, units) if units.pooled else _Sorted(rated, units)

    def metrics(self, counts: Counts) -> dict[str, Float[np.ndarray, " B"]]:
        """Every metric of each draw; `counts` says how often each unit was drawn. NaN where undefined."""
        total = dict(zip(self._names, (counts @ self._matrix).T, strict=True))
        with np.errstate(divide="ignore", invalid="ignore"):
            rate = total["labels"] / total["rows"]
            loss = total["loss"] / total["rows"]
            entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
            found = {"gauc": total["gauc"] / total["gauc rows"], "log_loss": loss, "ne": loss / entropy}
            for k in self._ndcg_k:
                found[f"ndcg@{k}"] = total[f"ndcg@{k}"] / total[f"ndcg@{k} groups"]
            found["brier"] = total["squares"] / total["rows"]
            found["copc"] = total["labels"] / total["predicted"]
            return found | self._ranking.metrics(counts, full=self._full)


def _unit_sums(rated: Rated, units: Units, ndcg_k: tuple[int, ...]) -> dict[str, Float[np.ndarray, " U"]]:
    """Sums over the rows of each unit, from which all metrics that are ratios of sums follow."""
    weights = np.ones(len(rated)) if rated.weights is None else rated.weights.astype(np.float64)
    predicted = probabilities(rated.logits)

    def per_unit(values: np.ndarray, codes: np.ndarray = units.codes) -> np.ndarray:
        return np.bincount(codes, values, minlength=units.num).astype(np.float64)

    sums = {
        "rows": per_unit(weights),
        "labels": per_unit(weights * rated.labels),
        "loss": per_unit(weights * row_log_loss(rated.logits, rated.labels)),
        "predicted": per_unit(weights * predicted),
        "squares": per_unit(weights * (predicted - rated.labels) ** 2),
    }
    known = rated.users >= 0
    by_user = grouped_auc(rated.logits[known], rated.labels[known], rated.users[known], weights[known])
    unit_of_user = units.codes[known][np.unique(rated.users[known], return_index=True)[1]]
    used = by_user.defined
    sums["gauc"] = per_unit((by_user.values * by_user.weights)[used], unit_of_user[used])
    sums["gauc rows"] = per_unit(by_user.weights[used], unit_of_user[used])
    unit_of_request = units.codes[np.unique(rated.requests, return_index=True)[1]]
    for k in ndcg_k:
        by_request = grouped_ndcg(rated.logits, rated.labels, rated.requests, k)
        used = by_request.defined
        sums[f"ndcg@{k}"] = per_unit(by_request.values[used], unit_of_request[used])
        sums[f"ndcg@{k} groups"] = per_unit(used[used].astype(np.float64), unit_of_request[used])
    return sums


class _Class:
    """Rows of one class by falling score."""

    def __init__(self, rated: Rated, units: Units, rows: Int[np.ndarray, " C"], bins: Int[np.ndarray, " N"]) -> None:
        order = rows[np.argsort(-rated.logits[rows])]
        self.falling = -rated.logits[order]
        self.residuals = probabilities(rated.logits[order]) - rated.labels[order]
        self.bin_ends = np.searchsorted(-bins[order], -np.arange(NUM_BINS + 1)[::-1], side="right")
        self._units = units.codes[order]
        self._weights = None if rated.weights is None else rated.weights[order].astype(np.float64)

    def mass(self, counts: Counts) -> Float[np.ndarray, "B C"]:
        drawn = counts.take(self._units, axis=1)
        return drawn if self._weights is None else drawn * self._weights

    def residual_sums(self, mass: Float[np.ndarray, "B C"]) -> Float[np.ndarray, "B bins"]:
        """Prediction minus outcome, summed over each calibration bin."""
        return np.diff(_running(mass * self.residuals).take(self.bin_ends, axis=1), axis=1)


class _Sorted:
    """The exact ranking metrics of a draw by one walk over each class.

    Positives above a negative stand before it in falling order, so that their mass is one entry of a running sum.
    """

    def __init__(self, rated: Rated, units: Units) -> None:
        bins = equal_mass_bins(rated.logits, NUM_BINS)
        self._positives = _Class(rated, units, np.flatnonzero(rated.labels > 0), bins)
        self._negatives = _Class(rated, units, np.flatnonzero(~(rated.labels > 0)), bins)
        positives, negatives = self._positives.falling, self._negatives.falling
        self._above = np.searchsorted(positives, negatives, "left")
        reached = np.searchsorted(positives, negatives, "right")
        self._tied = np.flatnonzero(reached > self._above)
        self._tied_above, self._tied_reached = self._above[self._tied], reached[self._tied]
        self._hits_at = np.searchsorted(positives, positives, "right")
        self._misses_at = np.searchsorted(negatives, positives, "right")
        self._draws = max(1, CACHE_CELLS // len(rated))

    def metrics(self, counts: Counts, *, full: bool) -> dict[str, Float[np.ndarray, " B"]]:
        found = [self._block(counts[i : i + self._draws], full) for i in range(0, len(counts), self._draws)]
        return {name: np.concatenate([values[name] for values in found]) for name in found[0]}

    def _block(self, counts: Counts, full: bool) -> dict[str, Float[np.ndarray, " B"]]:
        """Few enough draws to stay in the cache."""
        hits, misses = self._positives.mass(counts), self._negatives.mass(counts)
        hit_sums = _running(hits)
        positives, negatives = hit_sums[:, -1], misses.sum(axis=1)
        pairs = _dot(misses, hit_sums.take(self._above, axis=1))
        if len(self._tied):
            half = hit_sums.take(self._tied_reached, axis=1) - hit_sums.take(self._tied_above, axis=1)
            pairs += _dot(misses.take(self._tied, axis=1), half) / 2
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {"auc": pairs / (positives * negatives)}
            if full:
                reached = hit_sums.take(self._hits_at, axis=1)
                selected = reached + _running(misses).take(self._misses_at, axis=1)
                precision = np.divide(reached, selected, out=np.zeros_like(reached), where=selected > 0)
                found["pr_auc"] = _dot(hits, precision) / positives
                gaps = self._positives.residual_sums(hits) + self._negatives.residual_sums(misses)
                found["ece"] = np.abs(gaps).sum(axis=1) / (positives + negatives)
        return found


def _running(values: Float[np.ndarray, "B C"]) -> Float[np.ndarray, "B C+1"]:
    """Sums of the first 0, 1, 2 ... values of each row."""
    sums = np.zeros((values.shape[0], values.shape[1] + 1))
    np.cumsum(values, axis=1, out=sums[:, 1:])
    return sums


def _dot(a: Float[np.ndarray, "B C"], b: Float[np.ndarray, "B C"]) -> Float[np.ndarray, " B"]:
    return np.einsum("bi,bi->b", a, b)


class _Histogram:
    """Rows in bins by falling score, per unit: ranking metrics of all draws by one matrix product."""

    def __init__(self, rated: Rated, units: Units) -> None:
        bins = equal_mass_bins(rated.logits, POOLED_BINS)
        bins = bins.max() - bins
        cells, size = units.codes * (bins.max() + 1) + bins, units.num * (int(bins.max()) + 1)
        weights = np.ones(len(bins)) if rated.weights is None else rated.weights.astype(np.float64)
        positive = weights * (rated.labels > 0)
        self._bins = int(bins.max()) + 1
        self._hits, self._misses, self._residuals = (
            np.bincount(cells, values, minlength=size).reshape(units.num, -1).astype(np.float32)
            for values in (positive, weights - positive, weights * probabilities(rated.logits) - positive)
        )

    def metrics(self, counts: Counts, *, full: bool) -> dict[str, Float[np.ndarray, " B"]]:
        counts = counts.astype(np.float32)
        hits, misses = (counts @ self._hits).astype(np.float64), (counts @ self._misses).astype(np.float64)
        reached = np.cumsum(hits, axis=1)
        positives, negatives = reached[:, -1], misses.sum(axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):
            found = {"auc": _dot(misses, reached - hits / 2) / (positives * negatives)}
            if full:
                selected = reached + np.cumsum(misses, axis=1)
                precision = np.divide(reached, selected, out=np.zeros_like(reached), where=selected > 0)
                found["pr_auc"] = _dot(hits, precision) / positives
                starts = np.arange(0, self._bins, -(-self._bins // NUM_BINS))
                gaps = np.add.reduceat((counts @ self._residuals).astype(np.float64), starts, axis=1)
                found["ece"] = np.abs(gaps).sum(axis=1) / (positives + negatives)
        return found


def _chunks(num_units: int, draws: int) -> Iterator[tuple[int, int]]:
    """(first draw, number of draws) of each chunk: the unit of parallel work, fixed by the size of the problem."""
    chunk = int(np.clip(CHUNK_COUNTS // max(num_units, 1), 1, 100))
    for first in range(0, draws, chunk):
        yield first, min(chunk, draws - first)


def _counts(num_units: int, first: int, draws: int, seed: int) -> Counts:
    generator = np.random.default_rng([seed, first])
    chosen = generator.integers(0, num_units, (draws, num_units), dtype=np.int64)
    chosen += np.arange(draws)[:, None] * num_units
    return np.bincount(chosen.ravel(), minlength=draws * num_units).reshape(draws, num_units).astype(np.float64)


@runtime_checkable
class Resampled(Protocol):
    """Rows of which a draw of units has metrics."""

    def metrics(self, counts: Counts) -> dict[str, Float[np.ndarray, " B"]]: ...


def replicate(
    samples: Sequence[Resampled], num_units: int, *, draws: int, seed: int
) -> list[dict[str, Float[np.ndarray, " draws"]]]:
    """Metrics of each sample under the same draws, in threads; the result does not depend on their number."""

    def chunk(place: tuple[int, int]) -> list[dict[str, np.ndarray]]:
        counts = _counts(num_units, *place, seed)
        return [sample.metrics(counts) for sample in samples]

    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8)) as pool:
        chunks = list(pool.map(chunk, _chunks(num_units, draws)))
    return [
        {name: np.concatenate([found[i][name] for found in chunks]) for name in chunks[0][i]}
        for i in range(len(samples))
    ]


def interval(values: Float[np.ndarray, " draws"]) -> tuple[float, float]:
    """Percentile interval of the defined draws; NaN if more than one in twenty is undefined."""
    defined = values[~np.isnan(values)]
    if not len(defined) or len(defined) < MIN_DEFINED * len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(defined, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    return float(low), float(high)
