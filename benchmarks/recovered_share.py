"""Which share of the gap between a baseline and the ceiling does a model recover, at each size of the city?

    share = (AUC of the model - AUC of the baseline) / (AUC of the ceiling - AUC of the baseline)

from the predictions that `hemix study run studies/city-sizes.yaml --out DIR` kept: means over seeds, with the interval
of a bootstrap over users and seeds. Negative: the model is behind the baseline. The table goes between the marks
`<!-- table: city-sizes-share -->` and `<!-- end -->` of a page.
Usage: recovered_share.py DIR [--ledger FILE] [--baseline "DLRM attention"] [--page PAGE]
"""

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

from hemix.evaluate import metrics
from hemix.evaluate.bootstrap import Units, replicate
from hemix.evaluate.evaluator import rated, resampled
from hemix.evaluate.predictions import Predictions
from hemix.ledger import read
from hemix.study.tables import fill

DRAWS = 2000
CEILING = "ceiling"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--baseline", default="DLRM attention")
    parser.add_argument("--page", type=Path)
    options = parser.parse_args()
    ledger = options.ledger or options.out / "city-sizes.jsonl"
    runs: dict[str, dict[str, list[Predictions]]] = defaultdict(lambda: defaultdict(list))
    # a later line of the same cell and seed is of a later configuration
    latest = {(entry.cell, entry.seed): entry for entry in read(ledger).entries if entry.split == "test"}
    for entry in latest.values():
        size, _, system = entry.cell.partition(" / ")
        runs[size][system].append(Predictions.load(options.out / "runs" / entry.run / "predictions-test.npz"))
    lines = ["| impressions | system | AUC | share of the gap recovered |", "| --- | --- | ---: | ---: |"]
    for size, systems in runs.items():
        lines += rows_of(size, systems, options.baseline)
    text = "\n".join(lines) + (
        f"\n\nGap: from {options.baseline} to the ceiling, on the test split. Mean over seeds; 95 % interval of a "
        f"bootstrap over users and seeds, {DRAWS:,} draws.\n"
    )
    print(text)
    if options.page is not None:
        options.page.write_text(fill(options.page.read_text(), {"city-sizes-share": text}))


def rows_of(size: str, systems: dict[str, list[Predictions]], baseline: str) -> list[str]:
    """One line for each system, the baseline first and the ceiling last."""
    draws = {name: drawn_auc(found, place) for place, (name, found) in enumerate(systems.items())}
    point = {name: float(np.mean([auc_of(run) for run in found])) for name, found in systems.items()}
    lines = []
    for name in [baseline, *(name for name in systems if name not in (baseline, CEILING)), CEILING]:
        if name in (baseline, CEILING):
            share = "0" if name == baseline else "1"
        else:
            value = (point[name] - point[baseline]) / (point[CEILING] - point[baseline])
            drawn = (draws[name] - draws[baseline]) / (draws[CEILING] - draws[baseline])
            low, high = np.percentile(drawn, (2.5, 97.5))
            share = f"{value:+.1%} [{low:+.1%}, {high:+.1%}]"
        lines.append(f"| {size} | {name} | {point[name]:.4f} | {share} |")
    return lines


def auc_of(run: Predictions) -> float:
    rows = rated(run, 0)
    return metrics.auc(rows.logits, rows.labels, rows.weights)


def drawn_auc(runs: list[Predictions], place: int) -> np.ndarray:
    """AUC in each draw of users (the same for all systems), averaged over seeds drawn with replacement."""
    rows = [rated(run, 0) for run in runs]
    units = Units.of(rows[0], DRAWS)
    samples = [resampled(own, units, ndcg_k=(), full=False) for own in rows]
    return over_seeds(np.stack([found["auc"] for found in replicate(samples, units.num, draws=DRAWS, seed=0)]), place)


def over_seeds(values: np.ndarray, place: int) -> np.ndarray:
    """(seeds, draws) to (draws): averaged over seeds drawn with replacement; each `place` has draws of its own."""
    seeds = len(values)
    chosen = np.random.default_rng([0, place]).integers(0, seeds, values.shape)
    mean, drawn = values.mean(axis=0), np.take_along_axis(values, chosen, axis=0).mean(axis=0)
    # few seeds drawn with replacement vary less than seeds do: see hemix.evaluate.compare
    return mean + (seeds / (seeds - 1)) ** 0.5 * (drawn - mean)


if __name__ == "__main__":
    main()
