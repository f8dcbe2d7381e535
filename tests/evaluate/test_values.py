"""Metrics of regressions: pencil values, weights, intervals, tables, pages and comparisons."""

import math

import numpy as np
import pytest

from hemix.errors import ConfigError, InputError
from hemix.evaluate import metrics, values
from hemix.evaluate.bootstrap import Units
from hemix.evaluate.compare import compare
from hemix.evaluate.evaluator import EvaluateConfig, evaluate, rated
from hemix.evaluate.page import compare_html, report_html
from hemix.evaluate.predictions import Origin, Predictions, SliceColumn
from hemix.evaluate.report import Report
from hemix.evaluate.tables import differences_table, metrics_table, slice_tables, systems_table

CONFIG = EvaluateConfig(bootstrap_draws=60)


def split(seed: int = 0, *, noise: float = 1.0, system: str = "s") -> Predictions:
    """A click, and the value of an order after it, of 40 users with 6 rows each."""
    truth, random = np.random.default_rng(7), np.random.default_rng(seed)
    taste = truth.normal(size=240)
    click = (truth.random(240) < 1 / (1 + np.exp(-taste))).astype(np.float32)
    value = np.where(click == 1, 20 + 5 * taste + truth.normal(size=240), np.nan).astype(np.float32)
    predicted = 20 + 5 * taste + noise * random.normal(size=240)
    return Predictions(
        origin=Origin(
            tasks=("click", "value"), kinds=("binary", "regression"), system=system, config=system, seconds=1.0
        ),
        logits=np.stack([taste + noise * random.normal(size=240), predicted], axis=1).astype(np.float32),
        labels=np.stack([click, value], axis=1),
        users=np.repeat(np.arange(40), 6),
        requests=np.arange(240) // 3,
        times=np.arange(240),
        slices={"city": SliceColumn(values=np.arange(240) % 3 + 3, names=("", "", "", "a", "b", "c"))},
    )


def test_pencil_values() -> None:
    predicted, observed, weights = np.array([1.0, 3.0, 8.0]), np.array([2.0, 3.0, 5.0]), np.array([1.0, 5.0, 2.0])
    assert values.mae(predicted, observed) == pytest.approx(4 / 3)
    assert values.rmse(predicted, observed) == pytest.approx(math.sqrt(10 / 3))
    assert values.mean_ratio(predicted, observed) == pytest.approx(12 / 10)
    assert values.mae(predicted, observed, weights) == pytest.approx(7 / 8)
    assert values.rmse(predicted, observed, weights) == pytest.approx(math.sqrt(19 / 8))
    assert values.mean_ratio(predicted, observed, weights) == pytest.approx(32 / 27)
    assert values.constant_rmse(np.array([1.0, 3.0])) == 1.0


def test_undefined_is_nan() -> None:
    nothing = np.zeros(0)
    assert math.isnan(values.mae(nothing, nothing))
    assert math.isnan(values.mean_ratio(np.ones(2), np.array([-1.0, 1.0])))
    assert math.isnan(values.rmse(np.ones(2), np.ones(2), np.zeros(2)))


def test_draws_are_metrics_of_repeated_rows() -> None:
    rows = rated(split(), 1)
    rows = rows.take(~np.isnan(rows.labels))
    units = Units.of(rows, 10)
    counts = np.random.default_rng(0).integers(0, 3, (4, units.num)).astype(np.float64)
    found = values.ValueSample(rows, units).metrics(counts)
    for draw, count in enumerate(counts):
        again = np.repeat(np.arange(len(rows)), count[units.codes].astype(int))
        for name, metric in (("mae", values.mae), ("rmse", values.rmse), ("mean_ratio", values.mean_ratio)):
            assert found[name][draw] == pytest.approx(metric(rows.logits[again], rows.labels[again]), rel=1e-6)


def test_a_report_of_both_kinds() -> None:
    predictions = split()
    report = evaluate(predictions, CONFIG)
    click, value = report.tasks["click"], report.tasks["value"]
    known = ~np.isnan(predictions.labels[:, 1])
    assert list(value.metrics) == ["mae", "rmse", "mean_ratio"]
    assert (click.kind, value.kind) == ("binary", "regression")
    assert value.counts.rows == known.sum() == click.counts.positives
    assert value.counts.unlabelled == 240 - known.sum()
    assert (value.counts.positives, value.counts.mean) == (0, pytest.approx(predictions.labels[known, 1].mean()))
    assert value.constant_rmse == pytest.approx(predictions.labels[known, 1].std())
    assert value.value("rmse") < value.constant_rmse
    assert math.isnan(value.constant_log_loss)
    assert all(metric.low < metric.value < metric.high for metric in value.metrics.values())
    assert set(value.slices[0].parts[0].metrics) == {"mae", "rmse", "mean_ratio"}
    assert report.figures["value.rmse"] == value.metrics["rmse"]
    assert report.figures["auc"] == report.figures["click.auc"] == click.metrics["auc"]
    assert Report.from_json(report.to_json()).tasks["value"].metrics == value.metrics
    with pytest.raises(ConfigError, match=r"metric of the regression label 'value' 'auc'; available: mae"):
        value.value("auc")


def test_bins_of_values_come_true_where_predictions_do() -> None:
    predictions = split(noise=0.0)
    bins = evaluate(predictions, CONFIG).tasks["value"].reliability
    assert np.abs(np.array(bins.predicted) - np.array(bins.observed)).max() < 2.0
    assert min(bins.predicted) > 1.0


def test_without_values() -> None:
    predictions = split()
    predictions.labels[:, 1] = np.nan
    value = evaluate(predictions, CONFIG).tasks["value"]
    assert {metric.reason for metric in value.metrics.values()} == {"there are no labelled rows"}
    assert "one value only" in report_html(evaluate(predictions, CONFIG), predictions)


def test_labels_of_both_kinds_are_checked() -> None:
    predictions = split()
    for column, bad in ((0, 0.5), (1, np.inf)):
        labels = predictions.labels.copy()
        labels[0, column] = bad
        with pytest.raises(InputError, match=r"found (0\.5|Inf)"):
            Predictions(
                **{name: getattr(predictions, name) for name in ("origin", "logits", "users", "requests", "times")},
                labels=labels,
            )


def test_comparison_of_values() -> None:
    runs = [split(1, noise=4.0, system="dull"), split(2, noise=0.2, system="sharp")]
    found = compare(runs, CONFIG, task=1)
    assert found.kind == "regression"
    (rmse,) = [difference for difference in found.differences if difference.metric == "rmse"]
    assert rmse.established
    assert rmse.better
    assert rmse.value == pytest.approx(
        *(
            values.rmse(b.logits[k, 1], b.labels[k, 1]) - values.rmse(a.logits[k, 1], a.labels[k, 1])
            for a, b, k in [(runs[0], runs[1], ~np.isnan(runs[0].labels[:, 1]))]
        )
    )
    assert {difference.metric for difference in found.differences} == {"mae", "rmse"}
    assert "RMSE" in compare_html(found)
    assert [str(column.header) for column in systems_table(found).columns][2:4] == ["RMSE", "MAE"]
    assert differences_table(found).row_count == 2


def test_tables_and_page() -> None:
    predictions = split()
    report = evaluate(predictions, CONFIG)
    cells = [str(cell) for column in metrics_table(report).columns for cell in column.cells]
    assert {"RMSE", "RMSE of the mean", "LogLoss of base rate", "mean ratio"} <= set(cells)
    assert any("mean 2" in cell for cell in cells)
    heads = [[str(column.header) for column in table.columns] for table in slice_tables(report)]
    assert heads[1] == ["value", "rows", "users", "mean", "RMSE", "95 % interval", "MAE", "mean ratio"]
    lines = [{"kind": "train", "step": 1, "loss": 2.0, "click": 0.7, "value": 1.3}]
    lines += [{"kind": "valid", "step": 1, "click.auc": 0.6, "click.log_loss": 0.7, "value.rmse": 5.0}]
    page = report_html(report, predictions, metrics=lines)
    for text in ("Squared error", "Validation RMSE", "mean value", "click", "root of the mean squared error"):
        assert text in page
    assert page.count("Calibration") == 2


def test_a_binary_report_is_as_before() -> None:
    predictions = split()
    plain = Predictions(
        origin=Origin(tasks=("click",)),
        logits=predictions.logits[:, :1],
        labels=predictions.labels[:, :1],
        users=predictions.users,
        requests=predictions.requests,
        times=predictions.times,
    )
    report = evaluate(plain, CONFIG)
    assert report.auc == metrics.auc(plain.logits[:, 0], plain.labels[:, 0])
    assert list(report.figures) == list(report.first.metrics)
    assert report.first.counts.mean == pytest.approx(report.first.counts.base_rate)
