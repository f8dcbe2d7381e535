"""Search by Optuna: rounds that learn from earlier ones, pruning, and the same trials however a study is run."""

import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hemix.errors import ConfigError, HemixError
from hemix.experiment import Experiment
from hemix.ledger import Entry
from hemix.search_space import Draw
from hemix.study.conduct import open_study
from hemix.study.optuna_search import Past, Pruning, is_behind, propose
from hemix.study.report import find, markdown
from hemix.study.search import Trial, Trials
from study.studies import tiny, write_study
from study.test_conduct import go
from study.test_search import trials_of
from test_ledger import entry

SEARCH: dict[str, Any] = {
    "trials": 8,
    "users": 0.5,
    "space": {
        "train.optimizer.lr": {"log_uniform": [0.0001, 0.1]},
        "train.table_lr": {"uniform": [0.01, 0.1]},
        "model.embedding_dim": {"integer": [2, 9]},
        "model.top_hidden": {"choice": [[4], [8, 4]]},
    },
    "optuna": {"startup": 3, "at_once": 2},
}


def all_trials(trials: Trials, value: Callable[[Trial], float]) -> list[Trial]:
    """The trials of a search whose trials come to these values, as the ledger fills line by line."""
    lines: dict[str, Entry] = {}

    def result(asked: Experiment) -> Entry | None:
        return lines.get(asked.hash_without_seed)

    while True:
        known = trials.known(result)
        waiting = [trial for trial in known if result(trial.experiment) is None]
        if not waiting:
            return known
        trial = waiting[-1]  # not the order in which they were proposed
        lines[trial.experiment.hash_without_seed] = entry(split="valid", figures={"auc": value(trial)})


def near(trial: Trial) -> float:
    """Best at a rate of .01."""
    return 1.0 - 0.1 * abs(math.log10(trial.settings["train.optimizer.lr"]) + 2)


def test_the_first_trials_are_those_of_random_search_and_rounds_wait_for_each_other(tmp_path: Path) -> None:
    trials = trials_of(tiny(tmp_path, search=SEARCH), "narrow")
    none = trials.known(lambda asked: None)
    assert [trial.settings for trial in none] == [trials.settings(number) for number in range(3)]
    three = {trial.experiment.hash_without_seed: entry(figures={"auc": near(trial)}) for trial in none}
    assert len(trials.known(lambda asked: three.get(asked.hash_without_seed))) == 5
    three.popitem()
    assert len(trials.known(lambda asked: three.get(asked.hash_without_seed))) == 3


def test_proposals_are_in_the_space_and_a_function_of_what_was_found(tmp_path: Path) -> None:
    trials = trials_of(tiny(tmp_path, search=SEARCH), "narrow")
    found = all_trials(trials, near)
    assert [trial.number for trial in found] == list(range(8))
    for trial in found:
        assert 1e-4 <= trial.settings["train.optimizer.lr"] <= 0.1
        assert 2 <= trial.experiment.model.embedding_dim <= 9
        assert list(trial.settings["model.top_hidden"]) in ([4], [8, 4])
        assert trial.experiment.train.optimizer.lr == trial.settings["train.optimizer.lr"]
    assert [trial.settings for trial in all_trials(trials, near)] == [trial.settings for trial in found]
    other = all_trials(trials, lambda trial: 1 - near(trial))
    assert [trial.settings for trial in other[:5]] != [trial.settings for trial in found[:5]]
    again = trials_of(tiny(tmp_path, search={**SEARCH, "seed": 1}), "narrow")
    assert all_trials(again, near)[4].settings != found[4].settings


def test_it_comes_nearer_to_the_best_than_random_search_does() -> None:
    """Mean distance in the last 8 of 24 trials, over three seeds; random draws of [0, 1] are .38 from .2 on average."""
    space = {"rate": Draw(uniform=(0.0, 1.0)), "idle": Draw(choice=("a", "b"))}
    distances = []
    for seed in range(3):
        past = [
            Past(settings={"rate": at, "idle": "a"}, value=-abs(at - 0.2), curve=(), pruned=False)
            for at in (0.1, 0.5, 0.9)
        ]
        while len(past) < 24:
            found = propose(space, past, count=3, seed=[seed, len(past)], highest=True, allowed=lambda settings: True)
            values = [-abs(settings["rate"] - 0.2) for settings in found]
            past += [Past(settings=s, value=v, curve=(), pruned=False) for s, v in zip(found, values, strict=True)]
        distances += [-trial.value for trial in past[-8:]]
    assert sum(distances) / len(distances) < 0.15


def test_trials_that_diverged_are_not_learned_from() -> None:
    space = {"a": Draw(uniform=(0.0, 1.0))}
    told = [Past(settings={"a": value}, value=value, curve=(), pruned=False) for value in (0.1, 0.2, 0.9)]
    failed = Past(settings={"a": 0.5}, value=math.nan, curve=(), pruned=False)

    def proposed(past: list[Past]) -> list[dict[str, Any]]:
        return propose(space, past, count=2, seed=[0, 3], highest=True, allowed=lambda settings: True)

    assert proposed([*told, failed]) == proposed(told)
    assert len(proposed([failed])) == 2


def test_settings_that_are_no_experiment_are_proposed_again() -> None:
    space = {"a": Draw(integer=(0, 3)), "b": Draw(choice=("x", "y"))}
    found = propose(space, [], count=5, seed=[0], highest=True, allowed=lambda s: (s["a"], s["b"]) == (2, "y"))
    assert found == [{"a": 2, "b": "y"}] * 5
    with pytest.raises(ConfigError, match="none of 100 proposals did"):
        propose(space, [], count=1, seed=[0], highest=True, allowed=lambda settings: False)


@pytest.mark.parametrize(
    ("curve", "behind"),
    [
        ((0.61,), False),  # the median of .5, .6 and .7 is .6
        ((0.59,), True),
        ((0.61, 0.5), True),  # its best, .61, is behind .65 at the second validation
        ((0.66, 0.1), False),
        ((0.0, 0.0, 0.0, 0.0), False),  # nobody went as far
    ],
)
def test_the_median_prunes(curve: tuple[float, ...], behind: bool) -> None:
    others = Pruning(curves=((0.5, 0.55, 0.6), (0.6, 0.65), (0.7, 0.75, 0.8)))
    assert is_behind(curve, others, highest=True) is behind
    mirrored = Pruning(curves=tuple(tuple(-value for value in curve) for curve in others.curves))
    assert is_behind([-value for value in curve], mirrored, highest=False) is behind
    assert not is_behind(curve[:1], others.model_copy(update={"warm_up": 1}), highest=True)
    assert not is_behind(curve, Pruning(curves=()), highest=True)


PRUNED: dict[str, Any] = {
    "trials": 8,
    "users": 0.5,
    "epochs": 3,
    "space": {"train.optimizer.lr": {"log_uniform": [1e-7, 0.1]}},
    "optuna": {"startup": 3, "at_once": 3, "pruner": "median", "sampler": "random"},
}


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_trial_that_falls_behind_is_stopped_and_never_chosen(tmp_path: Path, store: str) -> None:
    path = write_study(
        tmp_path / "in",
        search=PRUNED,
        seeds=[1],
        train={"monitor": "log_loss"},
        cells={"narrow": {}, "wide": {"settings_of": "narrow", "set": {"model.embedding_dim": 8}}},
    )
    prepared = open_study(path, tmp_path / "out", data=[store])
    _, failures = go(prepared)
    assert failures == []
    trials = [each for each in prepared.entries() if each.trial is not None]
    pruned = [each for each in trials if each.pruned]
    assert pruned
    assert all(each.trial is not None and each.trial >= 3 for each in pruned)
    assert {len(each.curve) for each in trials if not each.pruned} == {3}
    assert all(len(each.curve) < 3 and min(each.curve) == each.figures["log_loss"] for each in pruned)
    plan = prepared.plans()[0]
    assert plan.best not in {each.trial for each in pruned}
    assert go(prepared) == ([], [])
    text = markdown(find(prepared.study, prepared.places))
    assert "| system | trials | diverged | pruned | best | on valid | settings |" in text
    assert "Optuna (random search after 3 random trials, 3 at once, median pruning) on 50% of the users" in text


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
@pytest.mark.parametrize("stop_after", [1, 5])
def test_a_study_that_is_taken_up_again_does_the_same_trials(tmp_path: Path, store: str, stop_after: int) -> None:
    """The ledger is cut after some lines: what comes after them is done again, and comes to the same."""
    search = {**SEARCH, "trials": 6}
    path = write_study(tmp_path / "in", search=search, seeds=[1], cells={"narrow": {}})
    whole = open_study(path, tmp_path / "whole", data=[store])
    assert go(whole)[1] == []
    lines = whole.places.ledger.read_bytes().splitlines(keepends=True)
    part = open_study(path, tmp_path / "part", data=[store])
    part.places.ledger.parent.mkdir()
    part.places.ledger.write_bytes(b"".join(lines[:stop_after]))
    starts, failures = go(part)
    assert failures == []
    assert len(starts) == 7 - stop_after

    def outcome(entries: tuple[Entry, ...]) -> list[tuple[object, ...]]:
        return [(each.trial, each.split, each.config_hash, each.figures["auc"]) for each in entries]

    assert outcome(part.entries()) == outcome(whole.entries())


@pytest.mark.parametrize(
    ("optuna", "message"),
    [
        ({"sampler": "random"}, "leave `optuna` out"),
        ({"warm_up": 2}, "there is no pruner"),
        ({"startup": 8}, "optuna begins after optuna.startup 8 trials, and there are 8"),
        ({"pruner": "medium"}, "median"),
    ],
)
def test_a_section_that_would_do_nothing_is_refused(tmp_path: Path, optuna: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny(tmp_path, search={**SEARCH, "optuna": optuna})


def test_a_pruner_without_a_validation_to_prune_after_is_refused(tmp_path: Path, store: str) -> None:
    def opened(folder: Path, *, epochs: int, train: dict[str, Any] | None = None, **optuna: Any) -> None:
        search = {**PRUNED, "epochs": epochs, "optuna": {**PRUNED["optuna"], **optuna}}
        open_study(write_study(folder / "in", search=search, train=train), folder / "out", data=[store])

    with pytest.raises(ConfigError, match=r"cell 'narrow' have 1 in all.*search\.epochs to 2 or more"):
        opened(tmp_path / "a", epochs=1)
    with pytest.raises(ConfigError, match=r"the first 1 .* have 2 in all.*search\.epochs to 3 or more"):
        opened(tmp_path / "b", epochs=2, warm_up=1)
    opened(tmp_path / "c", epochs=2)
    opened(tmp_path / "d", epochs=1, train={"validate_every": 2})


HEADS: dict[str, Any] = {
    "trials": 6,
    "users": 0.5,
    "space": {"model.embedding_dim": {"integer": [1, 8]}, "model.num_heads": {"choice": [1, 4]}},
}
HIFORMER: dict[str, Any] = {"set": {"model": {"name": "hiformer", "embedding_dim": 4, "num_heads": 1, "num_layers": 1}}}


@pytest.mark.slow
def test_settings_that_no_model_can_have_are_proposed_again_and_the_report_finds_the_same(
    tmp_path: Path, store: str, in_process: None
) -> None:
    """Widths that the heads do not divide: a valid experiment, but no model of this data."""
    search = {**HEADS, "seed": 0, "optuna": {"startup": 1, "at_once": 1}}
    path = write_study(tmp_path / "in", search=search, seeds=[1], cells={"h": HIFORMER}, baselines=[])
    prepared = open_study(path, tmp_path / "out", data=[store])
    assert go(prepared)[1] == []
    trials = [each for each in prepared.entries() if each.trial is not None]
    asked = trials_of(prepared.study, "h")
    lines = {each.config_hash: each for each in trials}
    blind = asked.known(lambda each: lines.get(each.hash_without_seed))
    assert any(each.experiment.hash_without_seed not in lines for each in blind), "every proposal could be built"
    assert "| h | 6 | 0 |" in markdown(find(prepared.study, prepared.places))


def test_random_trials_that_cannot_be_built_are_refused_before_training(tmp_path: Path, store: str) -> None:
    path = write_study(tmp_path / "in", search=HEADS, cells={"h": HIFORMER}, baselines=[])
    with pytest.raises(
        ConfigError, match=r"cell 'h', trial \d \(model\.embedding_dim \d, model\.num_heads 4\): .*must be"
    ):
        open_study(path, tmp_path / "out", data=[store])
    cells = {"d": {"set": {"model": {"name": "dcnv2"}, "objective": {"name": "next_event"}}}}
    with pytest.raises(ConfigError, match=r"^cell 'd': .*next_event"):
        open_study(write_study(tmp_path / "next", cells=cells, baselines=[]), tmp_path / "other", data=[store])


def test_without_optuna_the_error_says_what_to_install(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(HemixError, match=r"pip install 'hemix\[tune\]'"):
        open_study(write_study(tmp_path / "in", search=SEARCH), tmp_path / "out", data=[store])
