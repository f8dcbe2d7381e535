"""One pass over a split, and the report that follows from it."""

import math
import time
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from hemix.batch import Batch, Inputs
from hemix.config import Config
from hemix.errors import InputError
from hemix.evaluate import metrics, values
from hemix.evaluate.bootstrap import Rated, Sample, Units, interval, replicate
from hemix.evaluate.calibration import calibration, ece
from hemix.evaluate.predictions import Collector, Origin, Predictions
from hemix.evaluate.report import Counts, Metric, Part, Reliability, Report, Slice, TaskReport
from hemix.evaluate.slices import Names, SliceReader, parts
from hemix.objectives.targets import predictions as read_outputs

SLICE_METRICS = ("auc", "gauc", "log_loss", "copc", "mae", "rmse", "mean_ratio")


class EvaluateConfig(Config):
    """The `evaluate` section."""

    ndcg_k: tuple[int, ...] = (10,)
    """Cuts of NDCG; it orders the candidates of each request."""
    slices: tuple[str, ...] = ()
    """Features by whose values the split is cut, beside history length (or which of several are empty), seen users
    and item frequency."""
    item: str | None = None
    """Candidate feature that names the item, for item frequency; None: the one with the most values."""
    slice_values: int = Field(default=20, ge=1)
    """Most frequent values of a categorical feature that are shown; the others are put together."""
    bootstrap_draws: int = Field(default=2000, ge=0)
    """Draws behind each interval; 0: no intervals."""
    seed: int = 0
    """Of the draws."""
    weighted: bool = False
    """Weight rows by the weight of their loss."""
    batch_size: int = Field(default=4096, ge=1)
    """Candidates per batch; changes speed, never the result."""


@runtime_checkable
class Scorer(Protocol):
    """What is evaluated: a ranker, or anything that gives logits (N, K) for a batch."""

    inputs: Inputs
    training: bool

    def __call__(self, batch: Batch) -> Tensor: ...

    def train(self, mode: bool = True) -> object: ...


@runtime_checkable
class Batches(Protocol):
    """A loader in order: each row once."""

    def __iter__(self) -> Iterator[Batch]: ...


def predict_split(
    ranker: Scorer,
    loader: Batches,
    *,
    device: torch.device,
    origin: Origin | None = None,
    slices: SliceReader | None = None,
    progress: Callable[[int], None] | None = None,
) -> Predictions:
    """Score every row of a split once, in the loader's order. `progress` is told the rows of each batch.

    The ranker is in evaluation mode meanwhile. Raises InputError if the split is empty or has no labels, RunError if a
    logit is not finite.
    """
    reader = slices or SliceReader(ranker.inputs)
    labels = (*ranker.inputs.tasks, *ranker.inputs.outcomes)
    rows, started, was_training = Collector(), time.perf_counter(), ranker.training
    ranker.train(False)
    try:
        with torch.inference_mode():
            for batch in loader:
                logits = read_outputs(ranker.inputs, ranker(batch.to(device)).float().cpu())
                rows.add(_columns(batch, logits, reader, rows.num_requests))
                if progress is not None:
                    progress(batch.num_rows)
    finally:
        ranker.train(was_training)
    columns = rows.columns()
    if not columns:
        raise InputError(
            "A split must hold rows to be evaluated; this one is empty. Check `data.split` and the tables."
        )
    names, kinds = tuple(label.name for label in labels), tuple(label.kind for label in labels)
    seconds = time.perf_counter() - started
    origin = (origin or Origin(tasks=names)).model_copy(update={"tasks": names, "kinds": kinds, "seconds": seconds})
    return _predictions(columns, origin, reader)


def _columns(batch: Batch, logits: Tensor, reader: SliceReader, first_request: int) -> dict[str, np.ndarray]:
    if batch.labels is None:
        raise InputError("Rows must have labels to be evaluated; these have none. Use predict to score them.")
    counts = (batch.offsets[1:] - batch.offsets[:-1]).cpu().numpy()
    request = np.repeat(np.arange(len(counts)), counts)
    columns = {
        "logits": logits.numpy(),
        "labels": batch.labels.cpu().numpy(),
        "users": batch.requests.users.cpu().numpy().astype(np.int64)[request],
        "times": batch.requests.times.cpu().numpy()[request],
        "requests": request + first_request,
    }
    if batch.weights is not None:
        columns["weights"] = batch.weights.cpu().numpy()
    return columns | {f"slice {name}": values for name, values in reader.read(batch, request).items()}


def _predictions(columns: dict[str, np.ndarray], origin: Origin, reader: SliceReader) -> Predictions:
    own = {name: values for name, values in columns.items() if not name.startswith("slice ")}
    cut = {name.removeprefix("slice "): values for name, values in columns.items() if name not in own}
    return Predictions(origin=origin, slices={name: reader.column(name, values) for name, values in cut.items()}, **own)


def evaluate(predictions: Predictions, config: EvaluateConfig | None = None, *, names: Names | None = None) -> Report:
    """Every metric of every task, with intervals and slices. `names` turns ids of a vocabulary into values."""
    config = config or EvaluateConfig()
    tasks = {
        name: _task(name, rated(predictions, k, weighted=config.weighted), predictions, config, names)
        for k, name in enumerate(predictions.origin.tasks)
    }
    return Report(
        origin=predictions.origin, tasks=tasks, interval=_method(predictions, config), weighted=config.weighted
    )


def rated(predictions: Predictions, task: int, *, weighted: bool = False) -> Rated:
    """All rows of one label, those without a value included (as NaN)."""
    return Rated(
        logits=predictions.logits[:, task],
        labels=predictions.labels[:, task],
        users=predictions.users,
        requests=predictions.requests,
        weights=predictions.weights if weighted else None,
        kind=predictions.origin.kind(task),
    )


def _task(name: str, rows: Rated, predictions: Predictions, config: EvaluateConfig, names: Names | None) -> TaskReport:
    labelled = ~np.isnan(rows.labels)
    known = rows.take(labelled)
    cuts = []
    for feature, column in predictions.slices.items():
        cut = parts(column, max_values=config.slice_values, names=names)
        cuts.append(Slice(feature=feature, parts=tuple(_part(value, rows, mask, config) for value, mask in cut)))
    binary = rows.kind == "binary"
    bins = calibration(known.logits, known.labels, known.weights, values=not binary)
    rate = metrics.base_rate(known.labels, known.weights) if binary else math.nan
    return TaskReport(
        name=name,
        kind=rows.kind,
        counts=_counts(rows),
        metrics=measure(known, config),
        constant_log_loss=metrics.entropy(rate),
        constant_rmse=math.nan if binary else values.constant_rmse(known.labels, known.weights),
        reliability=Reliability(
            rows=tuple(bins.weights.tolist()),
            predicted=tuple(bins.predicted.tolist()),
            observed=tuple(bins.observed.tolist()),
        ),
        slices=tuple(cuts),
    )


def _part(value: str, rows: Rated, mask: np.ndarray, config: EvaluateConfig) -> Part:
    chosen = rows.take(mask)
    only = (*SLICE_METRICS, *(f"ndcg@{k}" for k in config.ndcg_k))
    found = measure(chosen.take(~np.isnan(chosen.labels)), config, only=only, whole=len(rows))
    return Part(value=value, counts=_counts(chosen), metrics=found)


def _counts(rows: Rated) -> Counts:
    known = rows.take(~np.isnan(rows.labels))
    return Counts(
        rows=len(known),
        requests=len(np.unique(known.requests)),
        users=len(np.unique(known.users[known.users >= 0])),
        positives=int(known.labels.sum()) if rows.kind == "binary" else 0,
        mean=float(known.labels.mean(dtype=np.float64)) if len(known) else math.nan,
        unlabelled=len(rows) - len(known),
    )


def measure(
    rows: Rated, config: EvaluateConfig, *, only: tuple[str, ...] | None = None, whole: int | None = None
) -> dict[str, Metric]:
    """Metrics of labelled rows, each with its interval or the reason why it is undefined.

    `only` some metrics; `whole`: rows of the split, where these are a part of it.
    """
    found = {name: metric for name, metric in _values(rows, config).items() if only is None or name in only}
    if not len(rows) or not config.bootstrap_draws:
        return found
    units = Units.of(rows, config.bootstrap_draws, whole=whole)
    if units.num < 2:
        return found
    sample = resampled(rows, units, ndcg_k=config.ndcg_k, full=only is None)
    (draws,) = replicate([sample], units.num, draws=config.bootstrap_draws, seed=config.seed)
    for name, metric in found.items():
        if metric.reason is None:
            drawn = draws[name]
            if name == "ece":  # a sum of distances: resampled rows are never as calibrated as the rows themselves
                drawn = np.maximum(drawn - np.nanmean(drawn) + metric.value, 0.0)
            low, high = interval(drawn)
            found[name] = metric.model_copy(update={"low": low, "high": high})
    return found


def resampled(rows: Rated, units: Units, *, ndcg_k: tuple[int, ...], full: bool) -> Sample | values.ValueSample:
    """Rows prepared for the draws of a bootstrap, by the kind of their label."""
    return (
        values.ValueSample(rows, units) if rows.kind == "regression" else Sample(rows, units, ndcg_k=ndcg_k, full=full)
    )


def _values(rows: Rated, config: EvaluateConfig) -> dict[str, Metric]:
    found = _of_values(rows) if rows.kind == "regression" else _of_logits(rows, config)
    return {
        name: metric.model_copy(update={"reason": _why_undefined(name, rows)}) if np.isnan(metric.value) else metric
        for name, metric in found.items()
    }


def _of_values(rows: Rated) -> dict[str, Metric]:
    kinds = {"mae": values.mae, "rmse": values.rmse, "mean_ratio": values.mean_ratio}
    return {name: Metric(value=metric(rows.logits, rows.labels, rows.weights)) for name, metric in kinds.items()}


def _of_logits(rows: Rated, config: EvaluateConfig) -> dict[str, Metric]:
    logits, labels, weights = rows.logits, rows.labels, rows.weights
    with_user = rows.take(rows.users >= 0)
    by_user = metrics.grouped_auc(with_user.logits, with_user.labels, with_user.users, with_user.weights)
    found = {
        "auc": Metric(value=metrics.auc(logits, labels, weights)),
        "gauc": _grouped(by_user, by_user.weighted_mean()),
        "log_loss": Metric(value=metrics.log_loss(logits, labels, weights)),
        "ne": Metric(value=metrics.normalized_entropy(logits, labels, weights)),
        "pr_auc": Metric(value=metrics.pr_auc(logits, labels, weights)),
        "ece": Metric(value=ece(logits, labels, weights)),
        "copc": Metric(value=metrics.copc(logits, labels, weights)),
        "brier": Metric(value=metrics.brier(logits, labels, weights)),
    }
    for k in config.ndcg_k:
        by_request = metrics.grouped_ndcg(logits, labels, rows.requests, k)
        found[f"ndcg@{k}"] = _grouped(by_request, by_request.mean())
    return found


def _grouped(groups: metrics.Grouped, value: float) -> Metric:
    return Metric(value=value, groups=len(groups.keys) - groups.left_out, left_out=groups.left_out)


def _why_undefined(name: str, rows: Rated) -> str:
    """The reason for a NaN, as a sentence."""
    if not len(rows):
        return "there are no labelled rows"
    if rows.weights is not None and not rows.weights.sum() > 0:
        return "all weights are 0"
    if rows.kind == "regression":
        return "the values add up to 0"
    positives = int(rows.labels.sum())
    if positives in (0, len(rows)):
        return f"all {len(rows)} labels are {int(positives > 0)}"
    if name == "gauc":
        return "no user has rows of both classes" if (rows.users >= 0).any() else "rows have no user"
    if name.startswith("ndcg"):
        return "no request has candidates of both classes"
    return "predictions add up to 0"


def _method(predictions: Predictions, config: EvaluateConfig) -> str:
    if not config.bootstrap_draws:
        return "none"
    kind = "users" if (predictions.users >= 0).any() else "requests"
    return f"95 % percentile bootstrap over {kind}, {config.bootstrap_draws:,} draws, seed {config.seed}"
