"""How a metric moves with size: a power law for each family of cells, with an interval over seeds, or none.

    metric = c + a * N^-b           N: dense parameters

The exponent b is searched on a grid, and between its points by a parabola; (c, a) follow by least squares (variable
projection, Golub & Pereyra 1973): there are no start values and no local minima. The interval is a parametric
bootstrap over seeds: each draw adds normal noise to the means, with the pooled standard deviation of the seeds; that
is known from few seeds only, and so is drawn too (from its scaled inverse chi-square distribution). Noise is taken to
be equal at all sizes.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float

from hemix.config import Config
from hemix.evaluate.report import Number
from hemix.ledger import Entry
from hemix.training.config import higher_is_better

EXPONENTS = np.geomspace(0.01, 3.0, 100)
MIN_SIZES = 4
"""Below it three numbers would be fitted to three points."""
SPREADS = 5.0
"""How many times the seed spread the range of the metric has to be."""
DRAWS = 2000


class Law(Config):
    """The power law of one family in one metric, or why there is none."""

    family: str
    metric: str
    sizes: tuple[int, ...]
    """Dense parameters, rising."""
    values: tuple[Number, ...]
    """Mean over seeds at each size."""
    spread: Number
    """Standard deviation over seeds, pooled over sizes."""
    exponent: Number = math.nan
    low: Number = math.nan
    high: Number = math.nan
    limit: Number = math.nan
    """c: where the metric goes with size."""
    scale: Number = math.nan
    reason: str | None = None
    """Why there is no exponent."""

    def at(self, size: float) -> float:
        """The fitted metric."""
        return self.limit + self.scale * size**-self.exponent


def fit(
    sizes: Float[np.ndarray, " sizes"], values: Float[np.ndarray, "draws sizes"]
) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
    """Exponent, limit and scale of the least-squares power law of each draw."""
    unit = sizes / np.exp(np.log(sizes).mean())  # near 1: N^-b is well scaled for every b
    errors = np.empty((len(EXPONENTS), len(values)))
    for place, exponent in enumerate(EXPONENTS):
        design = np.stack([np.ones_like(unit), unit**-exponent], axis=1)
        errors[place] = ((values.T - design @ (np.linalg.pinv(design) @ values.T)) ** 2).sum(axis=0)
    exponent = _lowest(errors)
    powers = unit ** -exponent[:, None]
    centred = powers - powers.mean(axis=1, keepdims=True)
    scale = (centred * values).sum(axis=1) / (centred**2).sum(axis=1)
    limit = values.mean(axis=1) - scale * powers.mean(axis=1)
    return exponent, limit, scale * (sizes[0] / unit[0]) ** exponent


def _lowest(errors: Float[np.ndarray, "exponents draws"]) -> Float[np.ndarray, " draws"]:
    """The exponent of the least error of each draw, between the points of the grid by a parabola."""
    best = errors.argmin(axis=0)
    inner = np.clip(best, 1, len(EXPONENTS) - 2)
    before, at, after = (np.take_along_axis(errors, (inner + step)[None], axis=0)[0] for step in (-1, 0, 1))
    bend = before - 2 * at + after
    with np.errstate(divide="ignore", invalid="ignore"):
        shift = np.where((best == inner) & (bend > 0), 0.5 * (before - after) / bend, 0.0)
    return EXPONENTS[best] * (EXPONENTS[1] / EXPONENTS[0]) ** shift


def law(family: str, metric: str, points: Mapping[int, Sequence[float]], *, seed: int = 0) -> Law:
    """The power law through the values of each seed at each size (dense parameters)."""
    sizes = sorted(points)
    runs = [np.array(points[size], dtype=np.float64) for size in sizes]
    means = np.array([values.mean() for values in runs])
    freedom = sum(len(values) - 1 for values in runs)
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in runs)
    spread = math.sqrt(squares / freedom) if freedom else math.nan
    found = Law(family=family, metric=metric, sizes=tuple(sizes), values=tuple(means.tolist()), spread=spread)
    reason = _why_not(found, runs)
    if reason is not None:
        return found.model_copy(update={"reason": reason})
    at = np.array(sizes, dtype=np.float64)
    exponent, limit, scale = (float(value[0]) for value in fit(at, means[None]))
    if (scale < 0) != higher_is_better(metric):
        return found.model_copy(update={"reason": f"{metric} gets worse with size"})
    random = np.random.default_rng(seed)
    counts = np.array([len(values) for values in runs])
    deviation = spread * np.sqrt(freedom / random.chisquare(freedom, (DRAWS, 1)))
    drawn = means + deviation * random.standard_normal((DRAWS, len(sizes))) / np.sqrt(counts)
    low, high = np.percentile(fit(at, drawn)[0], (2.5, 97.5))
    update = {"exponent": exponent, "limit": limit, "scale": scale, "low": float(low), "high": float(high)}
    return found.model_copy(update=update)


def _why_not(found: Law, runs: Sequence[np.ndarray]) -> str | None:
    """Why no exponent can be given; None if it can."""
    if not np.isfinite(found.values).all():
        return f"{found.metric} is undefined at some size"
    if len(found.sizes) < MIN_SIZES:
        return f"{len(found.sizes)} sizes; a law needs {MIN_SIZES}"
    if min(len(values) for values in runs) < 2:
        return "a size has one seed, so the noise is not known"
    reach = max(found.values) - min(found.values)
    if reach < SPREADS * found.spread:
        return f"no exponent: the range {reach:.4f} is below {SPREADS:g} x the seed spread {found.spread:.4f}"
    return None


def laws(families: Mapping[str, str], runs: Mapping[str, Sequence[Entry]], metrics: Sequence[str]) -> list[Law]:
    """A law for every family and metric; `families` by cell, `runs` the test lines of each cell."""
    found = []
    for family in dict.fromkeys(families[name] for name in runs):
        for metric in metrics:
            points: dict[int, list[float]] = {}
            for name, entries in runs.items():
                if families[name] == family:
                    for entry in entries:
                        size = int(entry.figures["dense_parameters"])
                        points.setdefault(size, []).append(entry.figures.get(metric, math.nan))
            found.append(law(family, metric, points))
    return found
