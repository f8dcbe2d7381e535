"""Tables of reports and comparisons for a terminal."""

import math
from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from hemix.batch import LabelKind
from hemix.evaluate.compare import Comparison, Difference
from hemix.evaluate.report import Metric, Report, Slice, TaskReport

TITLES: Mapping[str, str] = {
    "auc": "AUC",
    "gauc": "gAUC",
    "log_loss": "LogLoss",
    "ne": "NE",
    "pr_auc": "PR-AUC",
    "ece": "ECE",
    "copc": "COPC",
    "brier": "Brier",
    "mae": "MAE",
    "rmse": "RMSE",
    "mean_ratio": "mean ratio",
}
COMPARED: Mapping[LabelKind, tuple[str, ...]] = {
    "binary": ("auc", "gauc", "log_loss"),
    "regression": ("rmse", "mae"),
}
"""Metrics of a comparison that a terminal shows."""


def title_of(metric: str) -> str:
    """How a metric is written for people, behind its label if it has one.

    >>> title_of("ndcg@10"), title_of("order.auc")
    ('NDCG@10', 'order AUC')
    """
    label, _, name = metric.rpartition(".")
    return f"{label} {TITLES.get(name, name.upper())}".strip()


def metrics_table(report: Report) -> Table:
    """Metrics of every task with their intervals; an undefined one with its reason."""
    table = _table(f"{report.origin.system or report.origin.run} on {report.origin.split}", ("task", "metric"))
    for name in ("value", "95 % interval"):
        table.add_column(name, justify="right")
    table.add_column("", overflow="fold")
    for task in report.tasks.values():
        rows = [(title_of(name), metric) for name, metric in task.metrics.items()]
        for place, (name, metric) in enumerate(rows):
            head = Text(task.name if place == 0 else "")
            table.add_row(head, name, number(metric.value), interval(metric), Text(metric.reason or _left_out(metric)))
        name, value = constant(task)
        table.add_row("", name, number(value), "", _counts(task), end_section=True)
    return table


def constant(task: TaskReport) -> tuple[str, float]:
    """What a model has to beat: the metric of always saying the same, and its name."""
    if task.kind == "regression":
        return "RMSE of the mean", task.constant_rmse
    return "LogLoss of base rate", task.constant_log_loss


def mean_name(kind: LabelKind) -> str:
    """What the mean of a label is called."""
    return "mean" if kind == "regression" else "base rate"


def slice_metrics(kind: LabelKind, cut: Slice) -> tuple[str, tuple[str, ...]]:
    """Of a table of slices: the metric with an interval, and the others. NDCG where a part has requests to order."""
    if kind == "regression":
        return "rmse", ("mae", "mean_ratio")
    found = {name for part in cut.parts for name, metric in part.metrics.items() if not math.isnan(metric.value)}
    orders = sorted((name for name in found if name.startswith("ndcg@")), key=lambda name: int(name[5:]))
    return "auc", ("gauc", *orders, "log_loss", "copc")


def slice_tables(report: Report) -> list[Table]:
    """One table per task and feature."""
    return [_slice(task, cut) for task in report.tasks.values() for cut in task.slices]


def _slice(task: TaskReport, cut: Slice) -> Table:
    table = _table(f"{task.name} by {cut.feature}", ("value",))
    main, others = slice_metrics(task.kind, cut)
    for name in ("rows", "users", mean_name(task.kind), title_of(main), "95 % interval", *map(title_of, others)):
        table.add_column(name, justify="right")
    for part in cut.parts:
        first = part.metrics[main]
        table.add_row(
            Text(part.value),
            f"{part.counts.rows:,}",
            f"{part.counts.users:,}",
            number(part.counts.mean),
            number(first.value),
            interval(first),
            *(number(part.metrics[name].value) for name in others),
        )
    return table


def systems_table(comparison: Comparison, metrics: Sequence[str] | None = None) -> Table:
    """Systems of a comparison: figures (mean over seeds), spread over seeds, size and speed."""
    metrics = COMPARED[comparison.kind] if metrics is None else metrics
    table = _table(f"{comparison.task} on {comparison.split}, {comparison.rows:,} rows", ("system",))
    for name in ("seeds", *(title_of(metric) for metric in metrics), "parameters", "rows/s"):
        table.add_column(name, justify="right")
    for system in comparison.systems:
        figures = [
            number(system.metrics[name].value)
            + ("" if math.isnan(system.spread[name]) else f" +/- {system.spread[name]:.4f}")
            for name in metrics
        ]
        speed = "-" if math.isnan(system.rows_per_second) else f"{system.rows_per_second:,.0f}"
        table.add_row(Text(system.name), str(len(system.seeds)), *figures, f"{system.parameters:,}", speed)
    return table


def differences_table(comparison: Comparison, metrics: Sequence[str] | None = None) -> Table:
    """Paired differences with intervals: green is better and red worse, where the interval does not hold zero."""
    metrics = COMPARED[comparison.kind] if metrics is None else metrics
    table = _table("Differences", ("pair", "metric"))
    for name in ("difference", "95 % interval"):
        table.add_column(name, justify="right")
    table.add_column("")
    for found in comparison.differences:
        if found.metric not in metrics:
            continue
        style = "" if not found.established else "green" if found.better else "red"
        ends = "" if math.isnan(found.low) else f"{found.low:+.5f} .. {found.high:+.5f}"
        value = "-" if math.isnan(found.value) else f"{found.value:+.5f}"
        pair = Text(f"{found.system} - {found.baseline}")
        table.add_row(pair, title_of(found.metric), value, ends, Text(_verdict(found), style=style))
    table.caption = Text(comparison.note)
    table.caption_justify = "left"
    return table


def _verdict(found: Difference) -> str:
    if found.reason is not None:
        return found.reason
    if not found.established:
        return "not established"
    return "better" if found.better else "worse"


def _table(title: str, left: Sequence[str]) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in left:
        table.add_column(name, overflow="fold")
    return table


def number(value: float) -> str:
    """Four digits; a dash where undefined."""
    return "-" if math.isnan(value) else f"{value:.4f}"


def interval(metric: Metric) -> str:
    """``low .. high``; empty without one."""
    return "" if math.isnan(metric.low) else f"{metric.low:.4f} .. {metric.high:.4f}"


def _left_out(metric: Metric) -> str:
    return f"{metric.left_out:,} of {metric.left_out + (metric.groups or 0):,} left out" if metric.left_out else ""


def _counts(task: TaskReport) -> str:
    counts = task.counts
    return f"{counts.rows:,} rows, {counts.users:,} users, {mean_name(task.kind)} {number(counts.mean)}"
