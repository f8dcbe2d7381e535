"""The loop on a toy learner: budgets, validation, early stopping, resuming, and every option doing something."""

import json
import signal
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from hemix.errors import ConfigError, RunError, TrainingError
from hemix.objectives.loss import BESIDE_PARTS
from hemix.training.checkpoint import load_tensors
from hemix.training.folder import TIMINGS, RunFolder
from hemix.training.trainer import Outcome, Trainer, resolve_device
from training.toy import ToyLoader, ToyObjective, toy_config, toy_learner, toy_trainer

CPU = torch.device("cpu")


def run(path: Path, **values: object) -> tuple[Outcome, Trainer]:
    trainer = toy_trainer(RunFolder(path), toy_config(**values))
    trainer.start()
    return trainer.fit(), trainer


def lines(path: Path, kind: str | None = None) -> list[dict[str, object]]:
    """Metrics of a run without timings."""
    found = RunFolder(path).read_metrics()
    return [
        {key: value for key, value in line.items() if key not in TIMINGS}
        for line in found
        if kind is None or line["kind"] == kind
    ]


def final_weights(path: Path) -> dict[str, torch.Tensor]:
    return load_tensors(RunFolder(path).checkpoint, CPU)[0]


def assert_same_run(one: Path, other: Path) -> None:
    first, second = final_weights(one), final_weights(other)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []
    assert RunFolder(one).weights.read_bytes() == RunFolder(other).weights.read_bytes()
    assert lines(one) == lines(other)


def test_it_learns(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, epochs=20, patience=None, optimizer={"lr": 0.02})
    values = [line["log_loss"] for line in lines(tmp_path, "valid")]
    assert outcome.best == min(values) < 0.8 * values[0]


def test_a_training_that_is_pruned_stops_after_that_validation(tmp_path: Path) -> None:
    """13 steps an epoch; asked with all validations so far, again when it is resumed, and not where the budget ends."""
    config, asked = toy_config(epochs=4, patience=None), []

    def prune(curve: Sequence[float]) -> bool:
        asked.append(list(curve))
        return len(curve) == 2

    def trainer() -> Trainer:
        return toy_trainer(RunFolder(tmp_path), config)

    first = trainer()
    first.start()
    outcome = first.fit(prune)
    assert (outcome.reason, outcome.steps) == ("pruned", 26)
    curve = [line["log_loss"] for line in lines(tmp_path, "valid")]
    assert asked == [curve[:1], curve]
    assert outcome.best == min(curve)
    assert trainer().fit(prune).reason == "pruned"
    whole, _ = run(tmp_path / "whole", epochs=2, patience=None)
    assert (whole.reason, whole.best) == ("epochs", outcome.best)


def test_counts_and_lines(tmp_path: Path) -> None:
    """100 rows in batches of 8 are 13 steps an epoch; lines at steps 4, 8, 12, ... and a rest at the end."""
    outcome, _ = run(tmp_path, epochs=2, patience=None)
    assert (outcome.reason, outcome.steps, outcome.rows) == ("epochs", 26, 200)
    assert [line["step"] for line in lines(tmp_path, "train")] == [4, 8, 12, 16, 20, 24, 26]
    assert [(line["step"], line["epoch"]) for line in lines(tmp_path, "valid")] == [(13, 1), (26, 2)]
    assert lines(tmp_path, "valid")[0]["gauc"] is None
    train = RunFolder(tmp_path).read_metrics()[0]
    expected = {"kind", "step", "epoch", "rows", "loss", "click", "grad_norm", "rate_factor", *TIMINGS}
    assert set(train) == expected
    assert expected - {"click"} == set(BESIDE_PARTS)
    assert train["loss"] == pytest.approx(train["click"])


def test_same_seed_same_bits_other_seed_other_bits(tmp_path: Path) -> None:
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run(tmp_path / name, seed=seed, epochs=1)
    assert_same_run(tmp_path / "a", tmp_path / "b")
    assert lines(tmp_path / "a") != lines(tmp_path / "c")


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    run(tmp_path, epochs=1)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize(
    ("values", "reason", "steps"),
    [
        ({"max_steps": 5}, "max_steps", 5),
        ({"max_seconds": 1e-9}, "max_seconds", 0),
        ({"epochs": 1}, "epochs", 13),
        ({"epochs": None, "max_steps": 30}, "max_steps", 30),
        ({"epochs": 50, "optimizer": {"lr": 1e-30}, "table_lr": 1e-30, "patience": 2}, "early_stopping", 39),
    ],
)
def test_budgets(tmp_path: Path, values: dict[str, object], reason: str, steps: int) -> None:
    outcome, _ = run(tmp_path, **{"patience": None, **values})
    assert (outcome.reason, outcome.steps) == (reason, steps)
    assert lines(tmp_path, "valid")[-1]["step"] == steps


def test_validate_every_counts_rows(tmp_path: Path) -> None:
    """40 rows are 5 batches of 8; the last batch of the epoch, step 13, has 4. The end is always validated."""
    run(tmp_path, validate_every=40, max_steps=17, patience=None)
    assert [line["step"] for line in lines(tmp_path, "valid")] == [5, 10, 16, 17]


def test_best_weights_are_kept_and_restored(tmp_path: Path) -> None:
    """Huge steps make the model worse after the first epochs; it ends with the weights of its best validation."""
    outcome, trainer = run(tmp_path, epochs=8, patience=3, optimizer={"lr": 0.3}, table_lr=0.5)
    values = {line["step"]: line["log_loss"] for line in lines(tmp_path, "valid")}
    best = min(values, key=values.get)
    assert (outcome.best_step, outcome.best) == (best, values[best])
    assert best != outcome.steps, "the last weights must differ from the best for this test to mean something"
    kept, note = load_tensors(RunFolder(tmp_path).weights, CPU)
    assert note["step"] == best
    assert all(torch.equal(kept[name], value) for name, value in trainer.learner.model.state_dict().items())
    assert not any(torch.equal(kept[name], final_weights(tmp_path)[f"weights/model.{name}"]) for name in kept)
    assert not trainer.learner.training


def test_monitor_chooses_the_direction(tmp_path: Path) -> None:
    """The toy's auc is minus its log loss: both must choose the same step."""
    steps = [run(tmp_path / name, monitor=name, epochs=4)[0].best_step for name in ("auc", "log_loss")]
    assert steps[0] == steps[1]


def test_bad_monitors(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'pr_auc' is not reported.*auc, gauc"):
        run(tmp_path / "a", monitor="pr_auc")
    with pytest.raises(TrainingError, match=r"gauc is nan.*Choose another train.monitor"):
        run(tmp_path / "b", monitor="gauc")


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    trainer = Trainer(toy_learner(), ToyLoader(), toy_config(patience=None), folder, progress=False)
    trainer.start()
    outcome = trainer.fit()
    assert (outcome.best, outcome.best_step) == (None, outcome.steps)
    kept, _ = load_tensors(folder.weights, CPU)
    assert all(torch.equal(kept[name], final_weights(tmp_path)[f"weights/model.{name}"]) for name in kept)


def test_what_cannot_be_trained(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs validation rows.*patience: null"):
        Trainer(toy_learner(), ToyLoader(), toy_config(), RunFolder(tmp_path))
    with pytest.raises(TrainingError, match=r"the training split has none"):
        Trainer(toy_learner(), ToyLoader(num_rows=0), toy_config(patience=None), RunFolder(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("tables", ["rowwise_adagrad", "adam"])
def test_interrupted_again_and_again_equals_uninterrupted(tmp_path: Path, tables: str) -> None:
    values = {"table_optimizer": tables, "epochs": 3, "validate_every": 56, "schedule": {"kind": "cosine"}}
    run(tmp_path / "whole", **values)
    folder = RunFolder(tmp_path / "cut")
    toy_trainer(folder, toy_config(**values)).start()
    outcome = None
    for stop_at in (3, 13, 14, 25, 1000):
        trainer = toy_trainer(folder, toy_config(**values))
        objective = trainer.learner.objective
        assert isinstance(objective, ToyObjective)
        objective.register_forward_hook(lambda *_, t=trainer, s=stop_at: interrupt(t.state.step + 1 == s))
        outcome = trainer.fit()
        assert outcome.reason == ("interrupted" if stop_at < 1000 else "epochs")
        assert stop_at == 1000 or outcome.steps == stop_at
    assert outcome is not None
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def interrupt(now: bool) -> None:
    if now:
        signal.raise_signal(signal.SIGINT)


def test_a_crash_loses_only_what_came_after_the_checkpoint(tmp_path: Path) -> None:
    """An error between checkpoints, with lines already logged, leaves a run that resumes to the same bits."""
    values = {"checkpoint_steps": 3, "log_steps": 1, "epochs": 2}
    run(tmp_path / "whole", **values)
    folder = RunFolder(tmp_path / "cut")
    trainer = toy_trainer(folder, toy_config(**values))
    trainer.start()
    trainer.learner.objective.register_forward_hook(lambda *_: 1 / 0 if trainer.state.step == 8 else None)
    with pytest.raises(ZeroDivisionError):
        trainer.fit()
    assert len(folder.read_metrics()) == 8
    with folder.metrics.open("a") as file:
        file.write('{"kind": "tra')
    toy_trainer(folder, toy_config(**values)).fit()
    assert_same_run(tmp_path / "whole", tmp_path / "cut")


def test_a_larger_budget_goes_on_from_where_it_ended(tmp_path: Path) -> None:
    run(tmp_path / "long", epochs=3, patience=None)
    run(tmp_path / "short", epochs=2, patience=None)
    toy_trainer(RunFolder(tmp_path / "short"), toy_config(epochs=3, patience=None)).fit()
    long, short = final_weights(tmp_path / "long"), final_weights(tmp_path / "short")
    assert all(torch.equal(long[name], short[name]) for name in long)


def test_a_finished_run_stays_as_it_is(tmp_path: Path) -> None:
    outcome, _ = run(tmp_path, epochs=1)
    before = lines(tmp_path), final_weights(tmp_path)
    again = toy_trainer(RunFolder(tmp_path), toy_config(epochs=1)).fit()
    assert (again.reason, again.steps, again.best) == (outcome.reason, outcome.steps, outcome.best)
    assert lines(tmp_path) == before[0]
    assert all(torch.equal(value, before[1][name]) for name, value in final_weights(tmp_path).items())


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    run(tmp_path, epochs=1)
    loader = ToyLoader()
    other = Trainer(
        toy_learner(), loader, toy_config(patience=None), RunFolder(tmp_path), identity={"store": "t"}, progress=False
    )
    with pytest.raises(RunError, match=r"has another store\. Start a new run"):
        other.fit()


def test_best_weights_of_another_training_are_refused(tmp_path: Path) -> None:
    run(tmp_path / "a", epochs=1)
    run(tmp_path / "b", epochs=1, max_steps=3)
    RunFolder(tmp_path / "b").weights.replace(RunFolder(tmp_path / "a").weights)
    with pytest.raises(RunError, match="is of step 3, the checkpoint counts step 13"):
        toy_trainer(RunFolder(tmp_path / "a"), toy_config(epochs=1)).fit()


def test_another_number_of_threads_is_told(tmp_path: Path) -> None:
    run(tmp_path, epochs=1)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(before + 1)
        with pytest.warns(UserWarning, match="bit for bit"):
            toy_trainer(RunFolder(tmp_path), toy_config(epochs=1)).fit()
    finally:
        torch.set_num_threads(before)


def test_checkpoint_steps_and_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def saves(**values: object) -> list[int]:
        steps: list[int] = []
        trainer = toy_trainer(RunFolder(tmp_path / str(values)), toy_config(max_steps=6, validate_every=1000, **values))
        save = trainer._save
        monkeypatch.setattr(trainer, "_save", lambda: (steps.append(trainer.state.step), save()))
        trainer.start()
        trainer.fit()
        return steps

    end = [6, 6]
    assert saves() == [0, *end]
    assert saves(checkpoint_steps=4) == [0, 4, *end]
    assert saves(checkpoint_seconds=1e-9) == [0, 1, 2, 3, 4, 5, 6, *end]


def test_clipping_schedule_and_log_steps_do_something(tmp_path: Path) -> None:
    results = {}
    for name, values in {
        "plain": {"clip_norm": None},
        "clipped": {"clip_norm": 1e-3},
        "warm": {"clip_norm": None, "schedule": {"warmup_steps": 10}},
        "batch": {"clip_norm": None, "batch_size": 16},
        "tables": {"clip_norm": None, "table_lr": 0.5},
    }.items():
        run(tmp_path / name, max_steps=3, patience=None, optimizer={"weight_decay": 0.0}, **values)
        results[name] = next(line["log_loss"] for line in lines(tmp_path / name, "valid"))
    assert len(set(results.values())) == len(results)
    run(tmp_path / "log", max_steps=6, log_steps=2)
    assert [line["step"] for line in lines(tmp_path / "log", "train")] == [2, 4, 6]


def test_deterministic_kernels_are_asked_for_as_configured(tmp_path: Path) -> None:
    seen = {}
    for wanted in (True, False):
        trainer = toy_trainer(RunFolder(tmp_path / str(wanted)), toy_config(max_steps=1, deterministic=wanted))
        trainer.learner.objective.register_forward_hook(
            lambda *_, w=wanted: seen.update({w: torch.are_deterministic_algorithms_enabled()})
        )
        trainer.start()
        trainer.fit()
    assert seen == {True: True, False: False}


def test_profile_is_written(tmp_path: Path) -> None:
    run(tmp_path, epochs=1, profile_steps=3)
    text = RunFolder(tmp_path).profile.read_text()
    assert text.startswith("3 steps, ")
    assert all(phase in text for phase in ("loader", "forward", "backward", "optimizer", "Self CPU"))
    run(tmp_path / "without", epochs=1)
    assert not RunFolder(tmp_path / "without").profile.exists()


def test_training_works_outside_the_main_thread(tmp_path: Path) -> None:
    outcomes: list[Outcome] = []
    thread = threading.Thread(target=lambda: outcomes.append(run(tmp_path, max_steps=2)[0]))
    thread.start()
    thread.join()
    assert outcomes[0].reason == "max_steps"


def test_devices() -> None:
    assert resolve_device("cpu") == CPU
    assert resolve_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"it has: cpu.*Use auto"):
            resolve_device("cuda")


def test_the_checkpoint_holds_no_pickle(tmp_path: Path) -> None:
    run(tmp_path, epochs=1)
    data = RunFolder(tmp_path).checkpoint.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert {"weights/model.table.weight", "optimizer/model.table.weight/sum", "rng/cpu"} <= header.keys()
    assert set(json.loads(header["__metadata__"]["hemix"])) == {"format", "identity", "threads", "train", "loader"}
