"""No file that is committed names a place on someone's machine, an address of a package registry, or an open end."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Written in pieces, so that this file does not contain what it looks for.
FORBIDDEN = {
    "a path on one machine": re.compile(
        r"(?<![\w./])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me|tm" + r"p|fa" + r"rm)/[\w.-]+"
    ),
    "a package registry": re.compile(r"pypi\.o" + r"rg|python" + r"hosted\.|npm" + r"js\.|download\.py" + r"torch"),
    "an open end": re.compile(r"\b(?:TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b"),
    "how the work is organised": re.compile(r"\b[Ii]ssue " + r"#?\d+\b"),
}


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode != 0:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def test_no_forbidden_words() -> None:
    found = []
    for path in tracked_files():
        if path.suffix in {".png", ".gz", ".npz", ".safetensors"} or not path.is_file():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found += [
                f"{path.relative_to(ROOT)}:{number}: {what}" for what, word in FORBIDDEN.items() if word.search(line)
            ]
    assert found == []


def test_no_large_files() -> None:
    sizes = {path.relative_to(ROOT).as_posix(): path.stat().st_size for path in tracked_files() if path.is_file()}
    assert {name: size for name, size in sizes.items() if size > 1_000_000} == {}
