"""Markdown tables that only some studies have: what a search found, a ranking with costs, and how metrics scale."""

import math
import statistics
from collections.abc import Callable, Mapping, Sequence

from hemix.errors import ConfigError, RunError
from hemix.evaluate.tables import title_of
from hemix.ledger import Entry
from hemix.study.cells import Study
from hemix.study.config import SearchConfig
from hemix.study.scaling import Law
from hemix.study.search import Trials, best_trial, frozen
from hemix.study.tables import escape
from hemix.training.config import higher_is_better

COSTS: dict[str, Callable[[Mapping[str, float]], str]] = {
    "dense parameters": lambda cost: f"{cost['dense_parameters']:,.0f}",
    "multiply-adds / request": lambda cost: f"{cost['multiply_adds_per_request']:,.0f}",
    "/ candidate": lambda cost: f"{cost['multiply_adds_per_candidate']:,.0f}",
    "rows/s trained": lambda cost: f"{cost['train_rows_per_second']:,.0f}",
    "p50 ms": lambda cost: f"{cost['p50_milliseconds']:.1f}",
}
"""Columns of what a system costs, from the figures of a probe."""
MEASURED = (
    "Rows/s and p50 (one request with 500 candidates, histories at their greatest length) on one thread, with nothing "
    "beside it."
)


def search_table(study: Study, trials: Mapping[str, Sequence[Entry]]) -> str | None:
    """The best trial of each cell whose search is complete; None if there is none."""
    search, rows = study.config.search, []
    if search is None:
        return None
    for cell in study.cells:
        lines = {entry.config_hash: entry for entry in trials.get(cell.name, ())}
        # without the data, what was tried says which proposals fitted it
        asked = Trials(cell=cell, search=search, fits=lambda each, lines=lines: each.hash_without_seed in lines)
        try:
            known = asked.known(lambda experiment, lines=lines: lines.get(experiment.hash_without_seed))
        except ConfigError:  # it goes on
            continue
        entries = [lines.get(trial.experiment.hash_without_seed) for trial in known] if cell.space else []
        done = [entry for entry in entries if entry is not None]
        if len(done) < search.trials:
            continue
        monitor = cell.experiment.train.monitor
        failed = sum(math.isnan(entry.figures.get(monitor, math.nan)) for entry in done)
        best = best_trial(asked, done)
        figure = f"{title_of(monitor)} {done[best].figures[monitor]:.4f}"
        counts = [len(done), failed, *([sum(entry.pruned for entry in done)] if _prunes(search) else []), best]
        cells = [escape(cell.name), *map(str, counts), figure, escape(frozen(known[best].settings))]
        rows.append(f"| {' | '.join(cells)} |")
    if not rows:
        return None
    heads = ["trials", "diverged", *(["pruned"] if _prunes(search) else []), "best", "on valid"]
    head = f"| system | {' | '.join(heads)} | settings |\n| --- |{' ---: |' * len(heads)} --- |\n"
    epochs = "" if search.epochs is None else f", {search.epochs} epoch{'s' if search.epochs > 1 else ''} each"
    about = f"on {search.users:.0%} of the users{epochs}, seed {search.seed}; chosen on the validation split."
    return head + "\n".join(rows) + f"\n\n{_how(search)} {about}\n"


def _prunes(search: SearchConfig) -> bool:
    return search.optuna is not None and search.optuna.pruner is not None


def _how(search: SearchConfig) -> str:
    """What chose the settings, for people."""
    optuna = search.optuna
    if optuna is None:
        return "Random search"
    sampler = "tree-structured Parzen estimator" if optuna.sampler == "tpe" else "random search"
    pruner = f", {optuna.pruner} pruning" if optuna.pruner is not None else ""
    return f"Optuna ({sampler} after {optuna.startup} random trials, {optuna.at_once} at once{pruner})"


def scaling_tables(
    families: Mapping[str, str], runs: Mapping[str, Sequence[Entry]], laws: Sequence[Law], metrics: Sequence[str]
) -> str:
    """Size, costs and metrics of every cell; then the law of every family and metric."""
    heads = [*COSTS, *map(title_of, metrics)]
    lines = [["family", "system", *heads], ["---", "---", *["---:"] * len(heads)]]
    for name, found in runs.items():
        costs = [write(found[0].figures) for write in COSTS.values()]
        figures = [_mean([entry.figures.get(metric, math.nan) for entry in found]) for metric in metrics]
        lines.append([escape(families[name]), escape(name), *costs, *figures])
    parts = ["\n".join("| " + " | ".join(line) + " |" for line in lines), MEASURED]
    lines = [["family", "metric", "exponent", "limit", "seed spread"], ["---", "---", "---", "---:", "---:"]]
    for law in laws:
        exponent = law.reason or f"{law.exponent:.2f} [{law.low:.2f}, {law.high:.2f}]"
        limit = "-" if math.isnan(law.limit) else f"{law.limit:.4f}"
        spread = "-" if math.isnan(law.spread) else f"{law.spread:.4f}"
        lines.append([escape(law.family), title_of(law.metric), exponent, limit, spread])
    parts.append("\n".join("| " + " | ".join(line) + " |" for line in lines))
    parts.append("Fit: metric = limit + a N^-exponent over dense parameters N; 95 % interval over seeds.")
    return "\n\n".join(parts) + "\n"


def leaderboard_table(study: Study, runs: Mapping[str, Sequence[Entry]]) -> str:
    """Every system with what it costs and what others have published of it, the best by the first metric on top."""
    metrics = study.config.metrics
    published = {cell.name: cell.published for cell in study.cells}
    compared = [metric for metric in metrics if any(metric in figures for figures in published.values())]
    heads = [*map(title_of, metrics), *(f"{title_of(metric)}, published" for metric in compared), *COSTS]
    lines = [["", "system", *heads], ["---:", "---", *["---:"] * len(heads)]]
    for place, name in enumerate(_ranked(runs, metrics[0]), start=1):
        own = [_mean([entry.figures.get(metric, math.nan) for entry in runs[name]]) for metric in metrics]
        others = [published.get(name, {}).get(metric) for metric in compared]
        theirs = ["-" if value is None else f"{value:.4f}" for value in others]
        cost = runs[name][0].figures
        costs = ["-" if name in study.config.outside else write(cost) for write in COSTS.values()]
        lines.append([str(place), escape(name), *own, *theirs, *costs])
    parts = ["\n".join("| " + " | ".join(line) + " |" for line in lines), MEASURED]
    if study.config.published_by is not None:
        parts.append(f"Published: {escape(study.config.published_by)}")
    return "\n\n".join(parts) + "\n"


def _ranked(runs: Mapping[str, Sequence[Entry]], metric: str) -> list[str]:
    """Names from the best mean to the worst; those without a figure last."""
    sign = -1.0 if higher_is_better(metric) else 1.0
    means = {
        name: sign * statistics.fmean(entry.figures.get(metric, math.nan) for entry in runs[name]) for name in runs
    }
    return sorted(means, key=lambda name: (math.isnan(means[name]), means[name]))


def _mean(values: Sequence[float]) -> str:
    if any(math.isnan(value) for value in values):
        return "-"
    spread = f" +/- {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.4f}{spread}"


def check_costs(runs: Mapping[str, Sequence[Entry]], kind: str) -> None:
    """Raises RunError if a line has no costs, as those of a study that was not of this kind."""
    for name, entries in runs.items():
        if any("dense_parameters" not in entry.figures for entry in entries):
            raise RunError(
                f"A study of the kind `{kind}` needs the costs of its cells in the ledger; lines of {name!r} have "
                "none: they are of the time before it was of this kind. Move the ledger out of the way and run the "
                "study again: it measures costs and takes the figures of finished runs from their folders."
            )
