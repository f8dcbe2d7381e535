"""Studies run their jobs in this process, and measure briefly."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from hemix.errors import HemixError
from hemix.study import costs, runner, worker


class InProcess:
    """Stands for the process of a worker: does the task at once."""

    def __init__(self, task: Path, log: Path, lock: int) -> None:
        self.stdin = io.BytesIO()
        self.status = 0
        try:
            worker.perform(worker.Task.model_validate_json(task.read_text(encoding="utf-8")))
        except HemixError as error:
            log.write_text(f"Error: {error}\n")
            self.status = error.exit_code

    def poll(self) -> int:
        return self.status

    def wait(self) -> int:
        return self.status

    def terminate(self) -> None:
        raise AssertionError("it has ended")

    kill = terminate


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The store of the base experiment."""
    from run.clicks import make_store

    return str(make_store(tmp_path_factory.mktemp("clicks")).path)


@pytest.fixture(scope="module")
def in_process() -> Iterator[None]:
    """No processes where they are not the point: they cost seconds each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "start_worker", InProcess)
        patch.setattr(costs, "PROBE_SECONDS", 0.01)
        patch.setattr(runner, "POLL_SECONDS", 0.0)
        yield
