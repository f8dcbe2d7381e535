"""One progress display for all runs of a study: a bar for the study, and one for each run that goes on."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from hemix.study.plan import Job
from hemix.study.runner import Failure
from hemix.training.folder import RunFolder

LOOK_SECONDS = 0.5
TAIL_BYTES = 4096


class StudyProgress:
    """Watches a `Runner`; draws on standard error if that is a terminal, and else says what starts and fails.

    Args:
        total: runs that are left.
        say: told of each start where no bar is drawn.
        console: where to draw; None: standard error.
    """

    def __init__(self, total: int, *, say: Callable[[str], None], console: Console | None = None) -> None:
        console = Console(stderr=True) if console is None else console
        self._say = say
        self._total = total
        self._seen = 0
        self._looked = 0.0
        self._runs: dict[Path, TaskID] = {}
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._all = self._bar.add_task("all runs", total=total, note="")

    def started(self, job: Job, run: Path) -> None:
        self._seen += 1
        if self._bar.disable:
            self._say(f"[{self._seen}/{self._total}] {job.title} ...")
        self._runs[run] = self._bar.add_task(job.title, total=job.experiment.train.max_steps, note="")

    def ended(self, job: Job, run: Path, failure: Failure | None) -> None:
        self._bar.remove_task(self._runs.pop(run))
        self._bar.advance(self._all)
        if failure is not None:
            self._say(f"FAILED: {job.title} ({failure.how})")

    def tick(self) -> None:
        """Read how far the runs are, now and then."""
        if self._bar.disable or time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        for run, task in self._runs.items():
            line = last_line(RunFolder(run).metrics)
            if line is not None:
                loss = f"loss {line['loss']:.4f}" if line.get("loss") is not None else ""
                self._bar.update(task, completed=line["step"], note=f"epoch {line['epoch'] + 1}  {loss}")

    def __enter__(self) -> "StudyProgress":
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._bar.stop()


def last_line(path: Path) -> dict[str, Any] | None:
    """The last whole line of a file of JSON lines; None if there is none."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL_BYTES))
        lines = file.read().split(b"\n")[:-1]
    return json.loads(lines[-1]) if lines and lines[-1].startswith(b"{") else None
