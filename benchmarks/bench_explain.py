"""Explaining one candidate, or two compared, out of a request of 500 candidates x 1,000 events.

A fresh process opens a trained run (all models at their default sizes) and explains once without a clock, then in turn
one candidate and two, each of another request. The seconds are those of `explain_request`: finding the request, scoring
its candidates, contributions, ablations, attention and decoding; not those of reading the model.
Usage: bench_explain.py [--rounds K]
"""

import argparse
import csv
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import turns

USERS, ITEMS, CATEGORIES, EVENTS, CANDIDATES, REQUESTS = 16, 2_000, 50, 1_050, 500, 4
MODELS: dict[str, dict[str, Any]] = {
    "HeMix": {"name": "hemix"},
    "DIN": {"name": "din"},
    "DLRM, target attention": {"name": "dlrm", "history_pooling": "target_attention"},
}
SIDE = {"events": "log", "cut": "last_k", "k": 500, "max_length": 500}
DATA = {
    "tables": {name: {"path": f"{name}.csv"} for name in ("shown", "items", "log")},
    "timezone": "UTC",
    "examples": {"table": "shown", "user": "user", "item": "item", "time": "time"},
    "labels": [{"name": "click"}],
    "catalog": {"table": "items", "key": "item"},
    "features": {
        "request": [{"kind": "categorical", "column": "user"}, {"kind": "timestamp", "parts": ["hour", "weekday"]}],
        "candidate": [
            {"kind": "categorical", "column": "item", "source": "catalog"},
            {"kind": "categorical", "column": "category"},
            {"kind": "categorical", "column": "brand"},
            {"kind": "numeric", "column": "price", "transform": "log"},
        ],
    },
    "events": {
        "log": {
            "table": "log",
            "user": "user",
            "item": "item",
            "time": "time",
            "features": [{"kind": "categorical", "column": "action"}],
        }
    },
    "histories": {"global": {**SIDE, "part": "older"}, "real_time": {**SIDE, "part": "recent"}},
    "split": {"by": "user_time", "fractions": [0.5, 0.25, 0.25]},
}


def write_tables(folder: Path) -> None:
    draw = random.Random(0)
    categories = [draw.randrange(CATEGORIES) for _ in range(ITEMS)]
    write(
        folder / "items.csv",
        ["item", "category", "brand", "price"],
        [[f"i{n}", categories[n], draw.randrange(300), draw.randrange(1, 900)] for n in range(ITEMS)],
    )
    log, shown = [], []
    for user in range(USERS):
        start = 1_700_000_000 + draw.randrange(86_400)
        log += [
            [f"u{user}", f"i{draw.randrange(ITEMS)}", start + 600 * event, draw.choice("abc")]
            for event in range(EVENTS)
        ]
        for request in range(REQUESTS):
            time_ = start + 600 * EVENTS + 3600 * request
            shown += [
                [
                    f"u{user}",
                    f"i{item}",
                    time_,
                    int(draw.random() < (0.6 if categories[item] < CATEGORIES // 5 else 0.1)),
                ]
                for item in draw.sample(range(ITEMS), CANDIDATES)
            ]
    write(folder / "log.csv", ["user", "item", "time", "action"], log)
    write(folder / "shown.csv", ["user", "item", "time", "click"], shown)


def write(path: Path, heads: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([heads, *rows])


def make_runs(folder: Path) -> None:
    from hemix.data.prepare import prepare
    from hemix.experiment import Experiment
    from hemix.run import train

    write_tables(folder)
    for name, model in MODELS.items():
        values = {"name": name, "data": DATA, "model": model}
        experiment = Experiment.model_validate(
            {**values, "train": {"batch_size": 500, "max_steps": 32, "table_lr": 0.2}}
        )
        if not (folder / "store").exists():
            prepare(experiment.data, folder / "store", root=folder)
        train(experiment, folder / "store", folder / name, progress=False)


def measure(folder: Path, model: str) -> dict[str, float]:
    from hemix.explain import explain_request
    from hemix.run import Run

    run = Run.open(folder / model)
    explain_request(run, "user=u0")
    found: dict[str, list[float]] = {"one": [], "two": []}
    errors: list[float] = []
    steps: list[int] = []
    for user in range(1, 6):
        for kind in found:
            report = explain_request(run, f"user=u{user}")
            items = [item for item, _ in report.best[: 1 + (kind == "two")]]
            start = time.perf_counter()
            report = explain_request(run, f"user=u{user}", items)
            found[kind].append(time.perf_counter() - start)
            assert (report.candidates, sum(map(len, report.histories.values()))) == (CANDIDATES, 1000)
            steps += [one.steps for one in report.explained]
            errors += [abs(one.residual / (one.logit - one.baseline)) for one in report.explained]
    figures = {f"{kind} {name}": f(values) for kind, values in found.items() for name, f in SUMMARIES.items()}
    return {**figures, "residual": max(errors), "steps": max(steps)}


SUMMARIES = {"median": statistics.median, "max": max}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", choices=MODELS)
    options = parser.parse_args()
    if options.only:
        return turns.finish(measure(options.folder, options.only))
    with tempfile.TemporaryDirectory() as name:
        make_runs(Path(name))
        found = turns.in_turn(__file__, list(MODELS), ["--folder", name], options.rounds)
    lines = ["# Explaining a score", "", (__doc__ or "").split("Usage")[0].strip(), "", turns.machine(), ""]
    lines.append(
        "| model | one candidate, s: median | max | two compared, s: median | max | steps, max | residual, max | MB |"
    )
    lines.append("|---|---|---|---|---|---|---|---|")
    for model, rounds in found.items():
        middle = {key: statistics.median(figures[key] for figures in rounds) for key in ("one median", "two median")}
        top = {
            key: max(figures[key] for figures in rounds)
            for key in ("one max", "two max", "residual", "steps", "peak_mb")
        }
        lines.append(
            f"| {model} | {middle['one median']:.2f} | {top['one max']:.2f} | {middle['two median']:.2f} | "
            f"{top['two max']:.2f} | {top['steps']:.0f} | {top['residual']:.2%} | {top['peak_mb']:,.0f} |"
        )
    turns.save("explain", "\n".join(lines) + "\n")
    return None


if __name__ == "__main__":
    main()
