"""Is one system better than another? Differences on the same rows, with intervals over users and training seeds.

All systems see the same draws of users, so what makes a split easy or hard cancels out. Runs that differ in nothing
but the seed are one system: its figure is the mean over its seeds, and each draw takes as many seeds with replacement,
too. Few seeds drawn with replacement vary less than seeds do, by (S - 1) / S in variance; their deviations are scaled
up by as much. With one seed per system an interval tells nothing of the noise of training, and the result says so.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

from hemix.batch import LabelKind
from hemix.config import Config
from hemix.errors import RunError
from hemix.evaluate.bootstrap import Rated, Units, interval, replicate
from hemix.evaluate.delong import difference as delong_difference
from hemix.evaluate.evaluator import EvaluateConfig, measure, rated, resampled
from hemix.evaluate.predictions import Predictions
from hemix.evaluate.report import Metric, Number

LOWER_IS_BETTER = ("log_loss", "ne", "brier", "ece", "mae", "rmse")
METRICS = ("auc", "gauc", "log_loss", "ne", "brier")
VALUE_METRICS = ("mae", "rmse")

Draws = dict[str, Float[np.ndarray, " draws"]]


class System(Config):
    """Runs of one configuration with different seeds; figures are means over them."""

    name: str
    runs: tuple[str, ...]
    seeds: tuple[int | None, ...]
    parameters: int
    rows_per_second: Number
    metrics: dict[str, Metric]
    spread: dict[str, Number]
    """Standard deviation of each figure over the seeds; NaN for one seed."""


class Difference(Config):
    """`system` minus `baseline` in one metric."""

    system: str
    baseline: str
    metric: str
    value: Number
    low: Number = math.nan
    high: Number = math.nan
    method: str
    reason: str | None = None

    @property
    def established(self) -> bool:
        """The interval does not hold zero."""
        return self.low > 0 or self.high < 0

    @property
    def better(self) -> bool:
        """The system is ahead of the baseline, established or not."""
        return (self.value < 0) == (self.metric in LOWER_IS_BETTER) and self.value != 0


class Comparison(Config):
    """Systems side by side on the same rows of one task."""

    task: str
    kind: LabelKind = "binary"
    split: str
    store: str
    part: str | None = None
    """Which rows of the split, as slice and value; None: all."""
    rows: int
    units: int
    unit: str
    systems: tuple[System, ...]
    differences: tuple[Difference, ...]
    """Every pair; the system given first is the baseline of the others."""
    note: str
    """What the intervals cover."""

    def against(self, baseline: str) -> tuple[Difference, ...]:
        """Differences to one system."""
        return tuple(found for found in self.differences if found.baseline == baseline)


def compare(runs: Sequence[Predictions], config: EvaluateConfig | None = None, *, task: int = 0) -> Comparison:
    """Paired differences of every two systems among `runs`, first to last, in the label number `task`.

    Raises RunError if there are fewer than two systems, if a run is given twice, or if the runs are not predictions
    for the same rows of the same split of the same store.
    """
    config = config or EvaluateConfig()
    _check(runs, task)
    groups = _systems(runs)
    if len(groups) < 2:
        raise RunError(
            f"A comparison needs two systems; all {len(runs)} runs are seeds of one: {next(iter(groups))!r}."
        )
    rows = [_labelled(rated(run, task, weighted=config.weighted)) for run in runs]
    units = Units.of(rows[0], config.bootstrap_draws)
    draws = _replicate(rows, units, config)
    values = [{name: found.value for name, found in measure(own, _pointwise(config)).items()} for own in rows]
    systems = {name: _system(name, members, runs, values) for name, members in groups.items()}
    resampled = {
        name: _over_seeds([draws[i] for i in members], np.random.default_rng([config.seed, place, 1]))
        for place, (name, members) in enumerate(groups.items())
    }
    found = [
        _difference(systems[b], systems[a], metric, resampled)
        for a, b in combinations(groups, 2)
        for metric in _compared(rows[0], config)
    ]
    if rows[0].kind == "binary" and len(groups) == len(runs) and _independent(rows[0]):
        run_of = {name: rows[members[0]] for name, members in groups.items()}
        found = [_by_delong(d, run_of[d.system], run_of[d.baseline]) if d.metric == "auc" else d for d in found]
    origin = runs[0].origin
    return Comparison(
        task=origin.tasks[task],
        kind=rows[0].kind,
        split=origin.split,
        store=origin.store,
        rows=len(rows[0]),
        units=units.num,
        unit=units.kind,
        systems=tuple(_with_intervals(system, resampled[name]) for name, system in systems.items()),
        differences=tuple(found),
        note=_note(groups, units, config),
    )


def _check(runs: Sequence[Predictions], task: int) -> None:
    """All runs are predictions for the same rows."""
    if not runs:
        raise RunError("A comparison needs two systems; no run was given.")
    first = runs[0]
    for other in runs[1:]:
        pairs = {
            "store": (first.origin.store, other.origin.store),
            "split": (first.origin.split, other.origin.split),
            "tasks": (first.origin.tasks, other.origin.tasks),
            "number of rows": (first.num_rows, other.num_rows),
            "rows (labels, users, requests or times)": (first.fingerprint(), other.fingerprint()),
        }
        for what, (mine, theirs) in pairs.items():
            if mine != theirs:
                raise RunError(
                    f"Runs can be compared on the same rows only; {first.origin.run or 'the first run'} and "
                    f"{other.origin.run or 'another'} differ in their {what}: {mine} and {theirs}. "
                    "Evaluate both on one store and split."
                )
    if not 0 <= task < len(first.origin.tasks):
        raise RunError(f"There is no task number {task}; there are: {', '.join(first.origin.tasks)}.")


def _systems(runs: Sequence[Predictions]) -> dict[str, list[int]]:
    """Numbers of the runs of each system, by a name of its own."""
    by_config: dict[str, list[int]] = {}
    for i, run in enumerate(runs):
        by_config.setdefault(run.origin.config or f"run {i}", []).append(i)
    groups: dict[str, list[int]] = {}
    for members in by_config.values():
        origins = [runs[i].origin for i in members]
        seeds = [origin.seed for origin in origins]
        if len(set(seeds)) < len(seeds):
            names = ", ".join(origin.run for origin in origins)
            raise RunError(
                f"Runs of one system must differ in their seeds; {names} have seeds {seeds}. Give each once."
            )
        name = origins[0].system or origins[0].run or f"run {members[0] + 1}"
        if name in groups:
            name = f"{name} ({origins[0].run or members[0] + 1})"
        groups[name] = members
    return groups


def _compared(rows: Rated, config: EvaluateConfig) -> tuple[str, ...]:
    return VALUE_METRICS if rows.kind == "regression" else (*METRICS, *(f"ndcg@{k}" for k in config.ndcg_k))


def _labelled(rows: Rated) -> Rated:
    known = ~np.isnan(rows.labels)
    return rows if known.all() else rows.take(known)


def _pointwise(config: EvaluateConfig) -> EvaluateConfig:
    return config.model_copy(update={"bootstrap_draws": 0})


def _replicate(rows: Sequence[Rated], units: Units, config: EvaluateConfig) -> list[Draws]:
    if not config.bootstrap_draws or units.num < 2:
        return [{} for _ in rows]
    samples = [resampled(own, units, ndcg_k=config.ndcg_k, full=False) for own in rows]
    return replicate(samples, units.num, draws=config.bootstrap_draws, seed=config.seed)


def _over_seeds(runs: Sequence[Draws], random: np.random.Generator) -> Draws:
    """Mean over the seeds of a system in each draw, the seeds drawn with replacement."""
    num = len(runs)
    found = {}
    for name in runs[0]:
        values = np.stack([run[name] for run in runs])
        mean = values.mean(axis=0)
        if num > 1:
            chosen = random.integers(0, num, values.shape)
            drawn = np.take_along_axis(values, chosen, axis=0).mean(axis=0)
            mean = mean + math.sqrt(num / (num - 1)) * (drawn - mean)
        found[name] = mean
    return found


def _system(name: str, members: list[int], runs: Sequence[Predictions], values: Sequence[dict[str, float]]) -> System:
    origins = [runs[i].origin for i in members]
    figures = {metric: np.array([values[i][metric] for i in members]) for metric in values[members[0]]}
    seconds = sum(origin.seconds for origin in origins)
    return System(
        name=name,
        runs=tuple(origin.run for origin in origins),
        seeds=tuple(origin.seed for origin in origins),
        parameters=origins[0].parameters,
        rows_per_second=len(members) * runs[0].num_rows / seconds if seconds > 0 else math.nan,
        metrics={metric: _metric(metric, found) for metric, found in figures.items()},
        spread={metric: float(found.std(ddof=1)) if len(found) > 1 else math.nan for metric, found in figures.items()},
    )


def _metric(name: str, values: Float[np.ndarray, " seeds"]) -> Metric:
    mean = float(values.mean())
    return Metric(value=mean, reason=f"{name} is undefined on these rows" if math.isnan(mean) else None)


def _with_intervals(system: System, draws: Draws) -> System:
    metrics = dict(system.metrics)
    for name, values in draws.items():
        if metrics[name].reason is None:
            low, high = interval(values)
            metrics[name] = metrics[name].model_copy(update={"low": low, "high": high})
    return system.model_copy(update={"metrics": metrics})


def _independent(rows: Rated) -> bool:
    """Every row is a unit of its own and counts once: DeLong's formula holds."""
    with_user = rows.users[rows.users >= 0]
    one_each = len(np.unique(with_user)) == len(with_user) and len(np.unique(rows.requests)) == len(rows)
    return one_each and rows.weights is None


def _difference(system: System, baseline: System, metric: str, draws: dict[str, Draws]) -> Difference:
    value = system.metrics[metric].value - baseline.metrics[metric].value
    found = Difference(system=system.name, baseline=baseline.name, metric=metric, value=value, method="none")
    if math.isnan(value):
        return found.model_copy(update={"reason": f"{metric} is undefined on these rows"})
    if metric not in draws[system.name]:
        return found.model_copy(update={"reason": "no draws were made"})
    low, high = interval(draws[system.name][metric] - draws[baseline.name][metric])
    return found.model_copy(update={"low": low, "high": high, "method": "bootstrap"})


def _by_delong(found: Difference, system: Rated, baseline: Rated) -> Difference:
    value, low, high = delong_difference([system.logits, baseline.logits], system.labels)
    return found.model_copy(update={"value": value, "low": low, "high": high, "method": "DeLong"})


def _note(groups: dict[str, list[int]], units: Units, config: EvaluateConfig) -> str:
    seeds = sorted({len(members) for members in groups.values()})
    drawn = f"95 % paired bootstrap over {units.num:,} {units.kind}"
    if seeds[-1] == 1:
        tail = "One seed per system: the noise of training is not in the intervals."
    else:
        drawn += " and seeds"
        tail = "Systems with one seed: the noise of their training is not in the intervals." if seeds[0] == 1 else ""
    return f"{drawn}, {config.bootstrap_draws:,} draws, seed {config.seed}. {tail}".strip()
