"""docs/world.md says what is true: its knobs, its files and its example."""

import re
from pathlib import Path

import pytest

from hemix.world import Knobs

PAGE = (Path(__file__).parents[2] / "docs" / "world.md").read_text(encoding="utf-8")


def test_every_knob_is_described_with_its_default():
    for name, field in Knobs.model_fields.items():
        row = re.search(rf"^\| `{name}` \| (.*?) \| (.*) \|$", PAGE, re.M)
        assert row is not None, name
        assert row[1] == str(field.default), name
        assert row[2] == " ".join(field.description.split()), name


def test_files_are_named(folder):
    for path in folder.rglob("*"):
        if path.is_file():
            assert f"`{path.relative_to(folder).as_posix()}`" in PAGE


def test_example_runs(folder, tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "city").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", PAGE, re.S)[1]
    names: dict = {}
    exec(compile(code, "docs/world.md", "exec"), names)  # noqa: S102 - the page of this repository
    assert names["answer"].truth.p_click.shape == (1, 3)
