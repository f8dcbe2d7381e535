"""AUC of a million rows against scikit-learn, and AUC of 2,000 bootstrap draws over users; in turn, CPU seconds.

Usage: bench_metrics.py [--rows N] [--rounds K]
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import turns
from sklearn.metrics import roc_auc_score

from hemix.evaluate import metrics


def seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    random = np.random.default_rng(0)
    scores = random.normal(size=options.rows).astype(np.float32)
    labels = (random.random(options.rows) < 0.3).astype(np.float32)
    groups = random.integers(0, options.rows // 30, options.rows)
    calls: dict[str, Callable[[], object]] = {
        "auc": lambda: metrics.auc(scores, labels),
        "scikit-learn roc_auc_score": lambda: roc_auc_score(labels, scores),
        "gauc, 30 rows a user": lambda: metrics.gauc(scores, labels, groups),
        "log_loss": lambda: metrics.log_loss(scores, labels),
    }
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.rounds):
        for name, call in calls.items():
            found[name].append(seconds(call))
    base = found["scikit-learn roc_auc_score"]
    lines = [f"# Metrics of {options.rows:,} rows", "", turns.machine(), ""]
    lines += ["| metric | median CPU ms | scikit-learn's AUC / this, median of pairs |", "|---|---|---|"]
    for name, values in found.items():
        ratio = statistics.median(a / b for a, b in zip(base, values, strict=True))
        lines.append(f"| {name} | {1e3 * statistics.median(values):,.0f} | {ratio:.1f} |")
    turns.save("metrics", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
