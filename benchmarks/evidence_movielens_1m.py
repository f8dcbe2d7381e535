"""MovieLens-1M: DLRM with both poolings, DIN and HeMix, three seeds each, into the ledger and docs/evidence.md.

FOLDER holds ratings.parquet, users.parquet and movies.parquet as `hemix data get movielens-1m` writes them; of a copy
with the column `user_complete` only such users are read. Runs that the ledger has are not done again.
Usage: evidence_movielens_1m.py FOLDER [--work DIR] [--seeds 1 2 3] [--split time|user_time]
"""

import argparse
import tempfile
from pathlib import Path

import pyarrow.parquet as pq

from hemix.data.arrays import replace_file
from hemix.data.manifest import MANIFEST
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.evaluate.compare import Comparison
from hemix.experiment import Experiment
from hemix.ledger import read
from hemix.models.dlrm import DLRMConfig
from hemix.recipes import movielens_1m
from hemix.run import Run, train
from hemix.run.compare import compare
from hemix.study.tables import fill, render_markdown

DOCS = Path(__file__).parent.parent / "docs"
METRICS = ("auc", "gauc", "log_loss")


def systems(folder: Path, split: str) -> dict[str, Experiment]:
    """One setting each, by name."""
    complete = "user_complete" in pq.read_schema(folder / "ratings.parquet").names
    found: dict[str, Experiment] = {}
    for name, model in (
        ("DLRM mean", "dlrm"),
        ("DLRM target attention", "dlrm"),
        ("DIN", "din"),
        ("HeMix tiny", "hemix"),
    ):
        experiment = movielens_1m(model, complete_users_only=complete)
        config = experiment.model
        if name == "DLRM target attention":
            assert isinstance(config, DLRMConfig)
            config = config.model_copy(update={"history_pooling": "target_attention"})
        data = experiment.data.model_copy(update={"split": experiment.data.split.model_copy(update={"by": split})})
        found[name] = experiment.model_copy(update={"name": name, "model": config, "data": data})
    return found


def differences(comparison: Comparison) -> str:
    """Paired differences between systems as a markdown table."""
    lines = ["| system - baseline | " + " | ".join(METRICS) + " |", "|---" * (len(METRICS) + 1) + "|"]
    pairs = dict.fromkeys((found.system, found.baseline) for found in comparison.differences)
    for system, baseline in pairs:
        cells = [
            f"{found.value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
            for metric in METRICS
            for found in comparison.differences
            if (found.system, found.baseline, found.metric) == (system, baseline, metric)
        ]
        lines.append(f"| {system} - {baseline} | {' | '.join(cells)} |")
    size = f"{comparison.rows:,} rows, {comparison.units:,} {comparison.unit}"
    return "\n".join(lines) + f"\n\n{size}. {comparison.note}\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--split", choices=("time", "user_time"), default="time")
    options = parser.parse_args()
    work = options.work or Path(tempfile.mkdtemp())
    study = f"movielens-1m-{options.split}"
    ledger = DOCS / "evidence" / f"{study}.jsonl"
    experiments = systems(options.folder, options.split)
    place = work / f"store-{options.split}"
    first = next(iter(experiments.values()))
    store = Store.open(place) if (place / MANIFEST).exists() else prepare(first.data, place, root=options.folder)
    runs: list[Run] = []
    for seed in options.seeds:
        for name, experiment in experiments.items():
            out = work / study / f"{name.lower().replace(' ', '-')}-{seed}"
            run = train(experiment, store, out, seed=seed, resume=out.exists(), ledger=ledger)
            done = {(entry.run, entry.split) for entry in read(ledger).entries}
            if (out.name, "test") not in done:
                print(name, seed, run.evaluate("test", ledger=ledger).auc)
            runs.append(run)
    comparison = compare(runs)
    replace_file(ledger.with_suffix(".comparison.json"), comparison.model_dump_json(indent=1).encode())
    page = DOCS / "evidence.md"
    render_markdown(ledger, page, name=study, metrics=METRICS)
    text = page.read_text(encoding="utf-8")
    replace_file(page, fill(text, {f"{study}-differences": differences(comparison)}).encode())


if __name__ == "__main__":
    main()
