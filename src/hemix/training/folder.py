"""The run folder: where everything about one training stands.

config.json        the resolved experiment; written last when a run starts: with it, the folder is a run
environment.json   versions, commit, hardware, store and its hash
metrics.jsonl      one line per logged step, one per validation
checkpoint/        state.safetensors: the latest, for resuming
best/              weights.safetensors and model.json: all that rebuilds the model
result.json        how training ended; written last of all
"""

import json
import os
from pathlib import Path
from typing import Any

from hemix.data.arrays import replace_file
from hemix.errors import RunError

TIMINGS = ("seconds", "rows_per_second")
"""Keys of a metrics line that differ between two equal runs."""


class RunFolder:
    """Names of the files of a run, and its metrics log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.json"
        self.environment = path / "environment.json"
        self.metrics = path / "metrics.jsonl"
        self.checkpoint = path / "checkpoint" / "state.safetensors"
        self.weights = path / "best" / "weights.safetensors"
        self.model = path / "best" / "model.json"
        self.profile = path / "profile.txt"
        self.result = path / "result.json"

    @property
    def is_run(self) -> bool:
        return self.config.is_file()

    @property
    def is_finished(self) -> bool:
        return self.result.is_file()

    def must_be_free(self) -> None:
        """Raises RunError if something stands here that a new run would mix with or overwrite.

        What a start left behind that was killed before it became a run is not in the way.
        """
        if self.is_run:
            kind = "a finished run" if self.is_finished else "an unfinished run"
            raise RunError(f"{self.path} holds {kind}; go on with --resume, or choose another folder with --out.")
        if self.path.exists() and not self.path.is_dir():
            raise RunError(f"{self.path} is a file; a run needs a folder of its own.")
        own = {"environment.json", "checkpoint", "best", "metrics.jsonl"}
        found = sorted(item.name for item in self.path.iterdir()) if self.path.is_dir() else []
        foreign = [name for name in found if name not in own and not name.startswith(".")]
        if foreign:
            raise RunError(f"{self.path} is not empty ({', '.join(foreign[:3])}); a run needs a folder of its own.")

    def log(self, line: dict[str, Any]) -> None:
        """Append one line to metrics.jsonl."""
        with self.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def sync_metrics(self) -> int:
        """Bring metrics.jsonl onto the disk; returns its length in bytes."""
        with self.metrics.open("a", encoding="utf-8") as file:
            os.fsync(file.fileno())
        return self.metrics.stat().st_size

    def truncate_metrics(self, size: int) -> None:
        """Drop what was logged after the checkpoint. Raises RunError if lines from before it are missing."""
        found = self.metrics.stat().st_size if self.metrics.is_file() else 0
        if found < size:
            raise RunError(f"{self.metrics} has {found} bytes, its checkpoint counts {size}: lines are missing.")
        with self.metrics.open("ab") as file:
            file.truncate(size)

    def read_metrics(self) -> list[dict[str, Any]]:
        """All complete lines of metrics.jsonl."""
        if not self.metrics.is_file():
            return []
        lines = self.metrics.read_text(encoding="utf-8").split("\n")
        return [json.loads(line) for line in lines[:-1]]


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, (json.dumps(value, indent=2) + "\n").encode())


def read_json(path: Path) -> Any:
    """The value of a JSON file of a run. Raises RunError that names it if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path.parent} is not a complete run: {path.name} is missing.") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged: {error}.") from error
