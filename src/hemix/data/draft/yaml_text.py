"""YAML with a comment on every line that needs one, which no YAML library writes."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
WORDS_OF_YAML = frozenset(("true", "false", "yes", "no", "on", "off", "null", "y", "n"))


def scalar(value: Any) -> str:
    """One value in YAML's flow style; texts are quoted where YAML would read something else.

    >>> scalar("user_id"), scalar("yes"), scalar(3), scalar(None), scalar('"a" = 1'), scalar("it's")
    ('user_id', "'yes'", '3', 'null', '\\'"a" = 1\\'', "'it''s'")
    """
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{scalar(key)}: {scalar(item)}" for key, item in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(scalar(item) for item in value) + "]"
    if not isinstance(value, str):
        return json.dumps(value)
    if PLAIN.fullmatch(value) and value.lower() not in WORDS_OF_YAML:
        return value
    if value.isprintable():
        return "'" + value.replace("'", "''") + "'"
    return json.dumps(value)


class Lines:
    """Lines of a YAML file, indented by two spaces a level."""

    def __init__(self) -> None:
        self._lines: list[str] = []

    def key(self, level: int, name: str, value: Any = None, why: str = "", *, bare: bool = False) -> None:
        """`name: value  # why`; with `bare` the value follows in lines of its own."""
        shown = "" if bare else f" {scalar(value)}"
        self._add(level, f"{scalar(name)}:{shown}", why)

    def item(self, level: int, value: Any, why: str = "") -> None:
        """`- value  # why`"""
        self._add(level, f"- {scalar(value)}", why)

    def comment(self, level: int, text: str) -> None:
        self._add(level, f"# {_one_line(text)}", "")

    def blank(self) -> None:
        self._lines.append("")

    def _add(self, level: int, text: str, why: str) -> None:
        comment = f"  # {_one_line(why)}" if why else ""
        self._lines.append("  " * level + text + comment)

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"


def _one_line(text: str) -> str:
    return "".join(mark if mark.isprintable() else " " for mark in " ".join(text.split()))
