"""Imports point down: a module may use only the layers before its own, as docs/architecture.md draws them."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[2] / "src" / "hemix"
MODULES = sorted(SRC.rglob("*.py"))
LAYERS = (
    "errors",
    "config",
    "search_space",
    "features",
    "labels",
    "negatives",
    "schema",
    "config_file",
    "batch",
    "data",
    "nn",
    "refine",
    "models",
    "ranker",
    "objectives",
    "evaluate",
    "training",
    "ledger",
    "experiment",
    "run",
    "explain",
    "study",
    "world",
    "recipes",
    "cli",
)


def name_of(path: Path) -> str:
    return path.relative_to(SRC).as_posix()


def layer_of(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def imported_layers(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and layer of every import of this package, those inside functions included."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            parts = node.module.split(".")
            if parts == ["hemix"]:
                found += [(node.lineno, alias.name) for alias in node.names]
            elif parts[0] == "hemix":
                found.append((node.lineno, parts[1]))
        elif isinstance(node, ast.Import):
            found += [(node.lineno, a.name.split(".")[1]) for a in node.names if a.name.startswith("hemix.")]
    return found


@pytest.mark.parametrize("path", [p for p in MODULES if layer_of(p) != "__init__"], ids=name_of)
def test_imports_point_down(path: Path) -> None:
    own = layer_of(path)
    assert own in LAYERS, f"{own} is not a layer: give it a place in LAYERS and in docs/architecture.md"
    wrong = [
        f"line {line} imports hemix.{layer}"
        for line, layer in imported_layers(ast.parse(path.read_text(encoding="utf-8")))
        if layer not in ("__version__", own) and LAYERS.index(layer) >= LAYERS.index(own)
    ]
    assert wrong == []


def test_an_import_that_points_up_is_found() -> None:
    tree = ast.parse("def f():\n    from hemix.cli import main\nimport hemix.training.trainer")
    assert imported_layers(tree) == [(3, "training"), (2, "cli")]
