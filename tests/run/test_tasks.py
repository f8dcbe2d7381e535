"""Several labels from a table to figures and scores: masked, joint (ESMM), regressions, behind experts."""

from pathlib import Path

import numpy as np
import pyarrow.csv
import pytest
from typer.testing import CliRunner

from hemix.cli import app
from hemix.data.store import Store
from hemix.errors import ConfigError
from hemix.evaluate import metrics
from hemix.evaluate.report import Report
from hemix.explain.request import task_place
from hemix.ledger import read
from hemix.objectives.targets import prediction
from hemix.run import Run, train
from hemix.run.compare import compare
from hemix.run.predict import predict
from run.orders import experiment, make_store

ESMM = {"name": "esmm", "click": "click", "conversion": "order"}
KINDS = {
    "shared bottom": {},
    "esmm": {"objective": ESMM},
    "mmoe": {"model": {"towers": {"name": "mmoe", "expert_hidden": [16]}, "tower_hidden": [8]}},
    "ple": {"model": {"towers": {"name": "ple", "expert_hidden": [16], "num_levels": 2}}, "objective": ESMM},
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return make_store(tmp_path_factory.mktemp("orders"))


@pytest.fixture(scope="module")
def runs(store: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """One run of each kind, evaluated."""
    folder = tmp_path_factory.mktemp("runs")
    found = {}
    for name, kind in KINDS.items():
        model = {"name": "dlrm", "embedding_dim": 8, "top_hidden": [32], **kind.get("model", {})}
        asked = experiment(name=name, model=model, objective=kind.get("objective", {}))
        found[name] = train(asked, store, folder / name, progress=False)
        found[name].evaluate()
    return found


def report(run: Run) -> Report:
    return Report.load(run.path / "report.json")


@pytest.mark.parametrize("name", KINDS)
def test_every_label_is_learnt(runs: dict[str, Run], name: str) -> None:
    """Better than the constant in each, conversions of all impressions included, where no click tells of them."""
    tasks = report(runs[name]).tasks
    assert list(tasks) == ["click", "order", "value", "order_of_all", "bought"]
    for label in ("click", "order", "order_of_all", "bought"):
        assert tasks[label].value("log_loss") < 0.95 * tasks[label].constant_log_loss, label
        assert tasks[label].value("auc") > 0.7, label
    assert tasks["value"].value("rmse") < 0.5 * tasks["value"].constant_rmse
    assert 0.8 < tasks["value"].value("mean_ratio") < 1.2


def test_counts_of_masked_labels(runs: dict[str, Run]) -> None:
    tasks = report(runs["esmm"]).tasks
    counts = {name: task.counts for name, task in tasks.items()}
    assert counts["order"].rows == counts["click"].positives
    assert counts["value"].rows == counts["order"].positives == counts["bought"].positives
    assert counts["order_of_all"].rows == counts["click"].rows == counts["bought"].rows
    assert [task.kind for task in tasks.values()] == ["binary", "binary", "regression", "binary", "binary"]
    assert set(tasks["value"].slices[0].parts[0].metrics) == {"mae", "rmse", "mean_ratio"}


def test_labels_that_are_only_measured_are_scored_by_their_heads(runs: dict[str, Run]) -> None:
    predictions = runs["esmm"].predict()
    click, order, _, of_all, bought = predictions.logits.T
    assert np.array_equal(of_all, order)
    joint = metrics.probabilities(click) * metrics.probabilities(order)
    np.testing.assert_allclose(metrics.probabilities(bought), joint, rtol=1e-5)
    found = report(runs["esmm"]).tasks["order_of_all"].value("auc")
    assert found == metrics.auc(order, predictions.labels[:, 3])
    assert len(runs["esmm"].ranker.inputs.tasks) == 3


def test_the_log_and_the_ledger_have_every_label(runs: dict[str, Run]) -> None:
    run = runs["esmm"]
    entries = [entry for entry in read(run.default_ledger).entries if entry.cell == "esmm"]
    assert [entry.split for entry in entries] == ["valid", "test"]
    for figures in (*(entry.figures for entry in entries), next(x for x in run.metrics if x["kind"] == "valid")):
        assert {"auc", "click.auc", "order.auc", "value.rmse", "order_of_all.auc", "bought.ne"} <= figures.keys()
    assert {"value.mae", "order.auc"} <= entries[1].intervals.keys()
    assert {"click", "click_and_order", "value"} <= next(x for x in run.metrics if x["kind"] == "train").keys()
    assert run.result["best"] == min(x["order.log_loss"] for x in run.metrics if x["kind"] == "valid")


def test_predict_gives_conversion_and_product(runs: dict[str, Run], store: Store, tmp_path: Path) -> None:
    """Every row has p(click), p(order | click), the expected value of an order, and p(click) p(order | click)."""
    table = store.path.parent / "shown.csv"
    predict(runs["esmm"], table, tmp_path / "esmm.csv")
    found = pyarrow.csv.read_csv(tmp_path / "esmm.csv").to_pydict()
    scores = {name: np.array(values) for name, values in found.items() if name.startswith("score_")}
    assert list(scores) == ["score_click", "score_order", "score_value", "score_bought", "score_click_and_order"]
    np.testing.assert_allclose(
        scores["score_click_and_order"], scores["score_click"] * scores["score_order"], rtol=1e-5
    )
    np.testing.assert_allclose(scores["score_bought"], scores["score_click_and_order"], rtol=1e-5)
    price, value = np.array(found["price"]), scores["score_value"]
    assert abs(value[price == 5].mean() - 5) < 5
    assert abs(value[price == 50].mean() - 50) < 10
    predict(runs["mmoe"], table, tmp_path / "mmoe.csv")
    assert "score_click_and_order" not in pyarrow.csv.read_csv(tmp_path / "mmoe.csv").column_names


def test_compare_reads_the_label_that_is_asked_for(runs: dict[str, Run], tmp_path: Path) -> None:
    pair = [runs["esmm"], runs["mmoe"]]
    assert compare(pair).task == "click"
    found = compare(pair, task="value")
    assert (found.task, found.kind) == ("value", "regression")
    assert found.systems[0].metrics["rmse"].value == report(runs["esmm"]).tasks["value"].value("rmse")
    with pytest.raises(ConfigError, match=r"Unknown task 'ordr'; available: .*Did you mean 'order'"):
        compare(pair, task="ordr")
    arguments = ["compare", *(str(run.path) for run in pair), "--task", "order_of_all"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "page.html")])
    assert done.exit_code == 0, done.output
    assert "order_of_all on test" in done.output


def test_a_value_is_not_explained_as_a_logit(runs: dict[str, Run]) -> None:
    assert task_place(runs["esmm"].ranker.inputs, "order") == 1
    with pytest.raises(ConfigError, match=r"'value' is a regression. Labels that can be explained: click, order\."):
        task_place(runs["esmm"].ranker.inputs, "value")


def test_conversions_of_clicks_alone(store: Store, runs: dict[str, Run], tmp_path: Path) -> None:
    """Weight 0 for the click: nothing but the orders of clicked rows moves the weights."""
    alone = {"task_weights": {"click": 0, "value": 0}}
    run = train(experiment(objective=alone, train={"epochs": 3}), store, tmp_path / "alone", progress=False)
    tasks = run.evaluate().tasks
    assert tasks["order_of_all"].value("auc") > 0.7
    assert tasks["click"].value("log_loss") > tasks["click"].constant_log_loss - 0.02
    lines = [line for line in run.metrics if line["kind"] == "train"]
    assert all(line["loss"] == pytest.approx(line["order"]) for line in lines)


def test_a_logged_target_is_learnt_in_its_scale(tmp_path: Path) -> None:
    labels = [{"name": "value", "kind": "regression", "loss": "log_squared"}]
    store = make_store(tmp_path, labels=labels)
    asked = experiment(data={**store.config.model_dump(mode="json")}, train={"monitor": "rmse"})
    run = train(asked, store, tmp_path / "run", progress=False)
    found = run.evaluate().first
    assert found.value("rmse") < 0.5 * found.constant_rmse
    (task,) = run.ranker.inputs.tasks
    assert task.loss == "log_squared"
    assert prediction(task, run.ranker.embedding.tables[0].new_zeros(1)).item() == pytest.approx(np.expm1(task.centre))
