"""The code of the training guide runs, from top to bottom, and its table names every setting."""

import re
import runpy
from pathlib import Path

import pytest

from hemix.training.config import OptimizerConfig, ScheduleConfig, TrainConfig
from run.clicks import experiment, make_store

GUIDE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")


def test_the_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    make_store(tmp_path)
    (tmp_path / "experiment.yaml").write_text(experiment().to_yaml())
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    assert len(blocks) == 2
    Path("guide.py").write_text("\n".join(blocks), encoding="utf-8")
    runpy.run_path("guide.py")
    printed = capsys.readouterr().out
    assert re.search(r"best auc 0\.\d+ after step \d+", printed)
    assert "test AUC 0." in printed
    assert "slope 3.0" in printed


def test_every_setting_is_in_the_table() -> None:
    settings = re.findall(r"^\| (`.*?) \|", GUIDE[GUIDE.index("## Settings") :], re.MULTILINE)
    named = set(re.findall(r"`([^`]+)`", " ".join(settings)))
    own = set(TrainConfig.model_fields) - {"optimizer", "schedule"}
    nested = {*OptimizerConfig.model_fields, *ScheduleConfig.model_fields}
    assert {name.rpartition(".")[2] for name in named} == own | nested
