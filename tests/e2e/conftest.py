"""An invented bookshop that no other test knows, and the command line as a user runs it, in this process."""

import runpy
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

ROOT = Path(__file__).parents[2]
Hemix = Callable[..., Result]


@pytest.fixture(scope="session")
def hemix() -> Hemix:
    """Runs a command; its result has the exit code and both outputs."""
    from hemix.cli import app

    def run(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return run


@pytest.fixture(scope="session")
def done(hemix: Hemix) -> Hemix:
    """The same for a command that must succeed."""

    def run(*words: object) -> Result:
        result = hemix(*words)
        assert result.exit_code == 0, f"hemix {' '.join(map(str, words))}\n{result.output}{result.exception!r}"
        return result

    return run


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with offers.csv and books.csv."""
    folder = tmp_path_factory.mktemp("shop")
    runpy.run_path(str(ROOT / "examples" / "bookshop.py"))["main"](folder)
    return folder
