"""What is left to do: the runs that a study asks for and its ledger does not have."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hemix.data.store import Store
from hemix.experiment import Experiment
from hemix.ledger import Entry
from hemix.study.cells import Cell, Study
from hemix.study.optuna_search import Pruning
from hemix.study.search import Trial, Trials, best_trial, can_be_built


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """One training, and one evaluation of it."""

    study: str
    cell: str
    experiment: Experiment
    """With its seed."""
    store: Path
    data_hash: str
    trial: int | None = None
    """Number of the search's trial; None: a run of the table."""
    pruning: Pruning | None = None
    """Of a trial that is stopped where it falls behind."""
    budget: Mapping[str, int | float | str | None]
    """What the ledger says beside the budget of training."""

    @property
    def split(self) -> Literal["valid", "test"]:
        """Where its figure comes from: trials never see the test split."""
        return "test" if self.trial is None else "valid"

    @property
    def seed(self) -> int:
        return self.experiment.train.seed

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.cell}, " + (f"seed {self.seed}" if self.trial is None else f"trial {self.trial}")

    @property
    def folder(self) -> str:
        """Name of its run folder; another experiment or another store has another one."""
        slug = re.sub(r"[^a-z0-9.]+", "-", self.cell.lower()).strip("-")[:60] or "cell"
        tail = f"{self.seed}" if self.trial is None else f"trial-{self.trial}"
        return f"{slug}-{self.experiment.hash_without_seed[:8]}{self.data_hash[:4]}-{tail}"

    @property
    def key(self) -> tuple[str, str, str, str, int, str]:
        """What makes a ledger line the line of this job."""
        asked = self.experiment.hash_without_seed
        return (self.study, self.cell, asked, self.data_hash, self.seed, self.split)


def key_of(entry: Entry) -> tuple[str, str, str, str, int, str]:
    """The key of the job that wrote an entry."""
    return (entry.study, entry.cell, entry.config_hash, entry.data_hash, entry.seed, entry.split)


@dataclass(frozen=True, kw_only=True, slots=True)
class CellPlan:
    """What is left of one cell. Its runs are known when its trials are done, and wait for them."""

    cell: Cell
    trials: tuple[Job, ...]
    """Not done yet, of those whose settings are known."""
    later: int = 0
    """Trials whose settings wait for what others come to."""
    runs: tuple[Job, ...]
    """Not done yet; empty while the search goes on."""
    waiting: int
    """Runs that wait for the search."""
    done: int
    """Runs that the ledger has."""
    best: int | None = None
    """Number of the trial whose settings the runs have."""


def plan_cell(study: Study, cell: Cell, stores: Mapping[str, Store], entries: Sequence[Entry]) -> CellPlan:
    """Compare what a cell asks for with the ledger. A cell with the settings of another waits for its trials."""
    done = {key_of(entry): entry for entry in entries}
    store, seeds = stores[cell.name], study.config.seeds
    experiment, best, budget = cell.experiment, None, {}
    searcher = cell if cell.settings_of is None else study.cell(cell.settings_of)
    if study.config.search is not None and searcher.space:
        inputs = stores[searcher.name].inputs
        trials = Trials(cell=searcher, search=study.config.search, fits=lambda asked: can_be_built(asked, inputs))
        store_hash = stores[searcher.name].hash
        known = trials.known(
            lambda asked: done.get(
                (study.name, searcher.name, asked.hash_without_seed, store_hash, asked.train.seed, "valid")
            )
        )
        jobs = _trial_jobs(study, trials, known, stores[searcher.name])
        # a small space may draw the same settings twice: one training serves both
        missing = tuple({job.key: job for job in reversed(jobs) if job.key not in done}.values())[::-1]
        later = trials.search.trials - len(known)
        if missing or later:
            own, after = (missing, later) if searcher is cell else ((), 0)
            return CellPlan(cell=cell, trials=own, later=after, runs=(), waiting=len(seeds), done=0)
        best = best_trial(trials, [done[job.key] for job in jobs])
        experiment = cell.having(known[best].settings)
        budget = {"trials": trials.search.trials, "searched keys": len(searcher.space)}
        if searcher is not cell:
            budget = {"trials": 0, "settings of": searcher.name}
    runs = [
        Job(
            study=study.name, cell=cell.name, experiment=experiment.with_seed(seed), store=store.path,
            data_hash=store.hash, budget=budget,
        )
        for seed in seeds
    ]  # fmt: skip
    left = tuple(job for job in runs if job.key not in done)
    return CellPlan(cell=cell, trials=(), runs=left, waiting=0, done=len(runs) - len(left), best=best)


def _trial_jobs(study: Study, trials: Trials, known: Sequence[Trial], store: Store) -> list[Job]:
    return [
        Job(
            study=study.name, cell=trials.cell.name, experiment=trial.experiment, store=store.path,
            data_hash=store.hash, trial=trial.number, pruning=trial.pruning, budget={"users": trials.search.users},
        )
        for trial in known
    ]  # fmt: skip


def plan(study: Study, stores: Mapping[str, Store], entries: Sequence[Entry]) -> list[CellPlan]:
    """What is left of every cell, in the order of the study file."""
    return [plan_cell(study, cell, stores, entries) for cell in study.cells]


def jobs_of(plans: Sequence[CellPlan], seeds: Sequence[int]) -> Iterator[Job]:
    """What can be started now: trials first, then seed by seed, so that an early stop leaves whole comparisons."""
    for found in plans:
        yield from found.trials
    rows = [found.runs for found in plans]
    for seed in seeds:
        yield from (job for runs in rows for job in runs if job.seed == seed)
