"""Workers as processes: killed, interrupted, orphaned; what they have done is kept and taken up again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from hemix.study import runner
from hemix.study.conduct import Prepared, conduct, open_study
from hemix.study.plan import Job
from hemix.study.runner import Failure, Process
from hemix.study.worker import Task
from hemix.training.folder import RunFolder
from run.clicks import experiment
from study.studies import write_study
from study.test_conduct import Watched, go, of

pytestmark = pytest.mark.slow
LONG = {"epochs": 12, "patience": None, "checkpoint_steps": 5, "log_steps": 1}


class Meddler(Watched):
    """Does something once a run has made some steps."""

    def __init__(self, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        self.processes: dict[str, Process] = {}
        self.done = False
        self.runs = prepared.places.out / "runs"
        start = runner.start_worker

        def remembering(task: Path, log: Path, lock: int) -> Process:
            self.processes[task.stem] = start(task, log, lock)
            return self.processes[task.stem]

        monkeypatch.setattr(runner, "start_worker", remembering)

    def tick(self) -> None:
        for folder, process in self.processes.items():
            metrics = RunFolder(self.runs / folder).metrics
            if not self.done and metrics.is_file() and metrics.read_bytes().count(b"\n") > 8:
                self.done = True
                self.meddle(process)

    def meddle(self, process: Process) -> None:
        raise NotImplementedError


def long_study(folder: Path, store: str, seeds: list[int]) -> Prepared:
    return open_study(write_study(folder / "in", train=LONG, seeds=seeds), folder / "out", data=[store])


def test_a_run_that_is_killed(tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others go on; the next call takes it up from its checkpoint."""

    class Killer(Meddler):
        def meddle(self, process: Process) -> None:
            process.kill()

        def ended(self, job: Job, run: Path, failure: Failure | None) -> None:
            if failure is not None:
                self.before = RunFolder(run).metrics.read_bytes()

    prepared = long_study(tmp_path, store, [1, 2])
    killer = Killer(prepared, monkeypatch)
    (failure,) = conduct(prepared, slots=2, watcher=killer)
    assert failure.how == "killed by SIGKILL"
    assert len(of(prepared.entries(), "test")) == 3
    starts, failures = go(prepared)
    assert (starts, failures) == ([failure.job.title], [])
    assert len(of(prepared.entries(), "test")) == 4
    first = killer.before.splitlines()[:5]
    assert RunFolder(prepared.places.out / "runs" / failure.job.folder).metrics.read_bytes().splitlines()[:5] == first


def test_an_interrupt_stops_all_and_keeps_what_they_did(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Interrupter(Meddler):
        def meddle(self, process: Process) -> None:
            raise KeyboardInterrupt

    prepared = long_study(tmp_path, store, [1])
    interrupter = Interrupter(prepared, monkeypatch)
    with pytest.raises(KeyboardInterrupt, match=r"saved\. Go on with the same command"):
        conduct(prepared, slots=2, watcher=interrupter)
    assert {process.poll() for process in interrupter.processes.values()} <= {130, 0, -15}
    logs = [path.read_text() for path in (prepared.places.out / "logs").iterdir()]
    assert any("everything is saved" in log for log in logs)
    _, failures = go(prepared, slots=2)
    assert failures == []
    assert len(of(prepared.entries(), "test")) == 2


def test_an_interrupted_worker_says_so_wherever_it_was(tmp_path: Path, store: str) -> None:
    """Within a string that `exec` runs, too, as dataclasses do while a library is imported: a duckdb that waits."""
    task = Task(experiment=experiment(), store=store, run=str(tmp_path / "run"), split="test")
    (tmp_path / "task.json").write_text(task.model_dump_json(), encoding="utf-8")
    (tmp_path / "duckdb.py").write_text('exec("print(flush=True)\\nwhile True: pass")', encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "hemix.study.worker", str(tmp_path / "task.json")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as worker:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "\n"
        _, errors = worker.communicate()
    assert (worker.returncode, errors) == (130, "Stopped.\n")


def test_a_worker_saves_and_stops_when_its_parent_dies(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Orphaner(Meddler):
        def meddle(self, process: Process) -> None:
            assert process.stdin is not None
            process.stdin.close()

    prepared = long_study(tmp_path, store, [1])
    (failure,) = conduct(prepared, slots=1, watcher=Orphaner(prepared, monkeypatch))
    assert failure.status == 130
    assert "everything is saved" in failure.why
    assert len(of(prepared.entries(), "test")) == 1
