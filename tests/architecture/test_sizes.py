"""Files and functions stay short, names say something, nothing hides an error or prints behind the reader's back."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "hemix"
MODULES = sorted(SRC.rglob("*.py"))
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 50
MAX_ARGUMENTS = 8
CATCH_ALL_NAMES = {"utils", "util", "common", "base", "helpers", "helper", "misc", "core", "manager", "tools"}


def problems(source: str) -> list[str]:
    """What the house rules forbid in one module, each with its line."""
    found = []
    lines = source.count("\n")
    if lines > MAX_FILE_LINES:
        found.append(f"{lines} lines, more than {MAX_FILE_LINES}")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            found += [f"line {node.lineno}: {node.name} {problem}" for problem in function_problems(node)]
        elif isinstance(node, ast.ExceptHandler) and (
            node.type is None or all(isinstance(statement, ast.Pass) for statement in node.body)
        ):
            found.append(f"line {node.lineno}: an error is swallowed or caught without a type")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            found.append(f"line {node.lineno}: print")
    return found


def function_problems(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    found = []
    length = (node.end_lineno or node.lineno) - node.lineno + 1
    if length > MAX_FUNCTION_LINES:
        found.append(f"has {length} lines, more than {MAX_FUNCTION_LINES}")
    arguments = len(node.args.args) + len(node.args.kwonlyargs)
    if arguments > MAX_ARGUMENTS:
        found.append(f"takes {arguments} arguments, more than {MAX_ARGUMENTS}")
    if node.args.kwarg is not None:
        found.append(f"takes **{node.args.kwarg.arg}, which would swallow a typing mistake")
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(SRC).as_posix())
def test_module_keeps_the_house_rules(path: Path) -> None:
    assert problems(path.read_text(encoding="utf-8")) == []


def test_no_name_that_says_nothing() -> None:
    assert [str(path) for path in MODULES if path.stem in CATCH_ALL_NAMES or path.parent.name in CATCH_ALL_NAMES] == []


def test_what_is_forbidden_is_found() -> None:
    source = "def f(a, **rest):\n    try:\n        print(a)\n    except OSError:\n        pass\n"
    assert [problem.split(": ")[1] for problem in problems(source)] == [
        "f takes **rest, which would swallow a typing mistake",
        "an error is swallowed or caught without a type",
        "print",
    ]
