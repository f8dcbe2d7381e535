"""Puts real output into README.md and draws its plot.

    hemix demo --dir demo --json demo/figures.json > demo/output.txt
    python docs/write_readme.py demo

The demo's table, the models' table and the first rows of the example tables are copied, never typed.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

ROOT = Path(__file__).parents[1]
METRICS = {"auc": "AUC", "gauc": "gAUC"}
BLUE, GREY = "#2b6cb0", "#8a8a8a"


def main(demo: Path) -> None:
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    lines = (demo / "output.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    output = "".join(line for line in lines if "figures.json" not in line)
    text = between(text, "demo", f"```text\n{tidy(output)}\n```")
    text = between(text, "models", f"```text\n{tidy(run('hemix', 'models'))}\n```")
    with tempfile.TemporaryDirectory() as folder:
        run(sys.executable, str(ROOT / "examples" / "bookshop.py"), folder)
        for name in ("offers.csv", "books.csv"):
            head = (Path(folder) / name).read_text(encoding="utf-8").splitlines()[:4]
            text = re.sub(rf"```csv {name}\n.*?```", "\n".join((f"```csv {name}", *head, "```")), text, flags=re.S)
    readme.write_text(text, encoding="utf-8")
    plot(json.loads((demo / "figures.json").read_text(encoding="utf-8")), ROOT / "docs" / "images" / "demo.png")


def between(text: str, name: str, body: str) -> str:
    """`text` with what stands between the markers of `name` replaced."""
    found, count = re.subn(
        rf"(<!-- {name} -->\n).*?(<!-- end -->)", lambda m: f"{m[1]}{body}\n{m[2]}", text, flags=re.S
    )
    assert count == 1, f"README.md needs one marker <!-- {name} -->"
    return found


def tidy(output: str) -> str:
    return "\n".join(line.rstrip() for line in output.strip().splitlines())


def run(*words: str) -> str:
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def plot(figures: dict, path: Path) -> None:
    """Left: each model's test AUC and gAUC with intervals; right: paired differences to the first model."""
    fig, (left, right) = plt.subplots(1, 2, figsize=(9, 2.8), layout="constrained", width_ratios=(1, 1.2))
    systems = figures["systems"]
    names = {system["name"]: system["name"].rpartition("-")[2] for system in systems}
    for place, (metric, colour) in enumerate(zip(METRICS, (BLUE, GREY), strict=True)):
        found = [system["metrics"][metric] for system in systems]
        errors(
            [(names[s["name"]], f) for s, f in zip(systems, found, strict=True)], left, colour, METRICS[metric], place
        )
    left.set_title("Test split", loc="left", fontsize=10)
    left.legend(frameon=False, fontsize=8, loc="upper center")
    pairs = [d for d in figures["differences"] if d["metric"] == "auc"]
    errors([(f"{names[d['system']]} - {names[d['baseline']]}", d) for d in pairs], right, BLUE, "AUC", 0)
    right.axvline(0, color="black", linewidth=0.8)
    right.set_title("Paired difference in AUC, 95 % intervals over users", loc="left", fontsize=10)
    fig.savefig(path, dpi=110)


def errors(rows: list, axes: plt.Axes, colour: str, label: str, shift: int) -> None:
    """Values with their intervals, one row each, from top to bottom."""
    values = [found["value"] for _, found in rows]
    ends = [[v - f["low"] for v, (_, f) in zip(values, rows, strict=True)], [f["high"] - f["value"] for _, f in rows]]
    places = [place + 0.2 * shift for place in range(len(rows))]
    axes.errorbar(values, places, xerr=ends, fmt="o", color=colour, capsize=3, label=label)
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
