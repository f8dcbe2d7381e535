"""One request of 500 candidates and 1,000 events stays below two gigabytes, in every model as it is by default."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hemix.models import MODELS

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "bench_scoring.py"
LIMIT_MB = 2000
READERS = [name for name, kind in MODELS.items() if kind.histories == "read"]


@pytest.mark.slow
@pytest.mark.parametrize("name", READERS)
def test_scoring_stays_below_two_gigabytes(name: str) -> None:
    """Peak of a process of its own, torch included."""
    command = [sys.executable, str(BENCHMARK), "--only", name, "--no-gradients"]
    found = json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines()[-1])
    assert found["before_mb"] < found["scored_mb"] < LIMIT_MB
