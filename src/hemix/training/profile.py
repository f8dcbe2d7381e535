"""Where the time of a training step goes: loader, forward, backward, optimizer, and the costliest operators."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from hemix.data.arrays import replace_file

PHASES: tuple[str, ...] = ("loader", "forward", "backward", "optimizer")
WARM_UP_STEPS = 5


class StepProfile:
    """Times the phases of `steps` training steps after a few to warm up, then writes `path`; 0: does nothing."""

    def __init__(self, steps: int, path: Path, device: torch.device) -> None:
        self._steps = steps
        self._path = path
        self._device = device
        self._seen = 0
        self._seconds: dict[str, float] = dict.fromkeys(PHASES, 0.0)
        self._profiler: profile | None = None

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time what runs within as one of PHASES."""
        if self._profiler is None:
            yield
            return
        start = self._now()
        yield
        self._seconds[name] += self._now() - start

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()

    def step_done(self) -> None:
        """Between two steps: begin or end measuring when it is time."""
        self._seen += 1
        if self._steps and self._seen == WARM_UP_STEPS:
            activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if self._device.type == "cuda" else [])
            profiler = profile(activities=activities)
            profiler.start()
            self._profiler = profiler
        elif self._profiler is not None and self._seen == WARM_UP_STEPS + self._steps:
            self.finish()

    def finish(self) -> None:
        """End measuring, if it is under way, and write the report."""
        if self._profiler is None:
            return
        self._profiler.stop()
        steps = max(1, self._seen - WARM_UP_STEPS)
        total = sum(self._seconds.values()) or float("nan")
        lines = [f"{steps} steps, {total / steps * 1000:.2f} ms each", ""]
        lines += [
            f"{name:<10} {seconds / steps * 1000:9.2f} ms {seconds / total:7.1%}"
            for name, seconds in self._seconds.items()
        ]
        table = self._profiler.key_averages().table(sort_by="self_cpu_time_total", row_limit=30)
        replace_file(self._path, ("\n".join(lines) + "\n\n" + table + "\n").encode())
        self._profiler = None
