"""Do refinement modules stand in the order that their survey published? Rank correlation, from a ledger.

Spearman's correlation of test AUC by module with the survey's table of Frappe (by the authors of FRNet; README of their
repository), for each backbone, and of the mean rank over both. Intervals resample the seeds of each module. What the
seeds allow at most stands beside it: the correlation of the orders of two seeds. The table goes between the marks
`<!-- table: STUDY-order -->` and `<!-- end -->` of a page; the study is called like its ledger, and may have one of the
two backbones alone.
Usage: module_order.py LEDGER [--page PAGE]
"""

import argparse
from itertools import combinations
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata, spearmanr

from hemix.ledger import read
from hemix.study.tables import fill

SURVEY = {
    "FEN": (0.9789, 0.9828, 6.3),
    "SENET": (0.9800, 0.9827, 10.3),
    "FWN": (0.9808, 0.9824, 8.6),
    "DFEN": (0.9799, 0.9824, 5.7),
    "DRM": (0.9820, 0.9827, 7.3),
    "VGate": (0.9801, 0.9828, 7.7),
    "BGate": (0.9803, 0.9825, 12.0),
    "SelfAtt": (0.9806, 0.9831, 8.1),
    "TCE": (0.9800, 0.9824, 7.8),
    "PFFN": (0.9822, 0.9830, 8.6),
    "GFRL": (0.9821, 0.9828, 3.9),
    "FRNet-V": (0.9828, 0.9837, 3.0),
    "FRNet-B": (0.9831, 0.9840, 1.7),
}
"""AUC before FM, AUC before DeepFM (one module for both streams), mean rank over its twelve backbones."""
BACKBONES = ("FM", "DeepFM")
DRAWS = 2000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ledger", type=Path)
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    text = order_table(options.ledger)
    print(text)
    if options.page is not None:
        page = options.page.read_text(encoding="utf-8")
        options.page.write_text(fill(page, {f"{options.ledger.stem}-order": text}), encoding="utf-8")


def order_table(ledger: Path) -> str:
    """Modules by mean rank, and the correlations."""
    figures = test_aucs(ledger)
    places = [place for place, name in enumerate(BACKBONES) if f"{name} + {next(iter(SURVEY))}" in figures]
    ours = {BACKBONES[place]: np.array([figures[f"{BACKBONES[place]} + {m}"] for m in SURVEY]) for place in places}
    ranks = sum(rankdata(-each, axis=0) for each in ours.values()) / len(ours)
    heads = ["module", "mean rank", "in the survey", *(text for name in ours for text in (f"{name} +", "survey"))]
    lines = [f"| {' | '.join(heads)} |", "| --- |" + " ---: |" * (len(heads) - 1)]
    by_rank = sorted(zip(ranks.mean(axis=1), SURVEY, range(len(SURVEY)), strict=True))
    for rank, module, row in by_rank:
        published = SURVEY[module]
        aucs = [
            f"{each[row].mean():.4f} | {published[place]:.4f}"
            for each, place in zip(ours.values(), places, strict=True)
        ]
        lines.append(f"| {module} | {rank:.1f} | {published[2]:.1f} | {' | '.join(aucs)} |")
    random = np.random.default_rng(0)
    theirs = np.array(list(SURVEY.values()))
    asked = [(f"AUC before {name}", ours[name], theirs[:, place]) for name, place in zip(ours, places, strict=True)]
    over = "over both" if len(ours) > 1 else f"before {next(iter(ours))}"
    asked.append((f"mean rank {over}, with the survey's over twelve backbones", -ranks, -theirs[:, 2]))
    lines += ["", "| order by | correlation with the survey | of two seeds |", "| --- | ---: | ---: |"]
    for what, one, other in asked:
        low, high = interval(one, other, random)
        lines.append(
            f"| {what} | {correlation(one.mean(axis=1), other):+.2f} [{low:+.2f}, {high:+.2f}] | {between(one):+.2f} |"
        )
    return "\n".join(lines) + f"\n\nSpearman's rank correlation; 95 % intervals over seeds, {DRAWS:,} draws.\n"


def test_aucs(ledger: Path) -> dict[str, list[float]]:
    """Test AUC of each cell by seed; a later line of the same cell and seed is of a later configuration."""
    found: dict[str, dict[int, float]] = {}
    for entry in read(ledger).entries:
        if entry.split == "test":
            found.setdefault(entry.cell, {})[entry.seed] = entry.figures["auc"]
    return {cell: [by_seed[seed] for seed in sorted(by_seed)] for cell, by_seed in found.items()}


def interval(
    ours: Float[np.ndarray, "modules seeds"], theirs: Float[np.ndarray, " modules"], random: np.random.Generator
) -> tuple[float, float]:
    """Of the correlation of the means over seeds, where each module's seeds are drawn again."""
    modules, seeds = ours.shape
    drawn = [
        correlation(
            np.take_along_axis(ours, random.integers(seeds, size=(modules, seeds)), axis=1).mean(axis=1), theirs
        )
        for _ in range(DRAWS)
    ]
    low, high = np.percentile(drawn, (2.5, 97.5))
    return float(low), float(high)


def between(ours: Float[np.ndarray, "modules seeds"]) -> float:
    """Mean correlation of two seeds."""
    return float(np.mean([correlation(ours[:, a], ours[:, b]) for a, b in combinations(range(ours.shape[1]), 2)]))


def correlation(one: Float[np.ndarray, " modules"], other: Float[np.ndarray, " modules"]) -> float:
    return float(spearmanr(one, other).statistic)


if __name__ == "__main__":
    main()
