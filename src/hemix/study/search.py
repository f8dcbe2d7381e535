"""Random search (Bergstra & Bengio 2012): trials of a cell on a share of the users, judged by validation.

A trial's value of a key depends on the seed of the search, the number of the trial and the key alone: cells that draw
the same key draw the same values for it, and more trials or more keys leave the others as they were.
"""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hemix.errors import ConfigError, RunError
from hemix.experiment import Experiment
from hemix.ledger import Entry
from hemix.study.cells import Cell, best_is_highest
from hemix.study.config import Draw, SearchConfig


def draw(how: Draw, random: np.random.Generator) -> Any:
    """One value."""
    if how.choice is not None:
        return how.choice[int(random.integers(len(how.choice)))]
    if how.integer is not None:
        return int(random.integers(how.integer[0], how.integer[1], endpoint=True))
    if how.uniform is not None:
        return float(random.uniform(*how.uniform))
    assert how.log_uniform is not None
    low, high = how.log_uniform
    return float(np.exp(random.uniform(math.log(low), math.log(high))))


@dataclass(frozen=True, kw_only=True, slots=True)
class Trials:
    """The trials of one cell."""

    cell: Cell
    search: SearchConfig

    def settings(self, number: int) -> dict[str, Any]:
        """Values of the drawn keys in one trial; numbers have six digits, so that a file can hold them."""
        values = {}
        for key, how in self.cell.space.items():
            random = np.random.default_rng([self.search.seed, number, zlib.crc32(key.encode())])
            value = draw(how, random)
            values[key] = float(f"{value:.6g}") if isinstance(value, float) and how.choice is None else value
        return values

    def experiment(self, number: int) -> Experiment:
        """What one trial trains. Raises ConfigError if a key cannot have its drawn value."""
        budget: dict[str, Any] = {"train.user_share": self.search.users, "train.seed": self.search.seed}
        if self.search.epochs is not None:
            budget["train.epochs"] = self.search.epochs
        return self.cell.having({**self.settings(number), **budget})


def trial_experiments(trials: Trials) -> list[Experiment]:
    """All trials of a cell. Raises ConfigError for a key that a search cannot draw or a value that it cannot have."""
    for key in trials.cell.space:
        if key.partition(".")[0] in ("data", "name", "evaluate") or key in ("train.seed", "train.user_share"):
            raise ConfigError(
                f"A search draws keys of model, objective and train; cell {trials.cell.name!r} draws {key!r}. "
                "Make cells of it (`grid`), and search within each."
            )
    return [trials.experiment(number) for number in range(trials.search.trials)]


def best_trial(trials: Trials, entries: Sequence[Entry]) -> int:
    """Number of the trial with the best `train.monitor` on the validation split; of equal ones the first.

    `entries` are those of the trials, in order. Raises RunError if no trial has a figure.
    """
    monitor = trials.cell.experiment.train.monitor
    sign = 1.0 if best_is_highest(trials.cell) else -1.0
    values = [sign * entry.figures.get(monitor, math.nan) for entry in entries]
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
