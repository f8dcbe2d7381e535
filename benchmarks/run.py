"""Run every benchmark, one after the other: nothing else should run meanwhile.

Each writes its table to benchmarks/results, with hardware and date in the name.
"""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = (
    "bench_startup.py",
    "bench_prepare.py",
    "bench_loader.py",
    "bench_metrics.py",
    "bench_memory.py",
    "bench_world.py",
    "bench_explain.py",
    "bench_dropout.py",
    "bench_scoring.py",
)


def main() -> None:
    for name in BENCHMARKS:
        subprocess.run([sys.executable, str(Path(__file__).parent / name)], check=True)


if __name__ == "__main__":
    main()
