"""What users can type: commands with their flags, and public names. To change one, change the list and CHANGELOG.md."""

from pathlib import Path
from typing import Any

import typer

import hemix
from hemix.cli import app

HERE = Path(__file__).parent


def describe(command: Any, path: str) -> list[str]:
    """One line per command: its path, arguments and options in alphabetical order."""
    if hasattr(command, "commands"):
        return [
            line for name in sorted(command.commands) for line in describe(command.commands[name], f"{path} {name}")
        ]
    arguments = [parameter.name.upper() for parameter in command.params if parameter.param_type_name == "argument"]
    options = sorted(min(p.opts, key=len) for p in command.params if p.param_type_name == "option")
    return [" ".join([path, *arguments, *options])]


def test_commands_and_flags() -> None:
    expected = (HERE / "cli.txt").read_text(encoding="utf-8").splitlines()
    assert describe(typer.main.get_command(app), "hemix") == expected


def test_public_names() -> None:
    expected = (HERE / "public_names.txt").read_text(encoding="utf-8").splitlines()
    assert hemix.__all__ == expected
    assert hemix.__all__ == sorted(hemix.__all__)
    assert set(dir(hemix)) >= set(hemix.__all__)
    assert [name for name in hemix.__all__ if not hasattr(hemix, name)] == []
