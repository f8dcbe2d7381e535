"""Puts the knobs, and the figures of the default city's truth, into docs/world.md.

hemix world --impressions 1_000_000 --seed 1 --out city > world.txt
python docs/write_world.py world.txt
"""

import re
import sys
from pathlib import Path

from hemix.world import Knobs

PAGE = Path(__file__).with_name("world.md")


def main(output: Path) -> None:
    lines = [line.rstrip() for line in output.read_text(encoding="utf-8").splitlines() if not line.startswith("Wrote")]
    text = between(PAGE.read_text(encoding="utf-8"), "truth", "```text\n" + "\n".join(lines).strip() + "\n```")
    PAGE.write_text(between(text, "knobs", knob_table()), encoding="utf-8")


def knob_table() -> str:
    """One row per knob: name, default, what it is."""
    rows = ["| knob | default | what it is |", "|---|---|---|"]
    for name, field in Knobs.model_fields.items():
        what = " ".join((field.description or "").split())
        rows.append(f"| `{name}` | {field.default} | {what} |")
    return "\n".join(rows)


def between(text: str, name: str, body: str) -> str:
    """`text` with what stands between the markers of `name` replaced."""
    pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
    found, count = re.subn(pattern, lambda match: f"{match[1]}{body}\n{match[2]}", text, flags=re.S)
    assert count == 1, f"{PAGE} needs one marker <!-- {name} -->"
    return found


if __name__ == "__main__":
    main(Path(sys.argv[1]))
