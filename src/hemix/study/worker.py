"""One job in a process of its own: ``python -m hemix.study.worker TASK.json``. Trains or goes on, then evaluates once.

Standard input is held open by the process that started it: when that dies, the worker saves and stops too.
"""

import math
import os
import signal
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hemix.config import Config
from hemix.errors import HemixError, TrainingError
from hemix.experiment import Experiment
from hemix.ledger import Entry, append, read
from hemix.study.optuna_search import Pruning, is_behind
from hemix.training.config import BUDGET_KEYS, higher_is_better
from hemix.training.folder import RunFolder, read_json

if TYPE_CHECKING:
    from hemix.training.trainer import Prune

LINES = "lines.jsonl"
"""File in a run folder with the ledger lines of the run; the study copies them into its ledger."""
INTERRUPTED = 130


class Task(Config):
    """What a worker is told."""

    experiment: Experiment
    store: str
    run: str
    split: Literal["valid", "test"]
    """`test`: evaluate there after training; `valid`: a trial."""
    pruning: Pruning | None = None
    """Of a trial that is stopped where it falls behind."""
    threads: int = 1


def lines_of(run: Path) -> tuple[Entry, ...]:
    """What a run has to report so far."""
    return read(run / LINES).entries


def is_done(run: Path, split: str) -> bool:
    """Whether a run has its figures on a split."""
    return any(entry.split == split for entry in lines_of(run))


def perform(task: Task) -> None:
    """Do what is left of a task. Raises what `train` and `Run.evaluate` raise."""
    import torch

    from hemix.data.store import Store
    from hemix.run.training import train_into

    torch.set_num_threads(task.threads)
    path = Path(task.run)
    lines = path / LINES
    resume = RunFolder(path).is_run
    try:
        run = train_into(
            RunFolder(path),
            task.experiment,
            Store.open(task.store),
            resume=resume,
            initial=None,
            ledger=lines,
            progress=False,
            prune=_prune_of(task),
        )
    except TrainingError as error:
        if task.split == "test":
            raise
        sys.stderr.write(f"This trial has no figure: {error}\n")
        append(lines, _without_figure(task, path))
        return
    if not is_done(path, task.split):
        run.evaluate(task.split, ledger=lines)


def _prune_of(task: Task) -> "Prune | None":
    pruning = task.pruning
    if pruning is None:
        return None
    highest = higher_is_better(task.experiment.train.monitor)
    return lambda curve: is_behind(curve, pruning, highest=highest)


def _without_figure(task: Task, path: Path) -> Entry:
    """The line of a trial that diverged: settings that do not work are a finding, and are not tried again."""
    from hemix.data.store import Store
    from hemix.ranker import count_parameters

    experiment, store, machine = task.experiment, Store.open(task.store), read_json(RunFolder(path).environment)
    count = count_parameters(store.inputs, experiment.model)
    seconds = [line["seconds"] for line in RunFolder(path).read_metrics()]
    return Entry(
        study=path.name,
        cell=experiment.name,
        split="valid",
        config_hash=experiment.hash_without_seed,
        data_hash=store.hash,
        commit=machine["commit"],
        seed=experiment.train.seed,
        budget={key: getattr(experiment.train, key) for key in BUDGET_KEYS},
        seconds=max(seconds, default=0.0),
        figures={experiment.train.monitor: math.nan},
        parameters=count.tables + count.dense,
        date=datetime.now(UTC),
        run=path.name,
    )


def _stop_with_parent() -> None:
    """Wait for the end of standard input, then ask this process to stop."""
    while os.read(0, 1):  # not sys.stdin: its lock would be held when the interpreter ends
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt("Stopped.")


def main(path: str) -> int:
    """Exit status: that of `hemix train`, 130 after an interrupt."""
    try:
        signal.signal(signal.SIGTERM, _interrupted)
        threading.Thread(target=_stop_with_parent, daemon=True).start()
        perform(Task.model_validate_json(Path(path).read_text(encoding="utf-8")))
    except KeyboardInterrupt as stop:
        # a parent that stops also closes standard input: its second request must not raise once more
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        sys.stderr.write(f"{stop}\n")
        return INTERRUPTED
    except HemixError as error:
        sys.stderr.write(f"Error: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    status = main(sys.argv[1])
    if status == INTERRUPTED:
        # CPython ends by SIGINT where an interrupt went through a string that `exec` ran, although it was caught
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)
