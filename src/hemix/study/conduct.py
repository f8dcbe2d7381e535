"""`conduct`: everything that a study asks for and its ledger lacks, priced beforehand, run side by side, recorded."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hemix.batch import Inputs
from hemix.data.store import Store
from hemix.errors import ConfigError, RunError
from hemix.experiment import Experiment
from hemix.ledger import Entry, append, read, test_reads
from hemix.nn.memory import available_memory
from hemix.ranker import check_memory
from hemix.study.cells import Study, read_study
from hemix.study.costs import Price, Speeds, price
from hemix.study.optuna_search import require_optuna
from hemix.study.plan import CellPlan, Job, jobs_of, key_of, plan
from hemix.study.runner import Failure, Runner, Watcher
from hemix.study.search import Trials, check_built, check_trials, frozen
from hemix.study.stores import open_stores, parse_places
from hemix.study.worker import lines_of


@dataclass(frozen=True, kw_only=True, slots=True)
class Places:
    """Where a study's things are."""

    out: Path
    ledger: Path

    @staticmethod
    def of(study: Study, out: Path, ledger: Path | None = None) -> "Places":
        """Without a `ledger` it is ``out/<study>.jsonl``."""
        return Places(out=out, ledger=ledger or out / f"{study.name}.jsonl")


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """A study with its stores, checked: nothing but training is left to go wrong."""

    study: Study
    places: Places
    stores: Mapping[str, Store]
    """By the cell's name."""

    def entries(self) -> tuple[Entry, ...]:
        return read(self.places.ledger).entries

    def plans(self) -> list[CellPlan]:
        return plan(self.study, self.stores, self.entries())

    @property
    def speeds(self) -> Speeds:
        """Measured speeds, kept in ``costs.json``."""
        return Speeds(self.places.out / "costs.json")

    def prices(self, plans: Sequence[CellPlan]) -> list[Price]:
        """Measures what is not known yet."""
        return price(plans, self.study, self.stores, self.entries(), self.speeds)


def open_study(
    file: Path,
    out: Path,
    *,
    ledger: Path | None = None,
    data: Sequence[str] = (),
    slots: int = 1,
    say: Callable[[str], None] = lambda _: None,
) -> Prepared:
    """Read a study, check all of it and prepare the stores that are not there yet.

    Args:
        file: the study file.
        out: folder of the study.
        ledger: None: ``out/<study>.jsonl``.
        data: places of stores as ``NAME=PATH``, or ``PATH`` for the only one.
        slots: runs side by side, which must fit into memory together.
        say: told of each store that is prepared.

    Raises ConfigError for anything wrong in any cell, before anything is trained.
    """
    study = read_study(file)
    check_search(study)
    stores = open_stores(study, out, parse_places(study, data), say=say)
    check_cells(study, stores, slots)
    return Prepared(study=study, places=Places.of(study, out, ledger), stores=stores)


def check_search(study: Study) -> None:
    """Raises ConfigError if a trial of any cell would not be a valid experiment, HemixError if Optuna is missing."""
    if study.config.search is not None and study.config.search.optuna is not None:
        require_optuna()
    for cell in study.cells:
        if study.config.search is not None and cell.space:
            check_trials(Trials(cell=cell, search=study.config.search))


def check_cells(study: Study, stores: Mapping[str, Store], slots: int) -> None:
    """Raises ConfigError for a cell, or one of its random trials, whose model or objective its data does not allow; for
    cells that do not fit into memory, and for one whose search has nothing to be judged by.
    """
    for cell in study.cells:
        inputs = stores[cell.name].inputs
        _check_built(f"cell {cell.name!r}", cell.experiment, inputs)
        if study.config.search is not None and cell.space:
            trials = Trials(cell=cell, search=study.config.search)
            for number in trials.drawn:
                trial = trials.random(number)
                where = f"cell {cell.name!r}, trial {number} ({frozen(trial.settings)})"
                _check_built(where, trial.experiment, inputs)
    needed = sorted((_needed(cell.experiment, stores[cell.name]) for cell in study.cells), reverse=True)
    available, together = available_memory(), sum(needed[:slots])
    if available is not None and together > available:
        raise ConfigError(
            f"Runs side by side must fit into memory; the {min(slots, len(needed))} largest need "
            f"{together / 1e9:.1f} GB, {available / 1e9:.1f} GB are left. Lower --jobs."
        )
    for cell in study.cells:
        if cell.space and not stores[cell.name].split("valid", histories=False).num_rows:
            raise ConfigError(
                f"Trials are judged on the validation split, and that of cell {cell.name!r} is empty. "
                "Change data.split."
            )


def _check_built(where: str, experiment: Experiment, inputs: Inputs) -> None:
    try:
        check_built(experiment, inputs)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _needed(experiment: Experiment, store: Store) -> int:
    return check_memory(store.inputs, experiment.model, table_optimizer=experiment.train.table_optimizer)


def conduct(
    prepared: Prepared, *, slots: int, watcher: Watcher, recorded: Callable[[Entry], None] = lambda _: None
) -> list[Failure]:
    """Run what is missing; returns the runs that failed. `recorded` is told of each new line of the ledger.

    Raises RunError if another process works in the same folder, KeyboardInterrupt after an interrupt.
    """
    places = prepared.places
    places.out.mkdir(parents=True, exist_ok=True)

    def costs(job: Job) -> dict[str, float]:
        if not prepared.study.config.measures_costs or job.trial is not None:
            return {}
        return prepared.speeds.of(job.experiment, prepared.stores[job.cell]).figures

    def finished(job: Job, run: Path) -> None:
        for entry in _record(job, run, places.ledger, costs(job)):
            recorded(entry)

    with _alone(places.out) as lock:
        for found in prepared.plans():  # before anything runs beside it
            for job in found.runs:
                costs(job)
        runner = Runner(
            out=places.out,
            slots=slots,
            ready=lambda: jobs_of(prepared.plans(), prepared.study.config.seeds),
            finished=finished,
            watcher=watcher,
            lock=lock,
        )
        return runner.run()


def _record(job: Job, run: Path, ledger: Path, costs: Mapping[str, float]) -> Iterator[Entry]:
    """Copy the lines of a finished run that the ledger does not have yet; the line that completes the job last.

    `costs` are figures of the model itself, which the line of the test split gets.
    """
    have = {key_of(entry) for entry in read(ledger).entries}
    for line in sorted(lines_of(run), key=lambda line: line.split == job.split):
        entry = line.model_copy(
            update={
                "study": job.study,
                "cell": job.cell,
                "trial": job.trial,
                "budget": {**line.budget, **job.budget},
                "figures": {**line.figures, **(costs if line.split == job.split else {})},
                "test_reads": test_reads(ledger, line.config_hash, line.data_hash) + 1 if line.split == "test" else 0,
            }
        )
        if key_of(entry) not in have:
            append(ledger, entry)
            yield entry


@contextmanager
def _alone(out: Path) -> Iterator[int]:
    """Hold the folder of a study for this process and its workers. Raises RunError if others have it."""
    with (out / ".lock").open("a+b") as file:
        try:
            if os.name == "nt":
                import msvcrt

                file.seek(0)
                msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # pyright: ignore[reportAttributeAccessIssue]
            else:
                import fcntl

                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RunError(
                f"One process at a time runs a study; another one, or a run that it has left behind and that is about "
                f"to save, works in {out}. Wait for it, or choose another --out."
            ) from None
        yield file.fileno()
