"""The code of the guide runs."""

import re
import runpy
from pathlib import Path

import pytest

from hemix.run import Run

GUIDE = (Path(__file__).parents[2] / "docs" / "explain.md").read_text(encoding="utf-8")


def test_the_guide_runs(
    runs: dict[str, Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    Path(tmp_path / "guide.py").write_text(code.replace('"run"', repr(str(runs["hemix"].path))), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    runpy.run_path("guide.py")
    said = capsys.readouterr().out
    assert re.search(r"^i\d+: colour \w+ adds [+-]\d\.\d\d$", said, re.MULTILINE)
    assert "needed most: colour" in said


def test_every_flag_is_named() -> None:
    line = next(
        line
        for line in (Path(__file__).parents[1] / "golden" / "cli.txt").read_text().splitlines()
        if line.startswith("hemix explain ")
    )
    assert [flag for flag in line.split() if flag.startswith("--") and flag not in GUIDE] == []
