"""One pass over a split: what is gathered, what is reported, and the reason where a metric is undefined."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from evaluate.worlds import INPUTS, Oracle, make_batch, make_runs
from hemix.errors import InputError, RunError
from hemix.evaluate import metrics
from hemix.evaluate.calibration import ece
from hemix.evaluate.evaluator import EvaluateConfig, evaluate, predict_split
from hemix.evaluate.report import Report
from hemix.evaluate.slices import SliceReader, Training

CPU = torch.device("cpu")
QUICK = EvaluateConfig(bootstrap_draws=50)
NONE = EvaluateConfig(bootstrap_draws=0)


@pytest.fixture(scope="module")
def batches():
    return [make_batch(seed) for seed in range(4)]


@pytest.fixture(scope="module")
def predictions(batches):
    reader = SliceReader(INPUTS, ("city", "genres", "price"), Training.scan(batches[:2], INPUTS))
    return predict_split(Oracle(), batches, device=CPU, slices=reader)


def test_rows_come_in_the_loaders_order_with_their_requests(batches, predictions):
    assert predictions.num_rows == sum(batch.num_rows for batch in batches)
    np.testing.assert_array_equal(predictions.labels, np.concatenate([batch.labels for batch in batches]))
    assert predictions.requests[0] == 0
    assert predictions.requests[-1] == 239
    assert set(np.diff(predictions.requests)) == {0, 1}
    first = batches[1]
    rows = predictions.requests == 60
    assert rows.sum() == first.offsets[1]
    assert (predictions.users[rows] == first.requests.users[0].item()).all()
    assert (predictions.times[rows] == 1000).all()


def test_down_sampling_is_undone_per_task(batches, predictions):
    price = np.concatenate([torch.nan_to_num(batch.candidates.numbers[:, 0]).numpy() for batch in batches])
    np.testing.assert_allclose(predictions.logits[:, 0], price - 0.5, rtol=1e-6)
    np.testing.assert_array_equal(predictions.logits[:, 1], price)


def test_batches_cut_elsewhere_change_nothing_but_time(predictions):
    def halves(batch):
        """The requests of a batch in two batches."""
        middle = 25
        cut = int(batch.offsets[middle])
        for requests, rows in ((slice(0, middle), slice(0, cut)), (slice(middle, None), slice(cut, None))):
            part = batch.requests
            yield dataclasses.replace(
                batch,
                requests=dataclasses.replace(
                    part,
                    columns=dataclasses.replace(
                        part.columns, ids=part.columns.ids[requests], numbers=part.columns.numbers[requests]
                    ),
                    histories={
                        name: dataclasses.replace(
                            history,
                            events=dataclasses.replace(
                                history.events,
                                ids=history.events.ids[requests],
                                numbers=history.events.numbers[requests],
                            ),
                            times=history.times[requests],
                            lengths=history.lengths[requests],
                        )
                        for name, history in part.histories.items()
                    },
                    users=part.users[requests],
                    times=part.times[requests],
                ),
                candidates=dataclasses.replace(
                    batch.candidates, ids=batch.candidates.ids[rows], numbers=batch.candidates.numbers[rows]
                ),
                offsets=batch.offsets[: middle + 1] if rows.start == 0 else batch.offsets[middle:] - cut,
                labels=batch.labels[rows],
                weights=batch.weights[rows],
            )

    cut = [half for seed in range(4) for half in halves(make_batch(seed))]
    again = predict_split(Oracle(), cut, device=CPU)
    assert again.fingerprint() == predictions.fingerprint()
    np.testing.assert_array_equal(again.logits, predictions.logits)


def test_the_ranker_is_in_evaluation_mode_and_put_back(batches):
    ranker = Oracle()
    done = []
    predict_split(ranker, batches, device=CPU, progress=done.append)
    assert ranker.modes == [False] * 4
    assert ranker.training
    assert done == [batch.num_rows for batch in batches]


def test_every_metric_is_that_of_the_pure_functions(predictions):
    report = evaluate(predictions, QUICK)
    known = ~np.isnan(predictions.labels[:, 1])
    for name, rows in (("click", np.ones(predictions.num_rows, dtype=bool)), ("buy", known)):
        task = 0 if name == "click" else 1
        logits, labels = predictions.logits[rows, task], predictions.labels[rows, task]
        users, requests = predictions.users[rows], predictions.requests[rows]
        expected = {
            "auc": metrics.auc(logits, labels),
            "gauc": metrics.gauc(logits[users >= 0], labels[users >= 0], users[users >= 0]),
            "log_loss": metrics.log_loss(logits, labels),
            "ne": metrics.normalized_entropy(logits, labels),
            "pr_auc": metrics.pr_auc(logits, labels),
            "ece": ece(logits, labels),
            "copc": metrics.copc(logits, labels),
            "brier": metrics.brier(logits, labels),
            "ndcg@10": metrics.ndcg_at_k(logits, labels, requests, 10),
        }
        found = report.tasks[name]
        assert {metric: found.value(metric) for metric in found.metrics} == pytest.approx(expected, nan_ok=True)
        for metric in found.metrics.values():
            assert metric.reason is None
            assert metric.low <= metric.high
            assert metric.low - 0.1 < metric.value < metric.high + 0.1
    assert report.auc == report.tasks["click"].value("auc")
    assert report.ndcg(10) == report.tasks["click"].value("ndcg@10")
    for name in ("gauc", "log_loss", "ne", "pr_auc", "ece", "copc", "brier"):
        assert getattr(report, name) == report.first.value(name)


def test_counts_and_the_constant_to_beat(predictions):
    report = evaluate(predictions, NONE)
    click, buy = report.tasks["click"], report.tasks["buy"]
    labels = predictions.labels[:, 0]
    assert click.counts.rows == len(labels)
    assert click.counts.requests == 240
    assert click.counts.users == len(np.unique(predictions.users[predictions.users >= 0]))
    assert click.counts.positives == labels.sum() == buy.counts.rows
    assert buy.counts.unlabelled == len(labels) - labels.sum()
    assert click.constant_log_loss == pytest.approx(metrics.entropy(float(labels.mean())))
    assert click.value("ne") == pytest.approx(click.value("log_loss") / click.constant_log_loss)
    assert math.isnan(click.metrics["auc"].low)
    assert sum(click.reliability.rows) == len(labels)


def test_weights_count_where_they_are_asked_for(predictions):
    found = evaluate(predictions, EvaluateConfig(bootstrap_draws=0, weighted=True))
    weights = predictions.weights.astype(np.float64)
    expected = metrics.auc(predictions.logits[:, 0], predictions.labels[:, 0], weights)
    assert found.weighted
    assert found.auc == pytest.approx(expected)
    assert found.auc != pytest.approx(evaluate(predictions, NONE).auc)


def test_a_report_is_read_back_as_it_was_written(predictions, tmp_path):
    report = evaluate(predictions, QUICK)
    report.save(tmp_path / "report.json")
    again = Report.load(tmp_path / "report.json")
    assert again.to_json() == report.to_json()
    assert "NaN" not in report.to_json()
    with pytest.raises(RunError, match="There is no report"):
        Report.load(tmp_path / "none.json")
    with pytest.raises(RunError, match="not a report of this version: tasks Field required"):
        Report.from_json('{"origin": {"tasks": []}, "interval": ""}')


def one_class(value):
    (run,) = make_runs([1.0], num_users=5)
    return dataclasses.replace(run, labels=np.full_like(run.labels, value))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_one_class_has_a_reason(value):
    run = one_class(value)
    found = evaluate(run, QUICK).first.metrics
    for name in ("auc", "gauc", "ne", "ndcg@10"):
        assert math.isnan(found[name].value)
        assert found[name].reason == f"all {run.num_rows} labels are {int(value)}"
        assert math.isnan(found[name].low)
    assert found["log_loss"].reason is None
    assert found["gauc"].left_out == 5


def test_rows_without_users_have_a_reason():
    (run,) = make_runs([1.0], num_users=5)
    found = evaluate(dataclasses.replace(run, users=np.full_like(run.users, -1)), QUICK)
    assert found.first.metrics["gauc"].reason == "rows have no user"
    assert "over requests" in found.interval
    assert found.first.counts.users == 0
    assert found.auc > 0.5


def test_a_task_without_labels_has_a_reason():
    run = one_class(np.nan)
    found = evaluate(run, QUICK).first
    assert {metric.reason for metric in found.metrics.values()} == {"there are no labelled rows"}
    assert found.counts.unlabelled == run.num_rows
    assert math.isnan(found.constant_log_loss)


def test_requests_of_one_candidate_have_no_order():
    (run,) = make_runs([1.0], num_users=5)
    alone = dataclasses.replace(run, requests=np.arange(run.num_rows))
    found = evaluate(alone, QUICK).first.metrics["ndcg@10"]
    assert found.reason == "no request has candidates of both classes"
    assert found.left_out == run.num_rows


def test_one_user_has_no_interval():
    (run,) = make_runs([1.0], num_users=1, rows_per_user=50)
    assert math.isnan(evaluate(run, QUICK).first.metrics["auc"].low)


def test_all_weights_zero_have_a_reason():
    (run,) = make_runs([1.0], num_users=5)
    run = dataclasses.replace(run, weights=np.zeros(run.num_rows))
    found = evaluate(run, EvaluateConfig(weighted=True)).first.metrics
    assert found["log_loss"].reason == "all weights are 0"


def test_bad_predictions_are_refused(batches):
    with pytest.raises(InputError, match="must hold rows to be evaluated"):
        predict_split(Oracle(), [], device=CPU)
    with pytest.raises(InputError, match="must have labels to be evaluated"):
        predict_split(Oracle(), [dataclasses.replace(batches[0], labels=None)], device=CPU)
    with pytest.raises(RunError, match=r"Every logit must be finite; .* The model has diverged"):
        predict_split(Oracle(noise=math.inf), batches, device=CPU)
    with pytest.raises(InputError, match=r"A label must be 0, 1 or unknown \(NaN\); found 2\.0"):
        predict_split(Oracle(), [dataclasses.replace(batches[0], labels=batches[0].labels * 2)], device=CPU)


GOLDEN = {
    "auc": (0.7675799086757991, 0.6876873237503431, 0.8351437536931761),
    "gauc": (0.7217186147186146, 0.619416666392575, 0.8078243387016022),
    "log_loss": (0.4800580097477528, 0.4119108716418838, 0.5558452599694939),
    "ne": (0.8792958756330488, 0.7387601902051522, 1.0494115550195655),
    "pr_auc": (0.5678547006294028, 0.3909615874664334, 0.7282916663937621),
    "ece": (0.13469826736318716, 0.0985259348832555, 0.1810028183241405),
    "copc": (0.7851952394991379, 0.6417498694049543, 0.9600100423829204),
    "brier": (0.1611105948971331, 0.13335447264987765, 0.1938105569396432),
    "ndcg@10": (0.8455826123312272, 0.7564883699137815, 0.9234520714593564),
}


def test_golden_values():
    """Value and interval of each metric: a change here is a change of what the project reports."""
    (run,) = make_runs([1.0], num_users=30)
    report = evaluate(run, EvaluateConfig(bootstrap_draws=200))
    found = report.first.metrics
    assert found.keys() == GOLDEN.keys()
    for name, (value, low, high) in GOLDEN.items():
        assert found[name].value == pytest.approx(value, rel=1e-12), name
        assert (found[name].low, found[name].high) == pytest.approx((low, high), rel=1e-9), name
