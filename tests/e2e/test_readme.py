"""README.md and examples/ as they stand: what they tell a stranger to type works, what they show is real."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])


def blocks(kind: str) -> list[str]:
    """The fenced blocks of one kind, in order. Blocks of `console` and `text` are for reading only."""
    return re.findall(rf"^```{re.escape(kind)}\n(.*?)^```$", README, flags=re.M | re.S)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which `hemix` is this source tree's command, whatever is installed."""
    folder = tmp_path_factory.mktemp("bin")
    command = folder / "hemix"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "from hemix.cli import main; main()" "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join((str(folder), str(Path(sys.executable).parent), os.environ["PATH"]))
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, environment: dict[str, str]) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    run(["python", str(ROOT / "examples" / "bookshop.py"), "."], folder, environment)
    return folder


def run(words: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="the blocks are written for a POSIX shell")
def test_commands_and_code_of_the_readme(shop: Path, environment: dict[str, str]) -> None:
    for name in ("offers.csv", "books.csv"):
        (shown,) = blocks(f"csv {name}")
        assert (shop / name).read_text(encoding="utf-8").startswith(shown)
    commands = blocks("sh")
    assert [line.split()[1] for block in commands for line in block.splitlines()] == [
        *("init", "prepare", "train", "evaluate", "predict"),
        *("train", "compare"),
    ]
    for block in commands:
        run(["sh", "-e", "-c", block], shop, environment)
    (code,) = blocks("python")
    assert re.match(r"AUC 0\.\d{3}, gAUC", run(["python", "-c", code], shop, environment))


@pytest.mark.slow
def test_examples_run(tmp_path: Path, environment: dict[str, str]) -> None:
    for name in ("bookshop.py", "train_from_python.py", "look_at_batches.py"):
        run(["python", str(ROOT / "examples" / name)], tmp_path, environment)
    assert (tmp_path / "scored.parquet").exists()


def test_examples_are_short() -> None:
    lengths = {
        path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "examples").glob("*.py")
    }
    assert {name: length for name, length in lengths.items() if length > 60} == {}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


def test_readme_shows_real_output() -> None:
    for name in ("demo", "models"):
        shown = re.search(rf"<!-- {name} -->\n(.*?)<!-- end -->", README, flags=re.S)
        assert shown is not None
        assert "hemix" in shown[1], f"run docs/write_readme.py to put the output of {name} into README.md"
