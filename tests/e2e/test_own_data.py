"""A new user's own tables, from files to scores: what README.md tells them to type."""

import csv
import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from e2e.conftest import Hemix

TINY = ("--set", "train.epochs=2", "--set", "evaluate.bootstrap_draws=200")


@pytest.fixture(scope="module")
def drafted(shop: Path, done: Hemix) -> Path:
    config = shop / "shop.yaml"
    done("init", shop / "offers.csv", shop / "books.csv", "--out", config)
    return config


@pytest.fixture(scope="module")
def store(shop: Path, drafted: Path, done: Hemix) -> Path:
    result = done("prepare", drafted, "--out", shop / "store", "--json", shop / "store.json")
    assert "300 users, 400 items, 12,093 events" in result.output
    return shop / "store"


@pytest.fixture(scope="module")
def runs(shop: Path, drafted: Path, store: Path, done: Hemix) -> dict[str, Path]:
    runs = {name: shop / "runs" / name for name in ("hemix", "dlrm")}
    done("train", drafted, "--data", store, "--out", runs["hemix"], *TINY)
    dlrm = ("--set", "model={name: dlrm, embedding_dim: 16}", "--set", "name=shop-dlrm")
    done("train", drafted, "--data", store, "--out", runs["dlrm"], *TINY, *dlrm, "--seed", 3)
    return runs


def test_prepare_writes_the_same_figures_as_it_prints(shop: Path, store: Path) -> None:
    figures = json.loads((shop / "store.json").read_text())
    assert figures["items"] == 400
    assert sum(split["rows"] for split in figures["splits"]) == 12_093


def test_evaluate_measures_what_was_learnt(runs: dict[str, Path], tmp_path: Path, done: Hemix) -> None:
    result = done("evaluate", runs["hemix"], "--json", tmp_path / "figures.json")
    assert "AUC" in result.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    auc = figures["tasks"]["bought"]["metrics"]["auc"]
    assert 0.5 < auc["low"] < auc["value"] < auc["high"] < 0.9
    assert json.loads((runs["hemix"] / "report.json").read_text()) == figures
    assert "<svg" in (runs["hemix"] / "report.html").read_text()


def test_compare_evaluates_what_was_not(runs: dict[str, Path], tmp_path: Path, done: Hemix) -> None:
    result = done("compare", runs["dlrm"], runs["hemix"], "--json", tmp_path / "c.json", "--out", tmp_path / "c.html")
    assert "shop - shop-dlrm" in result.output
    figures = json.loads((tmp_path / "c.json").read_text())
    assert [system["seeds"] for system in figures["systems"]] == [[3], [0]]
    assert all(d["low"] <= d["value"] <= d["high"] for d in figures["differences"] if d["value"] is not None)
    assert (tmp_path / "c.html").stat().st_size > 1000


def test_predict_scores_new_rows_in_their_own_order(
    shop: Path, runs: dict[str, Path], tmp_path: Path, done: Hemix
) -> None:
    """Readers and books of training, a new reader and a new book; the label's column need not be there."""
    rows = [
        ("2024-06-01T10:00:00+00:00", "R007", "978-0001", "app"),
        ("2024-06-01T09:00:00+00:00", "R999", "978-0002", "web"),
        ("2024-06-01T10:00:00+00:00", "R007", "978-9999", ""),
    ]
    with (tmp_path / "new.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("shown_at", "reader_no", "isbn", "channel"), *rows])
    done("predict", runs["hemix"], tmp_path / "new.csv", "--out", tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open() as file:
        scored = list(csv.DictReader(file))
    assert [(row["reader_no"], row["isbn"]) for row in scored] == [(row[1], row[2]) for row in rows]
    assert all(0 < float(row["score_bought"]) < 1 for row in scored)
    assert len({row["score_bought"] for row in scored}) == 3


def test_models_are_counted_for_a_store(store: Path, tmp_path: Path, done: Hemix) -> None:
    done("models", "--data", store, "--json", tmp_path / "models.json")
    figures = json.loads((tmp_path / "models.json").read_text())
    costs = {model["model"]: model["multiply_adds_per_candidate"] for model in figures}
    assert {"din", "dlrm", "hemix", "deepfm", "gdcn"} < set(costs)
    assert {model for model, cost in costs.items() if not cost} == {"lr", "fm"}, "sums and no matrix products"


def test_the_model_of_an_experiment_is_counted_by_part(
    drafted: Path, store: Path, runs: dict[str, Path], tmp_path: Path, done: Hemix
) -> None:
    """As many parameters as the trained model has."""
    shown = done("models", "--config", drafted, "--data", store, *TINY, "--json", tmp_path / "size.json").output
    size = json.loads((tmp_path / "size.json").read_text())
    parts = size["parameters_by_part"]
    trained = load_file(runs["hemix"] / "best" / "weights.safetensors")
    assert parts["all"] == sum(weights.size for weights in trained.values())
    assert parts["all"] == sum(number for part, number in parts.items() if part != "all")
    assert parts["tables"] == size["table_parameters"]
    assert size["training_bytes"] == 4 * (1.25 * parts["tables"] + 4 * (parts["all"] - parts["tables"]))
    assert f"{parts['all']:,}" in shown


def test_a_finished_run_is_not_trained_over(drafted: Path, store: Path, runs: dict[str, Path], hemix: Hemix) -> None:
    result = hemix("train", drafted, "--data", store, "--out", runs["hemix"], *TINY)
    assert result.exit_code == 2
    assert "holds a finished run" in result.output
    again = hemix("train", drafted, "--data", store, "--out", runs["hemix"], *TINY, "--resume")
    assert again.exit_code == 0
