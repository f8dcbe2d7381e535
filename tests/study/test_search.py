"""Random search: drawn alike for every cell, judged by validation alone, frozen for the seeds."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hemix.errors import ConfigError, RunError, TrainingError
from hemix.experiment import Experiment
from hemix.ledger import Entry
from hemix.search_space import Draw
from hemix.study import worker
from hemix.study.cells import Study
from hemix.study.conduct import open_study
from hemix.study.report import find, markdown, write_report
from hemix.study.search import Trials, best_trial, draw
from hemix.training.folder import RunFolder
from study.studies import tiny, write_study
from study.test_conduct import go, of
from test_ledger import entry

SEARCH: dict[str, Any] = {
    "trials": 3,
    "users": 0.5,
    "space": {"train.optimizer.lr": {"log_uniform": [0.0001, 0.1]}, "train.table_lr": {"choice": [0.01, 0.1]}},
}


def trials_of(study: Study, name: str) -> Trials:
    assert study.config.search is not None
    return Trials(cell=study.cell(name), search=study.config.search)


def test_draws_stay_within_their_ends() -> None:
    random = np.random.default_rng(0)
    uniform = [draw(Draw(uniform=(2.0, 3.0)), random) for _ in range(500)]
    rates = [draw(Draw(log_uniform=(1e-4, 1e-1)), random) for _ in range(500)]
    whole = [draw(Draw(integer=(1, 3)), random) for _ in range(500)]
    assert 2 <= min(uniform) < 2.1 < 2.9 < max(uniform) <= 3
    assert 1e-4 <= min(rates) < max(rates) <= 1e-1
    assert abs(np.median(np.log10(rates)) + 2.5) < 0.2
    assert set(whole) == {1, 2, 3}
    assert {draw(Draw(choice=("a", None)), random) for _ in range(50)} == {"a", None}
    narrow = Draw(uniform=(0.1234564, 0.1234566))  # six digits are more than there are in between
    assert {draw(narrow, random) for _ in range(50)} == {0.1234564, 0.1234566}


def test_cells_draw_the_same_values_for_the_same_key(tmp_path: Path) -> None:
    cells = {
        "narrow": {},
        "wide": {"set": {"model.embedding_dim": 8}, "search": {"model.top_hidden": {"choice": [[4], [8]]}}},
    }
    study = tiny(tmp_path, search=SEARCH, cells=cells)
    narrow, wide = trials_of(study, "narrow"), trials_of(study, "wide")
    for number in range(3):
        assert narrow.settings(number).items() <= wide.settings(number).items()
    again = trials_of(tiny(tmp_path, search={**SEARCH, "trials": 5}), "narrow")
    assert [again.settings(number) for number in range(3)] == [narrow.settings(number) for number in range(3)]
    assert len({str(again.settings(number)) for number in range(5)}) > 1
    other = trials_of(tiny(tmp_path, search={**SEARCH, "seed": 1}), "narrow")
    assert other.settings(0) != narrow.settings(0)


def test_a_trial_is_the_cell_on_a_share_of_the_users(tmp_path: Path) -> None:
    trials = trials_of(tiny(tmp_path, search={**SEARCH, "epochs": 2, "seed": 4}), "wide")
    for number in range(3):
        asked = trials.random(number).experiment
        assert (asked.train.user_share, asked.train.epochs, asked.train.seed) == (0.5, 2, 4)
        assert asked.train.optimizer.lr == trials.settings(number)["train.optimizer.lr"]
        assert asked.model == trials.cell.experiment.model


def figures(*values: float) -> list[Entry]:
    return [entry(split="valid", figures={"auc": value, "log_loss": value}) for value in values]


def test_the_best_is_by_the_monitor_and_of_equal_ones_the_first(tmp_path: Path) -> None:
    by_auc = trials_of(tiny(tmp_path, search=SEARCH), "narrow")
    assert best_trial(by_auc, figures(0.6, 0.8, 0.7)) == 1
    assert best_trial(by_auc, figures(0.8, math.nan, 0.8)) == 0
    by_loss = trials_of(tiny(tmp_path, search=SEARCH, set={"train.monitor": "log_loss"}), "narrow")
    assert best_trial(by_loss, figures(0.6, 0.8, 0.5)) == 2
    with pytest.raises(RunError, match=r"none of the 2 of cell 'narrow' has auc"):
        best_trial(by_auc, figures(math.nan, math.nan))


@pytest.mark.usefixtures("in_process")
def test_trials_first_then_seeds_with_the_best_settings(tmp_path: Path, store: str) -> None:
    prepared = open_study(write_study(tmp_path / "in", search=SEARCH, seeds=[1]), tmp_path / "out", data=[store])
    starts, failures = go(prepared)
    assert failures == []
    assert starts[:3] == ["narrow, trial 0", "narrow, trial 1", "narrow, trial 2"]
    assert {"narrow, seed 1", "wide, seed 1"} < set(starts)
    assert starts.index("narrow, seed 1") > starts.index("narrow, trial 2")
    entries = prepared.entries()
    assert len(of(entries, "test")) == 2
    for plan in prepared.plans():
        trials = [each for each in entries if each.cell == plan.cell.name and each.trial is not None]
        best = max(trials, key=lambda each: each.figures["auc"])
        assert plan.best == best.trial
        (config_hash,) = {e.config_hash for e in entries if e.split == "test" and e.cell == plan.cell.name}
        settings = trials_of(prepared.study, plan.cell.name).settings(plan.best)
        assert config_hash == plan.cell.having(settings).hash_without_seed
        assert {each.split for each in trials} == {"valid"}
    assert {each.budget["trials"] for each in entries if each.split == "test"} == {3}
    assert go(prepared) == ([], [])
    text = markdown(find(prepared.study, prepared.places))
    assert "| system | trials | diverged | best | on valid | settings |" in text
    assert "Random search on 50% of the users, 1 epoch each, seed 0" in text


@pytest.mark.usefixtures("in_process")
def test_a_cell_takes_the_settings_of_another(tmp_path: Path, store: str) -> None:
    """It has no trials, waits for those of the other, and keeps what it sets itself."""
    cells = {"wide": {"set": {"model.embedding_dim": 8}, "settings_of": "narrow"}, "narrow": {}}
    path = write_study(tmp_path / "in", search=SEARCH, seeds=[1], cells=cells)
    prepared = open_study(path, tmp_path / "out", data=[store])
    starts, failures = go(prepared)
    assert failures == []
    assert [start for start in starts if "trial" in start] == [f"narrow, trial {number}" for number in range(3)]
    assert {"narrow, seed 1", "wide, seed 1"} < set(starts)
    wide, narrow = prepared.plans()
    assert wide.best == narrow.best is not None
    settings = trials_of(prepared.study, "narrow").settings(narrow.best)
    runs = {each.cell: each for each in prepared.entries() if each.split == "test"}
    assert runs["wide"].config_hash == wide.cell.having(settings).hash_without_seed
    assert runs["wide"].budget["settings of"] == "narrow"
    assert wide.cell.having(settings).model.embedding_dim == 8
    assert go(prepared) == ([], [])
    assert "settings of narrow" in markdown(find(prepared.study, prepared.places))


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_one_point_of_a_grid_searches_for_all(tmp_path: Path, store: str) -> None:
    """The point that `settings_of` names; its settings and no others are those of every point."""
    cells = {"flat": {"settings_of": "flat/embedding_dim=8"}}
    values = {"cells": cells, "grid": {"model.embedding_dim": [4, 8]}, "baselines": []}
    prepared = open_study(
        write_study(tmp_path / "in", search=SEARCH, seeds=[1], **values), tmp_path / "out", data=[store]
    )
    starts, failures = go(prepared)
    assert failures == []
    names = [f"flat/embedding_dim={dim}" for dim in (4, 8)]
    assert [start for start in starts if "trial" in start] == [f"{names[1]}, trial {number}" for number in range(3)]
    one, two = prepared.plans()
    assert one.best == two.best is not None
    settings = trials_of(prepared.study, names[1]).settings(two.best)
    runs = {each.cell: each for each in prepared.entries() if each.split == "test"}
    assert {name: run.config_hash for name, run in runs.items()} == {
        plan.cell.name: plan.cell.having(settings).hash_without_seed for plan in (one, two)
    }
    assert [plan.cell.point for plan in (one, two)] == [{"model.embedding_dim": dim} for dim in (4, 8)]
    assert prepared.study.axis == "model.embedding_dim"
    write_report(find(prepared.study, prepared.places))
    assert (prepared.places.out / "pictures" / "grid.png").is_file()
    for wrong in ("other", "flat"):  # of a grid, a cell is no point
        with pytest.raises(ConfigError, match=f"Unknown cell '{wrong}'; available: flat/embedding_dim=4, "):
            tiny(tmp_path / wrong, search=SEARCH, **{**values, "cells": {"flat": {"settings_of": wrong}}})


@pytest.mark.parametrize(
    ("cells", "search", "message"),
    [
        ({"a": {"settings_of": "b"}, "b": {}}, None, "but the study has no search"),
        (
            {"a": {"settings_of": "nowhere"}, "narrow": {}},
            SEARCH,
            "Unknown cell 'nowhere'; available: a, ",
        ),
        ({"a": {"settings_of": "a"}, "narrow": {}}, SEARCH, "the settings of itself"),
        (
            {"a": {"settings_of": "b"}, "b": {"settings_of": "c"}, "c": {}},
            SEARCH,
            "'b' has the settings of another cell; name that one",
        ),
        (
            {"a": {"settings_of": "b", "search": SEARCH["space"]}, "b": {}},
            SEARCH,
            "but it has a `search` of its own",
        ),
    ],
)
def test_settings_that_cannot_be_taken(
    tmp_path: Path, cells: dict[str, Any], search: dict[str, Any] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(tmp_path, search=search, cells=cells, baselines=[])


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_trial_that_diverges_is_a_finding(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from hemix.run import training

    real, trials = training.train_into, []

    def fragile(folder: RunFolder, experiment: Experiment, *rest: Any, **named: Any) -> Any:
        done = real(folder, experiment, *rest, **named)
        if experiment.train.user_share < 1:
            trials.append(1)
            if len(trials) == 2:
                (folder.path / worker.LINES).unlink()
                raise TrainingError("The loss is not finite")
        return done

    monkeypatch.setattr(training, "train_into", fragile)
    path = write_study(tmp_path / "in", search=SEARCH, cells={"narrow": {}}, seeds=[1])
    prepared = open_study(path, tmp_path / "out", data=[store])
    starts, failures = go(prepared)
    assert (len(starts), failures) == (4, [])
    found = [each.figures["auc"] for each in prepared.entries() if each.trial is not None]
    assert [math.isnan(value) for value in found] == [False, True, False]
    assert go(prepared) == ([], [])
    assert "| narrow | 3 | 1 |" in markdown(find(prepared.study, prepared.places))


def test_a_declared_space_is_searched_but_for_keys_that_are_set(tmp_path: Path) -> None:
    """DLRM declares how it pools histories and the sizes of its top; one cell sets the latter, one draws it itself."""
    cells: dict[str, Any] = {
        "all": {},
        "fixed": {"set": {"model": {"name": "dlrm", "top_hidden": [4]}}},
        "own": {"search": {"model.top_hidden": {"choice": [[4], [8]]}}},
    }
    search = {"trials": 2, "declared": ["model", "train"], "space": {"train.batch_size": {"choice": [8, 16]}}}
    study = tiny(tmp_path, search=search, cells=cells, baselines=[])
    rates = {"train.optimizer.lr", "train.optimizer.weight_decay", "train.table_lr", "train.batch_size"}
    spaces = {cell.name: cell.space for cell in study.cells}
    assert set(spaces["all"]) == rates | {"model.history_pooling", "model.top_hidden"}
    assert set(spaces["fixed"]) == rates | {"model.history_pooling"}
    assert spaces["own"]["model.top_hidden"].choice == ([4], [8])
    assert trials_of(study, "all").random(0).experiment.model.name == "dlrm"
    with pytest.raises(ConfigError, match=r"search\.declared"):
        tiny(tmp_path, search={**search, "declared": ["data"]})


def test_of_a_declared_space_what_nothing_reads_is_not_drawn(tmp_path: Path) -> None:
    cells = {name: {"set": {"model": {"name": "interformer", "interaction": name}}} for name in ("dot", "dhen")}
    study = tiny(tmp_path, search={"trials": 2, "declared": ["model"]}, cells=cells, baselines=[])
    dot, dhen = (set(study.cell(name).space) for name in ("dot", "dhen"))
    assert dhen - dot == {"model.dhen_layers"}
    assert {"model.num_layers", "model.num_heads"} <= dot
