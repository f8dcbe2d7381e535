"""What may be imported, from where and when: declared packages only, and heavy ones not before they are used."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "hemix"
MODULES = sorted(SRC.rglob("*.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
IMPORTED_AS = {"pyyaml": "yaml"}
OPTIONAL = {"matplotlib", "optuna"}
HEAVY = ("torch", "duckdb", "pyarrow", "matplotlib", "optuna", "sklearn", "pandas", "pydantic", "h3")


def declared(requirements: list[str]) -> set[str]:
    names = {Requirement(requirement).name.lower() for requirement in requirements}
    return {IMPORTED_AS.get(name, name) for name in names}


def top_level_names(nodes: list[ast.stmt] | list[ast.AST]) -> set[str]:
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module.split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SRC).as_posix())
def test_every_import_is_declared(path: Path) -> None:
    """Nothing is used that a plain `pip install` would not bring; optional packages stand inside functions."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    known = set(sys.stdlib_module_names) | declared(PROJECT["dependencies"]) | {"hemix"}
    assert top_level_names(list(ast.walk(tree))) - known <= OPTIONAL
    assert top_level_names(tree.body) & OPTIONAL == set()


def modules_after(*arguments: str) -> set[str]:
    """Names of all modules that are loaded once this Python command has run."""
    program = (
        "import atexit, sys\n"
        "atexit.register(lambda: sys.stderr.write('MODULES ' + ' '.join(sys.modules)))\n" + "\n".join(arguments)
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(re.search(r"MODULES (.*)", done.stderr)[1].split())


def test_import_is_light() -> None:
    assert sorted(modules_after("import hemix").intersection(HEAVY)) == []


@pytest.mark.parametrize("words", ["--help", "--version", "train --help", "prepare --help", "data --help"])
def test_help_is_light(words: str) -> None:
    loaded = modules_after("from hemix.cli import main", f"sys.argv = ['hemix', *{words.split()!r}]", "main()")
    # typer itself may load pydantic where it is installed
    assert sorted(loaded.intersection((*HEAVY, "numpy", "yaml")) - {"pydantic"}) == []


def test_lock_pins_what_the_project_asks_for() -> None:
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][A-Za-z0-9.]*", pin)] == []
    versions = {name.lower().replace("_", "-"): version for name, version in (pin.split("==") for pin in pins)}
    assert versions["torch"] == "2.13.0"
    extras = PROJECT["optional-dependencies"]
    wanted = [Requirement(text) for text in PROJECT["dependencies"] + extras["report"] + extras["tune"] + extras["dev"]]
    for requirement in wanted:
        if requirement.name != "hemix" and (requirement.marker is None or requirement.marker.evaluate()):
            assert requirement.specifier.contains(versions[requirement.name.lower()]), requirement
