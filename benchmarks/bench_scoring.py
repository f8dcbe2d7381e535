"""Peak memory and time of one request with 500 candidates and 1,000 events, for every model with default settings.

Fields of MovieLens-100K; its older history has 1,000 events, its recent one 20. Each model runs in a fresh process on
one thread, first to score, then also with gradients: forward and backward of the same request as one batch.
Usage: bench_scoring.py [--models din hemix ...]
"""

import argparse
import sys
import time
from dataclasses import replace

import turns

CANDIDATES, EVENTS = 500, 1000


def measure(name: str, *, gradients: bool) -> None:
    """Score, then perhaps train, in this process."""
    import torch

    from hemix.batch import Batch
    from hemix.evaluate.latency import latency, one_request
    from hemix.models import MODELS
    from hemix.ranker import build_ranker
    from hemix.recipes.inputs import movielens_100k_inputs

    torch.set_num_threads(1)
    plain = movielens_100k_inputs()
    longest = tuple(replace(h, max_length=EVENTS) if h.name == "global" else h for h in plain.histories)
    inputs = replace(plain, histories=longest)
    empty = turns.peak_mb()
    seconds = latency(inputs, MODELS[name].config(), candidates=CANDIDATES, repeats=3 if gradients else 1)
    figures = {"ms": 1e3 * seconds, "before_mb": empty, "scored_mb": turns.peak_mb()}
    if not gradients:
        return turns.finish(figures)
    ranker = build_ranker(inputs, MODELS[name].config(), seed=0)
    requests, candidates = one_request(inputs, CANDIDATES)
    batch = Batch(
        requests=requests,
        candidates=candidates,
        offsets=torch.tensor([0, CANDIDATES]),
        labels=torch.zeros(CANDIDATES, 1),
        weights=torch.ones(CANDIDATES),
    )
    start = time.perf_counter()
    ranker(batch).sum().backward()
    return turns.finish({**figures, "step_s": time.perf_counter() - start})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--only", help="measure this model in this process, and print figures as JSON")
    parser.add_argument("--no-gradients", action="store_true")
    options = parser.parse_args()
    if options.only:
        return measure(options.only, gradients=not options.no_gradients)
    from hemix.models import NAMES

    lines = [f"# One request, {CANDIDATES} candidates, {EVENTS:,} events", "", turns.machine(), ""]
    lines += ["| model | score ms | peak MB | of it torch and hemix | forward and backward s | peak MB |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for name in options.models or NAMES:
        found = turns.run_once([sys.executable, __file__, "--only", name])
        cells = (f"{found['ms']:,.1f}", f"{found['scored_mb']:,.0f}", f"{found['before_mb']:,.0f}")
        lines.append(f"| {name} | {' | '.join(cells)} | {found['step_s']:.2f} | {found['peak_mb']:,.0f} |")
    turns.save("scoring", "\n".join(lines) + "\n")
    return None


if __name__ == "__main__":
    main()
