"""Killed by SIGKILL at moments nobody chose, resumed, and equal to an uninterrupted training bit for bit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from hemix.training.checkpoint import load_tensors
from hemix.training.folder import TIMINGS, RunFolder
from training.killed import trainer_of
from training.toy import ToyLoader

PROGRAM = Path(__file__).with_name("killed.py")
ROOT = PROGRAM.parents[2]


def start(folder: Path, tables: str) -> subprocess.Popen[bytes]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(torch.get_num_threads())}
    return subprocess.Popen([sys.executable, str(PROGRAM), str(folder), tables], env=environment)


def kill_after(process: subprocess.Popen[bytes], folder: Path, lines: int) -> None:
    """SIGKILL as soon as the log has that many lines, wherever the process is then."""
    metrics = folder / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not metrics.exists() or metrics.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, "it ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
@pytest.mark.parametrize("tables", ["rowwise_adagrad", pytest.param("adam", marks=pytest.mark.slow)])
def test_kill_and_resume(tmp_path: Path, tables: str) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    killed = start(cut, tables)
    trainer = trainer_of(whole, tables, ToyLoader())
    trainer.start()
    trainer.fit()
    kill_after(killed, cut, lines=17)
    trainer_of(cut, tables, ToyLoader()).fit()
    results = []
    for path in (whole, cut):
        folder = RunFolder(path)
        tensors, state = load_tensors(folder.checkpoint, torch.device("cpu"))
        lines = [{k: v for k, v in line.items() if k not in TIMINGS} for line in folder.read_metrics()]
        state["train"] = {k: v for k, v in state["train"].items() if k not in ("seconds", "metrics_bytes")}
        results.append((tensors, state, lines, folder.weights.read_bytes()))
    assert results[0][1:] == results[1][1:]
    assert len(results[0][2]) > 52
    assert all(torch.equal(value, results[1][0][name]) for name, value in results[0][0].items())
