"""Runs of a study in processes of their own, side by side: one that fails does not stop the others."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol, runtime_checkable

from hemix.data.arrays import replace_file
from hemix.study.plan import Job
from hemix.study.worker import Task, is_done

POLL_SECONDS = 0.05
LOG_LINES = 8
"""Of a failed run, that are shown."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A run that did not come to its end."""

    job: Job
    status: int
    log: Path

    @property
    def why(self) -> str:
        """The last lines of its log."""
        lines = (
            self.log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines() if self.log.is_file() else []
        )
        return "\n".join(lines[-LOG_LINES:]) or "(it wrote nothing)"

    @property
    def how(self) -> str:
        """Exit status or signal, for people."""
        if self.status < 0:
            return f"killed by {signal.Signals(-self.status).name}"
        return f"exit status {self.status}"


@runtime_checkable
class Watcher(Protocol):
    """Told of what happens; all do nothing by default."""

    def started(self, job: Job, run: Path) -> None: ...

    def ended(self, job: Job, run: Path, failure: Failure | None) -> None: ...

    def tick(self) -> None: ...


@runtime_checkable
class Process(Protocol):
    """What the runner needs of a worker: a `subprocess.Popen`."""

    stdin: IO[bytes] | None

    def poll(self) -> int | None: ...

    def wait(self) -> int: ...

    def terminate(self) -> None: ...

    def kill(self) -> None: ...


def start_worker(task: Path, log: Path, lock: int) -> Process:
    """A process that does the task and writes to the log; it goes on holding the descriptor `lock`."""
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "hemix.study.worker", str(task)],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=output,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            # a Ctrl-C reaches it once, from here, not twice
            start_new_session=True,
            pass_fds=() if os.name == "nt" else (lock,),
        )


@dataclass(slots=True)
class _Running:
    job: Job
    process: Process
    log: Path


@dataclass(slots=True)
class Runner:
    """Starts jobs as long as there are, `slots` at a time.

    Args:
        out: folder of the study; runs go to ``runs/``, logs to ``logs/``, tasks to ``tasks/``.
        slots: processes at a time, each with one torch thread.
        ready: jobs that can be started now, asked again after each that ends.
        finished: called once for each run that came to its end, before `ready` is asked again.
        watcher: progress.
        lock: descriptor of a locked file; workers that outlive this process go on holding it.
    """

    out: Path
    slots: int
    ready: Callable[[], Iterable[Job]]
    finished: Callable[[Job, Path], None]
    watcher: Watcher
    lock: int
    failures: list[Failure] = field(default_factory=list)
    _running: list[_Running] = field(default_factory=list)
    _taken: set[tuple[object, ...]] = field(default_factory=set)
    """Keys of jobs that this session has begun: none is begun twice."""

    def run(self) -> list[Failure]:
        """Do all jobs; returns what failed. After an interrupt everything is saved, and KeyboardInterrupt goes on."""
        try:
            while self._fill() or self._running:
                while self._running and not self._collect():
                    self.watcher.tick()
                    time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            self._stop()
            raise KeyboardInterrupt(
                "Stopped; running trainings are saved. Go on with the same command: it does only what is missing."
            ) from None
        finally:
            for running in self._running:  # only where something unforeseen, or a second interrupt, ends this loop
                running.process.kill()
        return self.failures

    def _fill(self) -> bool:
        """Start what there is room for; whether anything was begun."""
        begun = False
        for job in self.ready():
            if len(self._running) >= self.slots:
                break
            if job.key in self._taken:
                continue
            self._taken.add(job.key)
            begun = True
            run = self.run_folder(job)
            if is_done(run, job.split):  # its line did not get into the ledger
                self.finished(job, run)
            else:
                self._running.append(self._start(job))
                self.watcher.started(job, run)
        return begun

    def run_folder(self, job: Job) -> Path:
        return self.out / "runs" / job.folder

    def _start(self, job: Job) -> _Running:
        task = Task(
            experiment=job.experiment,
            store=str(job.store),
            run=str(self.run_folder(job)),
            split=job.split,
            pruning=job.pruning,
        )
        file, log = (self.out / kind / f"{job.folder}.{end}" for kind, end in (("tasks", "json"), ("logs", "log")))
        for path in (file, log):
            path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(file, task.model_dump_json().encode())
        return _Running(job, start_worker(file, log, self.lock), log)

    def _collect(self) -> bool:
        """Take in the processes that have ended; whether there were any."""
        ended = [running for running in self._running if running.process.poll() is not None]
        for running in ended:
            self._running.remove(running)
            job, status, run = running.job, running.process.wait(), self.run_folder(running.job)
            _close(running.process)
            failure = None
            if status == 0 and is_done(run, job.split):
                self.finished(job, run)
            else:
                failure = Failure(job=job, status=status, log=running.log)
                self.failures.append(failure)
            self.watcher.ended(job, run, failure)
        return bool(ended)

    def _stop(self) -> None:
        """Ask all to save and stop, and wait for them; a second interrupt kills them."""
        for running in self._running:
            running.process.terminate()
        for running in self._running:
            running.process.wait()
            _close(running.process)
        self._running.clear()


def _close(process: Process) -> None:
    """Close the pipe that told the process of this one's life."""
    assert process.stdin is not None
    process.stdin.close()
