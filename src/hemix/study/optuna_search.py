"""Proposals and pruning by Optuna (https://arxiv.org/abs/1907.10902), which is loaded where they are asked for.

Optuna keeps nothing: the ledger does. For each round a study is made in memory from what the earlier rounds came to,
so that a search which is interrupted, or run on another machine, goes on with the same trials.
"""

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from hemix.config import Config
from hemix.errors import ConfigError, HemixError
from hemix.evaluate.report import Number
from hemix.search_space import Draw

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

TRIES = 100
"""Proposals for one trial that may be no valid experiment."""


class Pruning(Config):
    """What a trial must keep up with."""

    curves: tuple[tuple[Number, ...], ...]
    """The monitored metric of earlier trials that ran whole, validation by validation."""
    warm_up: int = 0
    """Validations before it can be pruned."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Past:
    """A finished trial."""

    settings: Mapping[str, Any]
    value: float
    """NaN: it diverged."""
    curve: tuple[float, ...]
    """Its value at each validation."""
    pruned: bool


def require_optuna() -> ModuleType:
    """Raises HemixError if it is not installed."""
    try:
        import optuna
    except ImportError:
        raise HemixError(
            "A search with `optuna` needs Optuna, which is not installed. Install it with: pip install 'hemix[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


@contextmanager
def _without_notes() -> Iterator[None]:
    """Optuna warns that an option may change in a later version."""
    optuna = require_optuna()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def propose(
    space: Mapping[str, Draw],
    past: Sequence[Past],
    *,
    count: int,
    seed: Sequence[int],
    highest: bool,
    allowed: Callable[[Mapping[str, Any]], bool],
) -> list[dict[str, Any]]:
    """Settings of the next trials, by a tree-structured Parzen estimator over all finished ones.

    Args:
        space: the keys and how each may be drawn.
        past: finished trials; those that diverged are not learned from.
        count: trials that go side by side; each knows where the others of this round will be.
        seed: of the sampler.
        highest: whether the monitored metric is best at its highest.
        allowed: whether settings are a valid experiment; others are proposed again.

    Raises ConfigError if no valid settings are found.
    """
    optuna = require_optuna()
    kinds = {key: _distribution(how, optuna) for key, how in space.items()}
    with _without_notes():
        sampler = optuna.samplers.TPESampler(
            seed=int(np.random.SeedSequence(seed).generate_state(1)[0]), n_startup_trials=0, constant_liar=True
        )
        study = optuna.create_study(direction=_direction(highest), sampler=sampler)
        known = [trial for trial in past if not math.isnan(trial.value)]
        worst = (min if highest else max)((trial.value for trial in known), default=0.0)
        for trial in known:
            study.add_trial(_told(trial, space, kinds, optuna))
        found: list[dict[str, Any]] = []
        for _ in range(count * TRIES):
            asked = study.ask(fixed_distributions=dict(kinds))
            settings = {key: _value(how, asked.params[key]) for key, how in space.items()}
            if not allowed(settings):
                study.tell(asked, worst)  # a failure would teach the sampler nothing
                continue
            found.append(settings)
            if len(found) == count:
                return found
    raise ConfigError(
        f"A search needs values that make a valid experiment; none of {count * TRIES} proposals did. "
        "Narrow its space, or make cells of the keys that depend on each other."
    )


def is_behind(curve: Sequence[float], pruning: Pruning, *, highest: bool) -> bool:
    """Whether a trial with these validations so far is to stop: its best is behind the median of the others there."""
    optuna = require_optuna()
    pruner = optuna.pruners.MedianPruner(n_startup_trials=0, n_warmup_steps=pruning.warm_up)
    study = optuna.create_study(direction=_direction(highest), pruner=pruner)
    for other in pruning.curves:
        study.add_trial(
            optuna.trial.create_trial(
                value=max(other) if highest else min(other), intermediate_values=dict(enumerate(other))
            )
        )
    trial = study.ask()
    for place, value in enumerate(curve):
        trial.report(value, place)
    return bool(trial.should_prune())


def _direction(highest: bool) -> str:
    return "maximize" if highest else "minimize"


def _distribution(how: Draw, optuna: ModuleType) -> "BaseDistribution":
    """A choice is one of its places: Optuna knows no lists."""
    kinds = optuna.distributions
    if how.choice is not None:
        return kinds.CategoricalDistribution(range(len(how.choice)))
    if how.integer is not None:
        return kinds.IntDistribution(*how.integer)
    low, high = how.uniform or how.log_uniform or (0.0, 1.0)
    return kinds.FloatDistribution(low, high, log=how.log_uniform is not None)


def _value(how: Draw, drawn: Any) -> Any:
    """What a key is set to."""
    if how.choice is not None:
        return how.choice[drawn]
    return drawn if how.integer is not None else how.settled(drawn)


def _told(
    trial: Past, space: Mapping[str, Draw], kinds: Mapping[str, "BaseDistribution"], optuna: ModuleType
) -> "FrozenTrial":
    params = {}
    for key, how in space.items():
        value = trial.settings[key]
        params[key] = how.choice.index(value) if how.choice is not None else value
    states = optuna.trial.TrialState
    return optuna.trial.create_trial(
        state=states.PRUNED if trial.pruned else states.COMPLETE,
        value=trial.value,
        params=params,
        distributions=dict(kinds),
        intermediate_values=dict(enumerate(trial.curve)),
    )
