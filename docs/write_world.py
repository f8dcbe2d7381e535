"""Puts the figures of the default city's truth into docs/world.md.

hemix world --impressions 1_000_000 --seed 1 --out city > world.txt
python docs/write_world.py world.txt
"""

import re
import sys
from pathlib import Path

PAGE = Path(__file__).with_name("world.md")


def main(output: Path) -> None:
    lines = [line.rstrip() for line in output.read_text(encoding="utf-8").splitlines() if not line.startswith("Wrote")]
    body = "\n".join(lines).strip()
    text, count = re.subn(
        r"(<!-- truth -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}```text\n{body}\n```\n{found[2]}",
        PAGE.read_text(encoding="utf-8"),
        flags=re.S,
    )
    assert count == 1, f"{PAGE} needs one marker <!-- truth -->"
    PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
