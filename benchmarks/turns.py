"""Systems measured in turn (A B A B ...), each run in a fresh process; medians, and the ratio pair by pair."""

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def cpu_name() -> str:
    """What the processor calls itself."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def machine() -> str:
    """Processor, cores, Python, load and date, for the head of a report."""
    where = f"{cpu_name()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{where}, load {os.getloadavg()[0]:.1f}, {datetime.now(UTC):%Y-%m-%d}."


def run_once(command: list[str]) -> dict[str, float]:
    """Run a command that prints a JSON object last; adds peak memory of the process and its wall seconds."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed with status {process.returncode}")
    figures = json.loads(out.strip().splitlines()[-1])
    return {**figures, "process_seconds": time.perf_counter() - start}


def in_turn(script: str, systems: list[str], arguments: list[str], rounds: int) -> dict[str, list[dict[str, float]]]:
    """Figures of each system, round by round."""
    found: dict[str, list[dict[str, float]]] = {system: [] for system in systems}
    for _ in range(rounds):
        for system in systems:
            found[system].append(run_once([sys.executable, script, "--only", system, *arguments]))
    return found


def report(title: str, found: dict[str, list[dict[str, float]]], figure: str, note: str) -> str:
    """A markdown table of medians, and the ratio of the first system to each other one, pair by pair."""
    first = next(iter(found))
    lines = [f"# {title}", "", note, "", machine()]
    lines += ["", f"| system | {figure}, median | min .. max | {first} / system, median of pairs | peak memory MB |"]
    lines += ["|---|---|---|---|---|"]
    for system, rounds in found.items():
        values = [figures[figure] for figures in rounds]
        ratios = [a[figure] / b[figure] for a, b in zip(found[first], rounds, strict=True)]
        memory = statistics.median(figures["peak_mb"] for figures in rounds)
        lines.append(
            f"| {system} | {statistics.median(values):,.0f} | {min(values):,.0f} .. {max(values):,.0f} "
            f"| {statistics.median(ratios):.2f} | {memory:,.0f} |"
        )
    return "\n".join(lines) + "\n"


def save(name: str, text: str) -> None:
    """Print a report and keep it with the hardware and the date in its name."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}_{os.cpu_count()}-core-cpu_{datetime.now(UTC):%Y-%m-%d}.md"
    path.write_text(text)
    print(text)


def peak_mb() -> float:
    """Peak resident memory of this process in MB, since it began."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def finish(figures: dict[str, float]) -> None:
    """What a measured process prints last."""
    print(json.dumps({**figures, "peak_mb": peak_mb()}))
