"""`train` on a prepared store: the run folder, resuming, start weights, and what is refused."""

import json
import signal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from hemix.data.prepare import prepare
from hemix.errors import ConfigError, RunError
from hemix.experiment import Experiment
from hemix.ledger import read
from hemix.models.hemix import HeMixConfig
from hemix.objectives import LogLoss
from hemix.run import Run, train
from hemix.training.checkpoint import load_tensors
from hemix.training.folder import TIMINGS, RunFolder
from run.clicks import OTHER_SPLIT, data_section, experiment, make_store, write_tables

CPU = torch.device("cpu")


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_tensors(RunFolder(path).weights, CPU)[0]


def lines(path: Path) -> list[dict[str, object]]:
    return [{k: v for k, v in line.items() if k not in TIMINGS} for line in RunFolder(path).read_metrics()]


def interrupt_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """A Ctrl-C in the middle of the given training step."""
    forward, calls = LogLoss.forward, []

    def counted(self: LogLoss, ranker: object, batch: object) -> object:
        calls.append(1)
        if len(calls) == step:
            signal.raise_signal(signal.SIGINT)
        return forward(self, ranker, batch)

    monkeypatch.setattr(LogLoss, "forward", counted)


def test_a_run_folder_in_full(store_path: Path, tmp_path: Path) -> None:
    run = train(experiment(), store_path, tmp_path / "run", progress=False)
    written = sorted(file.relative_to(run.path).as_posix() for file in run.path.rglob("*") if file.is_file())
    assert written == [
        *("best/model.json", "best/weights.safetensors", "checkpoint/state.safetensors"),
        *("config.json", "environment.json", "metrics.jsonl", "result.json"),
    ]
    assert Experiment.model_validate_json((run.path / "config.json").read_text()) == experiment()
    assert run.environment["store"]["hash"] == run.store.hash
    assert str(Path.home()) not in (run.path / "environment.json").read_text()
    assert run.result["reason"] == "epochs"
    assert {line["kind"] for line in run.metrics} == {"train", "valid"}
    assert {"auc", "gauc", "log_loss", "ne"} <= {key for line in run.metrics for key in line}


def test_the_ledger_gets_a_line_of_validation_figures(store_path: Path, tmp_path: Path) -> None:
    run = train(experiment(), store_path, tmp_path / "run", seed=5, progress=False)
    (entry,) = read(tmp_path / "ledger.jsonl").entries
    assert (entry.cell, entry.split, entry.seed, entry.run) == ("clicks", "valid", 5, "run")
    assert entry.figures["auc"] == run.result["best"]
    assert entry.parameters == sum(parameter.numel() for parameter in run.ranker.parameters())
    assert entry.budget == {"epochs": 2, "max_steps": None, "max_seconds": None}
    assert (entry.data_hash, entry.config_hash) == (run.store.hash, experiment().hash_without_seed)
    train(experiment(), store_path, tmp_path / "two", ledger=tmp_path / "evidence" / "mine.jsonl", progress=False)
    assert read(tmp_path / "evidence" / "mine.jsonl").entries[0].study == "mine"
    assert len(read(tmp_path / "ledger.jsonl").entries) == 1


def test_the_default_folder_is_named_after_experiment_and_seed(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert train(experiment(), store_path, seed=3, progress=False).path == Path("runs/clicks-3")


def test_seeds(store_path: Path, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(experiment(), store_path, tmp_path / name, seed=seed, progress=False)
    assert lines(tmp_path / "a") == lines(tmp_path / "b") != lines(tmp_path / "c")
    first, second = weights(tmp_path / "a"), weights(tmp_path / "b")
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("tables", ["rowwise_adagrad", pytest.param("adam", marks=pytest.mark.slow)])
def test_interrupted_and_resumed_equals_uninterrupted(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tables: str
) -> None:
    """HeMix with its histories, a shuffling and prefetching loader, and a Ctrl-C in the second epoch."""
    sizes = {"token_dim": 8, "num_blocks": 1, "mixing_rank": 2, "tower_hidden": [4], "global_history": None}
    model = {"name": "hemix", "embedding_dim": 4, "real_time_history": "shown", **sizes}
    asked = experiment(model=model, train={"table_optimizer": tables, "epochs": 3})
    train(asked, store_path, tmp_path / "whole", progress=False)
    steps = Run.open(tmp_path / "whole").result["steps"]
    with monkeypatch.context() as patch:
        interrupt_at(patch, steps // 2)
        with pytest.raises(KeyboardInterrupt, match=rf"Stopped at step {steps // 2}; everything is saved.*--resume"):
            train(asked, store_path, tmp_path / "cut", progress=False)
    with pytest.raises(RunError, match="is not finished; go on with: hemix train"):
        _ = Run.open(tmp_path / "cut").result
    train(asked, store_path, tmp_path / "cut", resume=True, progress=False)
    whole, cut = weights(tmp_path / "whole"), weights(tmp_path / "cut")
    assert all(torch.equal(value, cut[name]) for name, value in whole.items())
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")


def test_resuming_a_finished_run_changes_nothing(store_path: Path, tmp_path: Path) -> None:
    run = train(experiment(), store_path, tmp_path / "run", progress=False)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    assert train(experiment(), store_path, run.path, resume=True, progress=False).result == run.result
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_resuming_with_a_larger_budget_goes_on(store_path: Path, tmp_path: Path) -> None:
    longer = experiment(train={"epochs": 4, "patience": None})
    train(longer, store_path, tmp_path / "long", progress=False)
    train(experiment(train={"patience": None}), store_path, tmp_path / "short", progress=False)
    run = train(longer, store_path, tmp_path / "short", resume=True, progress=False)
    assert run.experiment.train.epochs == 4
    assert all(torch.equal(value, weights(run.path)[name]) for name, value in weights(tmp_path / "long").items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train": {"optimizer": {"lr": 0.5}}}, r"differs in train\.optimizer\.lr\. Only train\.epochs, train\.max_s"),
        ({"model": {"name": "dlrm", "embedding_dim": 8}}, r"differs in model\.embedding_dim"),
        ({"train": {"seed": 9}}, r"differs in train\.seed"),
    ],
)
def test_only_the_budget_may_change_on_resume(
    store_path: Path, tmp_path: Path, changes: dict[str, dict[str, object]], message: str
) -> None:
    train(experiment(), store_path, tmp_path / "run", progress=False)
    with pytest.raises(RunError, match=message):
        train(experiment(**changes), store_path, tmp_path / "run", resume=True, progress=False)


def test_a_decaying_rate_pins_the_budget(store_path: Path, tmp_path: Path) -> None:
    decays = {"schedule": {"kind": "cosine"}}
    train(experiment(train=decays), store_path, tmp_path / "run", progress=False)
    with pytest.raises(RunError, match=r"so train\.epochs cannot change.*decay_steps"):
        train(experiment(train={**decays, "epochs": 5}), store_path, tmp_path / "run", resume=True, progress=False)


def test_what_stands_in_the_way(store_path: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"There is no run to resume"):
        train(experiment(), store_path, tmp_path / "run", resume=True, progress=False)
    train(experiment(), store_path, tmp_path / "run", progress=False)
    with pytest.raises(RunError, match=r"holds a finished run; go on with --resume, or choose another folder"):
        train(experiment(), store_path, tmp_path / "run", progress=False)
    with pytest.raises(ConfigError, match=r"--from gives start weights to a new run"):
        train(experiment(), store_path, tmp_path / "run", resume=True, initial=tmp_path / "run", progress=False)


def test_a_start_that_was_killed_can_be_repeated(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until config.json is there the folder is no run, and what stands in it is replaced."""
    with monkeypatch.context() as patch:
        patch.setattr("hemix.run.training._sha256", lambda path: 1 / 0)
        first = train(experiment(train={"max_steps": 1}), store_path, tmp_path / "first", progress=False)
        with pytest.raises(ZeroDivisionError):
            train(experiment(), store_path, tmp_path / "run", initial=first.path, progress=False)
    assert (tmp_path / "run" / "best" / "model.json").exists()
    with pytest.raises(RunError, match="There is no run to resume"):
        train(experiment(), store_path, tmp_path / "run", resume=True, progress=False)
    train(experiment(), store_path, tmp_path / "run", progress=False)
    train(experiment(), store_path, tmp_path / "fresh", progress=False)
    assert lines(tmp_path / "run") == lines(tmp_path / "fresh")


def test_another_data_section_is_refused(store_path: Path, tmp_path: Path) -> None:
    other = experiment(data=data_section(timezone="Asia/Tokyo"))
    with pytest.raises(ConfigError, match=r"differs in data\.timezone\. Prepare a store"):
        train(other, store_path, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_run_on_another_store_is_refused(store_path: Path, tmp_path: Path) -> None:
    train(experiment(train={"max_steps": 1}), store_path, tmp_path / "run", progress=False)
    folder = tmp_path / "other"
    folder.mkdir()
    write_tables(folder)
    with (folder / "shown.csv").open("a") as file:
        file.write("u0,i0,1700900000,1\r\n")
    other = prepare(experiment().data, folder / "store", root=folder, threads=1)
    config = (tmp_path / "run" / "config.json").read_text()
    with pytest.raises(RunError, match=r"can only be resumed on its own store.*Start a new run"):
        train(experiment(train={"max_steps": 2}), other, tmp_path / "run", resume=True, progress=False)
    assert (tmp_path / "run" / "config.json").read_text() == config


def test_start_weights_of_another_run(store_path: Path, tmp_path: Path) -> None:
    """With hardly any learning, the run ends where it began: at the weights it was given."""
    first = train(experiment(), store_path, tmp_path / "first", progress=False)
    still = {"seed": 7, "max_steps": 1, "optimizer": {"lr": 1e-30}, "table_lr": 1e-30}
    second = train(experiment(train=still), store_path, tmp_path / "second", initial=first.path, progress=False)
    assert all(torch.equal(value, weights(second.path)[name]) for name, value in weights(first.path).items())
    assert second.environment["initial"]["run"] == "first"
    assert len(second.environment["initial"]["sha256"]) == 64


def test_start_weights_of_a_model_with_other_settings(store_path: Path, tmp_path: Path) -> None:
    """All tensors fit, and mean something else; dropout has none."""
    bst = {"name": "bst", "embedding_dim": 4, "token_dim": 4, "num_heads": 1, "hidden": [4], "dropout": 0.1}

    def start(name: str, initial: str | None, **changed: object) -> None:
        asked = experiment(model={**bst, **changed}, train={"max_steps": 1})
        first = None if initial is None else tmp_path / initial
        train(asked, store_path, tmp_path / name, initial=first, progress=False)

    start("first", None)
    start("second", "first", dropout=0.5)
    with pytest.raises(RunError, match=r"differs in model\.num_heads\. Take over"):
        start("third", "first", num_heads=2)
    assert not (tmp_path / "third").exists()


def test_start_weights_that_do_not_fit(store_path: Path, tmp_path: Path) -> None:
    train(experiment(train={"max_steps": 1}), store_path, tmp_path / "first", progress=False)
    wide = experiment(model={"name": "dlrm", "embedding_dim": 8})
    with pytest.raises(RunError, match=r"differs in model\.embedding_dim\. Take over"):
        train(wide, store_path, tmp_path / "second", initial=tmp_path / "first", progress=False)
    other = make_store(tmp_path / "data", **OTHER_SPLIT)
    asked = experiment(data=data_section(**OTHER_SPLIT))
    with pytest.raises(RunError, match=r"can only read stores with the encoder it was trained with"):
        train(asked, other, tmp_path / "third", initial=tmp_path / "first", progress=False)
    assert not (tmp_path / "second").exists()
    assert not (tmp_path / "third").exists()


def test_pretrained_vectors_are_start_values(tmp_path: Path) -> None:
    vectors = pa.table({"value": ["i3", "i7"], "vector": [[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]]})
    pq.write_table(vectors, tmp_path / "vectors.parquet")
    data = data_section()
    data["features"]["candidate"][0] |= {"pretrained": "vectors.parquet", "dim": 4}
    write_tables(tmp_path)
    asked = experiment(data=data, train={"max_steps": 1, "table_lr": 1e-30})
    store = prepare(asked.data, tmp_path / "store", root=tmp_path, threads=1)
    run = train(asked, store, tmp_path / "run", progress=False)
    given = store.pretrained("item")
    assert given is not None
    known = ~np.isnan(given).any(axis=1)
    table = torch.cat(list(run.ranker.embedding.tables)).detach().numpy()
    assert all((np.abs(table - row).sum(axis=1) == 0).any() for row in given[known])
    assert known.sum() == 2


def test_no_validation_rows(tmp_path: Path) -> None:
    split = {"split": {"by": "random", "fractions": [0.9, 0.0, 0.1]}}
    store = make_store(tmp_path / "data", **split)
    data = data_section(**split)
    with pytest.raises(ConfigError, match=r"Early stopping \(train\.patience 2\) needs validation rows"):
        train(experiment(data=data), store, tmp_path / "run", progress=False)
    run = train(experiment(data=data, train={"patience": None}), store, tmp_path / "run", progress=False)
    assert run.result["best"] is None
    assert read(run.default_ledger).entries[0].split == "train"


def test_several_tasks(tmp_path: Path) -> None:
    labels = {"labels": [{"name": "click"}, {"name": "late", "sql": "time % 2 = 0", "mask": "click"}]}
    store = make_store(tmp_path / "data", **labels)
    asked = experiment(data=data_section(**labels), train={"monitor": "late.log_loss"})
    run = train(asked, store, tmp_path / "run", progress=False)
    valid = [line for line in run.metrics if line["kind"] == "valid"]
    assert valid[0]["auc"] == valid[0]["click.auc"] != valid[0]["late.auc"]
    assert run.result["best"] == min(line["late.log_loss"] for line in valid)
    assert {"click", "late"} <= next(line for line in run.metrics if line["kind"] == "train").keys()


def test_a_table_optimizer_that_needs_more_memory_is_counted_so(
    store_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    monkeypatch.setattr("hemix.ranker.check_memory", lambda *_, table_optimizer, **__: seen.append(table_optimizer))
    train(experiment(train={"table_optimizer": "adam", "max_steps": 1}), store_path, tmp_path / "a", progress=False)
    train(experiment(train={"max_steps": 1}), store_path, tmp_path / "b", progress=False)
    assert seen == ["adam", "rowwise_adagrad"]


def test_nothing_is_written_before_all_parts_are_built(store_path: Path, tmp_path: Path) -> None:
    missing = HeMixConfig(embedding_dim=4)
    with pytest.raises(ConfigError, match="global"):
        train(experiment(model=missing.model_dump()), store_path, tmp_path / "run", progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_profile(store_path: Path, tmp_path: Path) -> None:
    run = train(experiment(train={"profile_steps": 2}), store_path, tmp_path / "run", progress=False)
    assert "backward" in run.folder.profile.read_text()
    assert json.loads((run.path / "config.json").read_text())["train"]["profile_steps"] == 2
