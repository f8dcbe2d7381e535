"""The code of the guide runs, from top to bottom."""

import re
import runpy
from pathlib import Path

GUIDE = Path(__file__).parents[2] / "docs" / "evaluation.md"


def test_the_guide_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    Path("guide.py").write_text("\n".join(blocks), encoding="utf-8")
    runpy.run_path("guide.py")
    printed = capsys.readouterr().out
    assert printed.startswith("AUC 0.")
    assert "auc +0." in printed
    assert (tmp_path / "compare.html").is_file()
    assert "| sharp | 0." in (tmp_path / "results.md").read_text()
