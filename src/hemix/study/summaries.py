"""Markdown tables that only some studies have: what a search found, and how metrics scale."""

import math
import statistics
from collections.abc import Mapping, Sequence

from hemix.errors import RunError
from hemix.evaluate.tables import title_of
from hemix.ledger import Entry
from hemix.study.cells import Study
from hemix.study.scaling import Law
from hemix.study.search import Trials, best_trial, frozen, trial_experiments
from hemix.study.tables import escape


def search_table(study: Study, trials: Mapping[str, Sequence[Entry]]) -> str | None:
    """The best trial of each cell whose search is complete; None if there is none."""
    search, rows = study.config.search, []
    if search is None:
        return None
    for cell in study.cells:
        known = {entry.config_hash: entry for entry in trials.get(cell.name, ())}
        asked = Trials(cell=cell, search=search)
        hashes = [experiment.hash_without_seed for experiment in trial_experiments(asked)] if cell.space else []
        if not hashes or not known.keys() >= set(hashes):
            continue
        entries, monitor = [known[value] for value in hashes], cell.experiment.train.monitor
        failed = sum(math.isnan(entry.figures.get(monitor, math.nan)) for entry in entries)
        best = best_trial(asked, entries)
        figure = f"{title_of(monitor)} {entries[best].figures[monitor]:.4f}"
        settings = escape(frozen(asked.settings(best)))
        rows.append(f"| {escape(cell.name)} | {len(entries)} | {failed} | {best} | {figure} | {settings} |")
    if not rows:
        return None
    head = "| system | trials | diverged | best | on valid | settings |\n| --- | ---: | ---: | ---: | ---: | --- |\n"
    epochs = "" if search.epochs is None else f", {search.epochs} epoch{'s' if search.epochs > 1 else ''} each"
    about = (
        f"Random search on {search.users:.0%} of the users{epochs}, seed {search.seed}; chosen on the validation split."
    )
    return head + "\n".join(rows) + f"\n\n{about}\n"


def scaling_tables(
    families: Mapping[str, str], runs: Mapping[str, Sequence[Entry]], laws: Sequence[Law], metrics: Sequence[str]
) -> str:
    """Size, costs and metrics of every cell; then the law of every family and metric."""
    heads = [
        "family",
        "system",
        "dense parameters",
        "multiply-adds / request",
        "/ candidate",
        "rows/s trained",
        "p50 ms",
    ]
    lines = [[*heads, *map(title_of, metrics)], ["---", "---", *["---:"] * (len(heads) - 2 + len(metrics))]]
    for name, found in runs.items():
        cost = found[0].figures
        sizes = [f"{cost[key]:,.0f}" for key in ("dense_parameters", "multiply_adds_per_request")]
        sizes += [f"{cost['multiply_adds_per_candidate']:,.0f}", f"{cost['train_rows_per_second']:,.0f}"]
        figures = [_mean([entry.figures.get(metric, math.nan) for entry in found]) for metric in metrics]
        lines.append([escape(families[name]), escape(name), *sizes, f"{cost['p50_milliseconds']:.1f}", *figures])
    parts = ["\n".join("| " + " | ".join(line) + " |" for line in lines)]
    parts.append(
        "Rows/s and p50 (one request with 500 candidates, histories at their greatest length) on one thread, measured "
        "alone before the runs."
    )
    lines = [["family", "metric", "exponent", "limit", "seed spread"], ["---", "---", "---", "---:", "---:"]]
    for law in laws:
        exponent = law.reason or f"{law.exponent:.2f} [{law.low:.2f}, {law.high:.2f}]"
        limit = "-" if math.isnan(law.limit) else f"{law.limit:.4f}"
        spread = "-" if math.isnan(law.spread) else f"{law.spread:.4f}"
        lines.append([escape(law.family), title_of(law.metric), exponent, limit, spread])
    parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    parts.append("Fit: metric = limit + a N^-exponent over dense parameters N; 95 % interval over seeds.")
    return "\n\n".join(parts) + "\n"


def _mean(values: Sequence[float]) -> str:
    if any(math.isnan(value) for value in values):
        return "-"
    spread = f" +/- {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"


def check_costs(runs: Mapping[str, Sequence[Entry]]) -> None:
    """Raises RunError if a line has no costs, as those of a study that was not of the kind `scaling`."""
    for name, entries in runs.items():
        if any("dense_parameters" not in entry.figures for entry in entries):
            raise RunError(
                f"A scaling study needs the costs of its cells in the ledger; lines of {name!r} have none. "
                "They were run before the study was of the kind `scaling`: give it another name and run it."
            )
