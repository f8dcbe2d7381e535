"""Opening a run: what it says of itself, its model, and evaluation."""

from pathlib import Path

import numpy as np
import pytest
import torch

from hemix.data.loader import Loader
from hemix.data.store import Store
from hemix.errors import RunError
from hemix.evaluate.predictions import Predictions
from hemix.evaluate.report import Report
from hemix.ledger import read
from hemix.run import Run, train
from run.clicks import OTHER_SPLIT, experiment, make_store


@pytest.fixture(scope="module")
def run(store_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(experiment(), store_path, tmp_path_factory.mktemp("runs") / "one", progress=False)


def test_the_model_rebuilds_itself(run: Run, store_path: Path) -> None:
    batch = next(iter(Loader(Store.open(store_path).split("test"), batch_size=32, seed=None)))
    opened = Run.open(run.path)
    with torch.no_grad():
        assert torch.equal(opened.ranker(batch), run.ranker(batch))
    assert not opened.ranker.training
    assert opened.ranker.config == run.experiment.model


def test_evaluate_reports_and_writes(run: Run) -> None:
    report = run.evaluate()
    assert Report.load(run.path / "report.json").to_json() == report.to_json()
    predictions = Predictions.load(run.path / "predictions-test.npz")
    assert predictions.origin.run == "one"
    assert (predictions.origin.system, predictions.origin.seed) == ("clicks", 0)
    assert predictions.num_rows == run.store.split("test").num_rows
    assert report.origin.parameters == run.result["parameters"] > report.origin.table_parameters > 0
    assert {"a", "b", "c"} >= {part.value for part in report.first.slices[0].parts}


def test_validation_figures_come_from_the_same_evaluator(run: Run) -> None:
    """The kept weights, evaluated again, give the figures that chose them."""
    report = run.evaluate("valid")
    assert report.auc == run.result["best"]


def test_each_reading_of_the_test_split_is_counted(run: Run, tmp_path: Path) -> None:
    ledger = tmp_path / "study.jsonl"
    for split in ("test", "valid", "test"):
        run.evaluate(split, ledger=ledger)
    entries = read(ledger).entries
    assert [(entry.split, entry.test_reads) for entry in entries] == [("test", 1), ("valid", 1), ("test", 2)]
    assert set(entries[0].intervals) <= set(entries[0].figures)
    low, high = entries[0].intervals["auc"]
    assert low <= entries[0].figures["auc"] <= high


def test_another_store_with_the_same_encoder(run: Run, tmp_path: Path) -> None:
    same = make_store(tmp_path / "same")
    np.testing.assert_array_equal(run.predict(store=same).logits, run.predict().logits)
    other = make_store(tmp_path / "other", **OTHER_SPLIT)
    with pytest.raises(RunError, match=r"can only read stores with the encoder it was trained with"):
        run.evaluate(store=other)


def test_folders_that_are_no_run(tmp_path: Path, run: Run) -> None:
    with pytest.raises(RunError, match=r"There is no run at .*config\.json is missing"):
        Run.open(tmp_path)
    for name in ("environment.json", "best/model.json"):
        copy = tmp_path / name.replace("/", "-")
        for file in (path for path in run.path.rglob("*") if path.is_file()):
            target = copy / file.relative_to(run.path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
        (copy / name).unlink()
        with pytest.raises(RunError, match=rf"{Path(name).name} is missing"):
            Run.open(copy).evaluate(store=run.store)


def test_damaged_files_of_a_run(tmp_path: Path, run: Run) -> None:
    copy = tmp_path / "copy"
    for file in (path for path in run.path.rglob("*") if path.is_file()):
        target = copy / file.relative_to(run.path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(file.read_bytes())
    opened = Run.open(copy)
    opened.folder.weights.write_bytes(opened.folder.weights.read_bytes()[:-9])
    with pytest.raises(RunError, match=r"weights\.safetensors is damaged"):
        _ = opened.ranker
    opened.folder.model.write_text(opened.folder.model.read_text().replace('"format": 1', '"format": 7'))
    with pytest.raises(RunError, match=r"model\.json has format 7"):
        _ = opened.ranker
    opened.folder.config.write_text("{")
    with pytest.raises(RunError, match=r"config\.json is damaged"):
        _ = Run.open(copy).experiment
