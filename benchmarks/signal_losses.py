"""Does a part of HeMix pay only where its signal is? AUC lost without the part, with the signal on and off.

    loss = AUC of HeMix - AUC without the part          share = upper bound of the loss, signal off / loss, signal on

from the paired comparisons that `hemix study report` keeps beside the ledgers of city-blocks (all signals on) and
city-signals (one off). Below 25 % the part is said to pay for its own signal. The table goes between the marks
`<!-- table: city-signals-losses -->` and `<!-- end -->` of a page.
Usage: signal_losses.py [--blocks FILE] [--signals FILE] [--page PAGE]
"""

import argparse
import json
from pathlib import Path

from hemix.evaluate.compare import Difference
from hemix.study.report import Comparisons
from hemix.study.tables import fill

EVIDENCE = Path(__file__).parents[1] / "docs" / "evidence"
OFF = {
    "no fixed queries": "no stable taste",
    "no dynamic queries": "no context",
    "no global history": "drift only",
    "no real-time history": "no drift",
}
"""Of each part that is taken away, the city in which there is nothing for it to find."""
STRONG = "strong drift"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blocks", type=Path, default=EVIDENCE / "city-blocks.comparison.json")
    parser.add_argument("--signals", type=Path, default=EVIDENCE / "city-signals.comparison.json")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    on, off = losses(options.blocks), losses(options.signals)
    lines = ["| part | its signal on: loss | city without it | loss | share |", "| --- | ---: | --- | ---: | ---: |"]
    for part, city in OFF.items():
        whole, without = on[part], off[f"{city} / {part}"]
        share = f"{without[2] / whole[0]:.0%}" if whole[0] > 0 else "no loss with the signal on"
        lines.append(f"| {part} | {text(whole)} | {city} | {text(without)} | {share} |")
    lines += ["", "| part | default city | strong drift |", "| --- | ---: | ---: |"]
    for part in ("no real-time history", "no global history"):
        lines.append(f"| {part} | {text(on[part])} | {text(off[f'{STRONG} / {part}'])} |")
    table = "\n".join(lines) + (
        "\n\nLoss: AUC of HeMix less AUC without the part, on the test split; 95 % interval over users and seeds. "
        "Share: upper bound of the loss without the signal, of the loss with it.\n"
    )
    print(table)
    if options.page is not None:
        options.page.write_text(fill(options.page.read_text(), {"city-signals-losses": table}))


def losses(path: Path) -> dict[str, tuple[float, float, float]]:
    """Loss of AUC of each cell against HeMix in its city, and the bounds of its interval."""
    found = Comparisons.model_validate(json.loads(path.read_text()))
    return {
        each.system: loss(each)
        for comparison in found.comparisons
        for each in comparison.differences
        if each.metric == "auc" and each.baseline.endswith("HeMix")
    }


def loss(found: Difference) -> tuple[float, float, float]:
    """A difference of AUC, turned round."""
    return -found.value, -found.high, -found.low


def text(found: tuple[float, float, float]) -> str:
    return f"{found[0]:+.4f} [{found[1]:+.4f}, {found[2]:+.4f}]"


if __name__ == "__main__":
    main()
