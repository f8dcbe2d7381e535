"""The search of a cell: trials on a share of the users, judged by validation.

Random search (Bergstra & Bengio 2012): a trial's value of a key depends on the seed of the search, the number of the
trial and the key alone: cells that draw the same key draw the same values for it, and more trials or more keys leave
the others as they were. With `optuna` the trials after the first few depend on what the earlier rounds came to.
"""

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from hemix.batch import Inputs
from hemix.errors import ConfigError, RunError
from hemix.experiment import Experiment
from hemix.ledger import Entry
from hemix.objectives import build_objective
from hemix.ranker import Ranker
from hemix.search_space import Draw
from hemix.study.cells import Cell, best_is_highest
from hemix.study.config import SearchConfig
from hemix.study.optuna_search import Past, Pruning, propose
from hemix.training.config import TrainConfig


def draw(how: Draw, random: np.random.Generator) -> Any:
    """One value."""
    if how.choice is not None:
        return how.choice[int(random.integers(len(how.choice)))]
    if how.integer is not None:
        return int(random.integers(how.integer[0], how.integer[1], endpoint=True))
    if how.uniform is not None:
        return how.settled(float(random.uniform(*how.uniform)))
    assert how.log_uniform is not None
    low, high = how.log_uniform
    return how.settled(float(np.exp(random.uniform(math.log(low), math.log(high)))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One training of the search."""

    number: int
    settings: Mapping[str, Any]
    """The drawn keys."""
    experiment: Experiment
    pruning: Pruning | None = None
    """What it must keep up with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Trials:
    """The trials of one cell."""

    cell: Cell
    search: SearchConfig
    fits: Callable[[Experiment], bool] = lambda _: True
    """Whether an experiment that Optuna proposes is to be tried; it proposes again what is not."""

    def settings(self, number: int) -> dict[str, Any]:
        """Values of the drawn keys in a random trial."""
        values = {}
        for key, how in self.cell.space.items():
            random = np.random.default_rng([self.search.seed, number, zlib.crc32(key.encode())])
            values[key] = draw(how, random)
        return values

    def experiment(self, settings: Mapping[str, Any]) -> Experiment:
        """What a trial with these settings trains. Raises ConfigError if a key cannot have its value."""
        budget: dict[str, Any] = {"train.user_share": self.search.users, "train.seed": self.search.seed}
        if self.search.epochs is not None:
            budget["train.epochs"] = self.search.epochs
        return self.cell.having({**settings, **budget})

    def random(self, number: int, pruning: Pruning | None = None) -> Trial:
        """A trial whose settings depend on its number alone."""
        settings = self.settings(number)
        return Trial(number=number, settings=settings, experiment=self.experiment(settings), pruning=pruning)

    @property
    def drawn(self) -> range:
        """Numbers of the trials that are drawn at random, whatever others come to."""
        optuna = self.search.optuna
        return range(self.search.trials if optuna is None or optuna.sampler == "random" else optuna.startup)

    def known(self, result: Callable[[Experiment], Entry | None]) -> list[Trial]:
        """The trials whose settings are known, in order: all of random search; else up to the first unfinished round.

        Args:
            result: the ledger line of a trial; None as long as there is none.
        """
        optuna = self.search.optuna
        if optuna is None:
            return [self.random(number) for number in range(self.search.trials)]
        trials = [self.random(number) for number in range(optuna.startup)]
        while len(trials) < self.search.trials:
            past = [_past(trial, line) for trial in trials if (line := result(trial.experiment)) is not None]
            if len(past) < len(trials):
                break
            trials += self._round(len(trials), past)
        return trials

    def _round(self, first: int, past: Sequence[Past]) -> list[Trial]:
        """The next `at_once` trials, which are compared with `past` alone."""
        optuna = self.search.optuna
        assert optuna is not None
        pruning = None
        if optuna.pruner is not None:
            whole = tuple(
                trial.curve for trial in past if trial.curve and not (trial.pruned or math.isnan(trial.value))
            )
            pruning = Pruning(curves=whole, warm_up=optuna.warm_up)
        numbers = range(first, min(first + optuna.at_once, self.search.trials))
        if optuna.sampler == "random":
            return [self.random(number, pruning) for number in numbers]
        found = propose(
            self.cell.space,
            past,
            count=len(numbers),
            seed=[self.search.seed, first],
            highest=best_is_highest(self.cell),
            allowed=self._allowed,
        )
        return [
            Trial(number=number, settings=settings, experiment=self.experiment(settings), pruning=pruning)
            for number, settings in zip(numbers, found, strict=True)
        ]

    def _allowed(self, settings: Mapping[str, Any]) -> bool:
        try:
            experiment = self.experiment(settings)
        except ConfigError:
            return False
        return self.fits(experiment)


def _past(trial: Trial, line: Entry) -> Past:
    value = line.figures.get(trial.experiment.train.monitor, math.nan)
    return Past(settings=trial.settings, value=value, curve=line.curve, pruned=line.pruned)


def check_built(experiment: Experiment, inputs: Inputs) -> None:
    """Raises ConfigError if its model or objective cannot be made for this data. Nothing is allocated."""
    with torch.device("meta"):
        build_objective(experiment.objective, Ranker(inputs, experiment.model))


def can_be_built(experiment: Experiment, inputs: Inputs) -> bool:
    """Whether `check_built` raises nothing."""
    try:
        check_built(experiment, inputs)
    except ConfigError:
        return False
    return True


def check_trials(trials: Trials) -> None:
    """Raises ConfigError for a key that a search cannot draw, for a value that it cannot have in a random trial, or for
    a pruner that has nothing to prune.

    What Optuna proposes is not known yet; it proposes again what cannot be an experiment.
    """
    for key in trials.cell.space:
        if key.partition(".")[0] in ("data", "name", "evaluate") or key in ("train.seed", "train.user_share"):
            raise ConfigError(
                f"A search draws keys of model, objective and train; cell {trials.cell.name!r} draws {key!r}. "
                "Make cells of it (`grid`), and search within each."
            )
    for number in trials.drawn:
        _check_pruner(trials, trials.random(number).experiment.train)


def _check_pruner(trials: Trials, train: TrainConfig) -> None:
    optuna = trials.search.optuna
    if optuna is None or optuna.pruner is None or train.validate_every is not None or train.epochs is None:
        return
    needed = optuna.warm_up + 2
    if train.epochs < needed:
        raise ConfigError(
            f"A pruner stops a trial after a validation that is neither the last nor one of the first {optuna.warm_up} "
            f"(search.optuna.warm_up); trials of cell {trials.cell.name!r} have {train.epochs} in all, one for each "
            f"epoch. Set search.epochs to {needed} or more, or train.validate_every, or leave the pruner out."
        )


def best_trial(trials: Trials, entries: Sequence[Entry]) -> int:
    """Number of the trial with the best `train.monitor` on the validation split; of equal ones the first.

    `entries` are those of the trials, in order; a pruned one is never the best. Raises RunError if no trial has a
    figure.
    """
    monitor = trials.cell.experiment.train.monitor
    sign = 1.0 if best_is_highest(trials.cell) else -1.0
    values = [math.nan if entry.pruned else sign * entry.figures.get(monitor, math.nan) for entry in entries]
    known = [number for number, value in enumerate(values) if not math.isnan(value)]
    if not known:
        raise RunError(
            f"A search needs one trial that can be judged; none of the {len(values)} of cell {trials.cell.name!r} has "
            f"{monitor} on the validation split. Look at the logs, and draw from a narrower space."
        )
    return max(known, key=lambda number: (values[number], -number))


def frozen(settings: Mapping[str, Any]) -> str:
    """Settings of a trial in a line.

    >>> frozen({"train.optimizer.lr": 0.001, "model.mixer": "hetero"})
    'train.optimizer.lr 0.001, model.mixer hetero'
    """
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}" for key, value in settings.items()
    )
