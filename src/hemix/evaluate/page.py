"""Pages to look at: `report.html` of one run and `compare.html` of several. One file each, nothing is fetched.

All text that comes from data is escaped; the pages have no scripts.
"""

import json
import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from hemix.batch import LabelKind
from hemix.data.arrays import replace_file
from hemix.evaluate import plots
from hemix.evaluate.compare import Comparison, Difference
from hemix.evaluate.evaluator import rated
from hemix.evaluate.html import html_page, html_pairs, html_table
from hemix.evaluate.predictions import Predictions
from hemix.evaluate.report import Metric, Report, Slice, TaskReport
from hemix.evaluate.tables import constant, mean_name, slice_metrics, title_of

MEANINGS = {
    "auc": "chance that a positive row stands above a negative one",
    "gauc": "AUC within each user, weighted by impressions",
    "log_loss": "mean negative log likelihood, nats",
    "ne": "LogLoss over that of the base rate; below 1 is better than knowing nothing",
    "pr_auc": "average precision",
    "ece": "mean distance of prediction from outcome, 20 bins of equal mass",
    "copc": "clicks over predicted clicks; 1 is calibrated",
    "brier": "mean squared error of the probability",
    "mae": "mean absolute error, in the unit of the label",
    "rmse": "root of the mean squared error, in the unit of the label",
    "mean_ratio": "mean prediction over mean value; 1 is right on the whole",
}
TILES: Mapping[LabelKind, tuple[str, ...]] = {
    "binary": ("auc", "gauc", "log_loss", "ne"),
    "regression": ("rmse", "mae", "mean_ratio"),
}


def report_html(
    report: Report,
    predictions: Predictions,
    *,
    metrics: Sequence[Mapping[str, Any]] = (),
    config: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> str:
    """The page of one run.

    `metrics` are the lines of metrics.jsonl, `config` the resolved experiment, `environment` versions and hardware.
    Raises HemixError if matplotlib is missing.
    """
    origin = report.origin
    body = [
        f"<header><h1>{escape(origin.system or origin.run or 'Report')}</h1>"
        f"<p>{escape(_subtitle(report))}</p></header>",
        *(_tiles(task, several=len(report.tasks) > 1) for task in report.tasks.values()),
        *_training(report, metrics),
    ]
    for place, task in enumerate(report.tasks.values()):
        body.append(_task(task, predictions, place, several=len(report.tasks) > 1, weighted=report.weighted))
    body.append(_size_and_speed(report))
    if environment:
        body.append(f"<section><h2>Environment</h2>{html_pairs(environment)}</section>")
    if config:
        text = escape(json.dumps(config, indent=2, default=str))
        body.append(
            f"<section><h2>Configuration</h2><details><summary>Show</summary><pre>{text}</pre></details></section>"
        )
    body.append(f"<footer>Intervals: {escape(report.interval)}.</footer>")
    return html_page(f"{origin.system or origin.run} on {origin.split}", body)


def write_report(
    path: Path,
    report: Report,
    predictions: Predictions,
    *,
    metrics: Sequence[Mapping[str, Any]] = (),
    config: Mapping[str, Any] | None = None,
    environment: Mapping[str, Any] | None = None,
) -> None:
    """Write `report_html` in one step."""
    page = report_html(report, predictions, metrics=metrics, config=config, environment=environment)
    replace_file(path, page.encode())


def compare_html(comparison: Comparison) -> str:
    """The page of a comparison: systems side by side, and every paired difference as a forest plot."""
    header = (
        f"<header><h1>{escape(', '.join(system.name for system in comparison.systems))}</h1>"
        f"<p>{escape(comparison.task)} on {escape(comparison.split)}: {comparison.rows:,} rows, "
        f"{comparison.units:,} {escape(comparison.unit)}</p></header>"
    )
    systems = comparison.systems
    rows = [
        ["seeds", *(str(len(system.seeds)) for system in systems)],
        ["parameters", *(f"{system.parameters:,}" for system in systems)],
        ["rows/s", *(_count(system.rows_per_second) for system in systems)],
    ]
    for name in systems[0].metrics:
        figures = (_with_interval(system.metrics[name]) + _spread(system.spread[name]) for system in systems)
        rows.append([escape(title_of(name)), *figures])
    heads = ["", *(escape(system.name) for system in systems)]
    body = [header, f"<section><h2>Systems</h2>{html_table(heads, rows)}</section>"]
    for name in dict.fromkeys(found.metric for found in comparison.differences):
        found = [difference for difference in comparison.differences if difference.metric == name]
        body.append(f"<section><h2>{escape(title_of(name))}</h2>{_forest(found)}</section>")
    legend = (
        'Bold: the interval does not hold 0. <span class="first">Blue</span>: better, '
        '<span class="second">orange</span>: worse, grey: not established.'
    )
    body.append(f"<footer><p>{escape(comparison.note)}</p><p>{legend}</p></footer>")
    return html_page("Comparison", body)


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Write `compare_html` in one step."""
    replace_file(path, compare_html(comparison).encode())


def _subtitle(report: Report) -> str:
    origin, counts = report.origin, report.first.counts
    parts = [
        f"split {origin.split}",
        f"{counts.rows:,} rows",
        f"{counts.requests:,} requests",
        f"{counts.users:,} users",
    ]
    parts += [f"seed {origin.seed}"] if origin.seed is not None else []
    parts += [f"run {origin.run}"] if origin.run else []
    parts += [f"store {origin.store[:8]}"] if origin.store else []
    return " - ".join(parts)


def _training(report: Report, metrics: Sequence[Mapping[str, Any]]) -> list[str]:
    """Curves of each label, where there are any."""
    several = len(report.tasks) > 1
    found = []
    for task in report.tasks.values():
        curves = plots.training_curves(metrics, task.name if several else None, task.kind)
        if curves is not None:
            found += [f"<h3>{escape(task.name)}</h3>"] if several else []
            found.append(f"<figure>{curves}</figure>")
    return [f"<section><h2>Training</h2>{''.join(found)}</section>"] if found else []


def _tiles(task: TaskReport, *, several: bool) -> str:
    tiles = [f"<div><b>label</b><strong>{escape(task.name)}</strong></div>"] if several else []
    for name in TILES[task.kind]:
        metric = task.metrics[name]
        note = metric.reason or _interval(metric)
        tiles.append(f"<div><b>{title_of(name)}</b><strong>{_number(metric.value)}</strong><i>{escape(note)}</i></div>")
    return f'<section class="tiles">{"".join(tiles)}</section>'


def _task(task: TaskReport, predictions: Predictions, place: int, *, several: bool, weighted: bool) -> str:
    rows = rated(predictions, place, weighted=weighted)
    known = rows.take(~np.isnan(rows.labels))
    draw = plots.value_plots if task.kind == "regression" else plots.score_plots
    figure = draw(known.logits, known.labels, task.reliability)
    title = f"<h2>{escape(task.name) if several else 'Metrics'}</h2>"
    missing = f", {task.counts.unlabelled:,} rows without a label" if task.counts.unlabelled else ""
    share = f"{task.counts.positives:,} positives: base rate {_number(task.counts.base_rate)}"
    if task.kind == "regression":
        share = f"{task.counts.rows:,} values: mean {_number(task.counts.mean)}"
    share = f"<p>{share}{missing}</p>"
    one = "value" if task.kind == "regression" else "class"
    plot = f"<figure>{figure}</figure>" if figure else f"<p>No curves: there is one {one} only.</p>"
    cuts = "".join(_slice(cut, task) for cut in task.slices)
    return f"<section>{title}{share}{_metrics(task)}</section><section>{plot}</section>{cuts}"


def _metrics(task: TaskReport) -> str:
    rows = [
        [
            escape(title_of(name)),
            _number(metric.value),
            _interval(metric),
            escape(metric.reason or _remark(name, metric)),
        ]
        for name, metric in task.metrics.items()
    ]
    name, value = constant(task)
    rows.append([escape(name), _number(value), "", "always predicting the mean of these rows"])
    return html_table(["metric", "value", "95 % interval", "meaning"], rows, last_is_text=True)


def _remark(name: str, metric: Metric) -> str:
    what = MEANINGS.get(name, "gain of the positives near the top of each request, against the best order")
    if metric.left_out is None or metric.groups is None:
        return what
    kind = "users" if name == "gauc" else "requests"
    return f"{what}; {metric.groups:,} {kind}, {metric.left_out:,} of one class left out"


def _slice(cut: Slice, task: TaskReport) -> str:
    """Parts of one feature: counts, and the main metric as a dot with its interval on a common scale."""
    main, others = slice_metrics(task.kind, cut)
    whole = task.metrics[main].value
    ends = [value for part in cut.parts for value in _ends(part.metrics[main])] + [whole]
    scale = _scale([value for value in ends if not math.isnan(value)])
    rows = [
        [
            escape(part.value),
            f"{part.counts.rows:,}",
            f"{part.counts.users:,}",
            _number(part.counts.mean, 3),
            _with_interval(part.metrics[main]),
            _mark(part.metrics[main], scale, whole),
            *(_number(part.metrics[name].value) for name in others),
        ]
        for part in cut.parts
    ]
    heads = [
        "value",
        "rows",
        "users",
        mean_name(task.kind),
        title_of(main),
        f"{scale[0]:.2f} to {scale[1]:.2f}",
        *map(title_of, others),
    ]
    return f"<section><h3>By {escape(cut.feature)}</h3>{html_table(heads, rows)}</section>"


def _ends(metric: Metric) -> tuple[float, float, float]:
    return metric.value, metric.low, metric.high


def _scale(values: Sequence[float]) -> tuple[float, float]:
    """Round bounds around the values."""
    if not values:
        return 0.0, 1.0
    low, high = math.floor(min(values) * 20) / 20, math.ceil(max(values) * 20) / 20
    return (low, high) if high > low else (low - 0.05, high + 0.05)


def _mark(metric: Metric, scale: tuple[float, float], reference: float, kind: str = "first") -> str:
    """A dot with its interval, and a line at the reference."""

    def at(value: float) -> float:
        return 4 + 192 * min(max((value - scale[0]) / (scale[1] - scale[0]), 0.0), 1.0)

    if math.isnan(metric.value):
        return f'<span class="why">{escape(metric.reason or "")}</span>'
    line = "" if math.isnan(reference) else f'<path class="whole" d="M{at(reference):.1f} 0V16"/>'
    bar = "" if math.isnan(metric.low) else f'<path class="bar" d="M{at(metric.low):.1f} 8H{at(metric.high):.1f}"/>'
    dot = f'<circle cx="{at(metric.value):.1f}" cy="8" r="3.5"/>'
    return f'<svg class="mark {kind}" viewBox="0 0 200 16" aria-hidden="true">{line}{bar}{dot}</svg>'


def _forest(differences: Sequence[Difference]) -> str:
    reach = (
        max((abs(v) for d in differences for v in (d.value, d.low, d.high) if not math.isnan(v)), default=0.0) or 1e-6
    )
    rows = []
    for found in differences:
        name = f"{escape(found.system)} - {escape(found.baseline)}"
        metric = Metric(value=found.value, low=found.low, high=found.high, reason=found.reason)
        kind = "even" if not found.established else "first" if found.better else "second"
        text = (
            "-"
            if math.isnan(found.value)
            else f"{found.value:+.5f} <small>{found.low:+.5f} to {found.high:+.5f}</small>"
        )
        text = f"<b>{text}</b>" if found.established else text
        rows.append([name, text, _mark(metric, (-reach, reach), 0.0, kind), escape(found.method)])
    return html_table(["pair", "difference", f"-{reach:.4f} to +{reach:.4f}", "method"], rows)


def _size_and_speed(report: Report) -> str:
    origin = report.origin
    figures = {
        "parameters": f"{origin.parameters:,}",
        "of these in embedding tables": f"{origin.table_parameters:,}",
        "evaluation": f"{origin.seconds:,.2f} s",
        "rows per second": _count(report.rows_per_second),
    }
    return f"<section><h2>Size and speed</h2>{html_pairs(figures)}</section>"


def _number(value: float, digits: int = 4) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _count(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:,.0f}"


def _interval(metric: Metric) -> str:
    return "" if math.isnan(metric.low) else f"{metric.low:.4f} to {metric.high:.4f}"


def _spread(deviation: float) -> str:
    return "" if math.isnan(deviation) else f" <small>sd {deviation:.4f}</small>"


def _with_interval(metric: Metric) -> str:
    interval = _interval(metric)
    return _number(metric.value) + (f" <small>{interval}</small>" if interval else "")
