"""Markdown tables made from a ledger, put between marks in a page: figures in the documentation are never typed."""

import math
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hemix.data.arrays import replace_file
from hemix.errors import ConfigError, RunError, unknown_name
from hemix.evaluate.compare import Comparison
from hemix.evaluate.tables import title_of
from hemix.ledger import Entry, read

MARK = re.compile(r"(<!-- table: (?P<name>[^\n]+?) -->\n)(?P<body>.*?)(<!-- end -->)", re.DOTALL)
OPEN = re.compile(r"<!-- table: (?P<name>[^\n]+?) -->")
METRICS = ("auc", "gauc", "log_loss")


def table(entries: Sequence[Entry], *, metrics: Sequence[str] = METRICS, split: str = "test") -> str:
    """One row per system: mean over seeds, spread, and interval of each metric, in the order of first appearance.

    Of several lines with one system, configuration, data and seed the latest counts. What differs between the systems
    beside the model (data, budget) becomes a column, so that a table cannot hide it. Raises RunError if no entry is of
    the split, or if none has one of the metrics.
    """
    cells = _cells([entry for entry in entries if entry.split == split and entry.trial is None])
    if not cells:
        raise RunError(f"A table needs entries of the split {split!r}; the ledger has none. Evaluate the runs first.")
    for metric in metrics:
        known = {name for runs in cells.values() for entry in runs for name in entry.figures}
        if metric not in known:
            raise unknown_name("metric in the ledger", metric, known)
    columns: list[tuple[str, Callable[[Sequence[Entry]], str]]] = [
        ("system", lambda runs: escape(runs[0].cell)),
        *((title_of(metric), lambda runs, metric=metric: _figure(runs, metric)) for metric in metrics),
        ("seeds", lambda runs: str(len(runs))),
        ("parameters", lambda runs: f"{runs[0].parameters:,}"),
        ("training", lambda runs: f"{statistics.fmean(entry.seconds for entry in runs):,.0f} s"),
        *_differing(cells),
    ]
    if split == "test":
        columns.append(("test reads", lambda runs: str(max(entry.test_reads for entry in runs))))
    lines = [[title for title, _ in columns], ["---", *["---:"] * (len(columns) - 1)]]
    lines += [[write(runs) for _, write in columns] for runs in cells.values()]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{body}\n\n{_caption(list(cells.values()), split)}\n"


def _cells(entries: Sequence[Entry]) -> dict[tuple[str, str, str], list[Entry]]:
    latest = {(entry.cell, entry.config_hash, entry.data_hash, entry.seed): entry for entry in entries}
    cells: dict[tuple[str, str, str], list[Entry]] = {}
    for (cell, config, data, _), entry in latest.items():
        cells.setdefault((cell, config, data), []).append(entry)
    return cells


def _figure(runs: Sequence[Entry], metric: str) -> str:
    """Mean, standard deviation over seeds, and the interval over users (its ends averaged over the seeds)."""
    values = [entry.figures.get(metric, math.nan) for entry in runs]
    if any(math.isnan(value) for value in values):
        return "-"
    text = f"{statistics.fmean(values):.4f}"
    if len(values) > 1:
        text += f" +/- {statistics.stdev(values):.4f}"
    ends = [entry.intervals[metric] for entry in runs if metric in entry.intervals]
    if len(ends) == len(runs) and not any(math.isnan(end) for pair in ends for end in pair):
        low, high = (statistics.fmean(pair[side] for pair in ends) for side in (0, 1))
        text += f" [{low:.4f}, {high:.4f}]"
    return text


def _differing(cells: Mapping[tuple[str, str, str], list[Entry]]) -> list[tuple[str, Callable[[Sequence[Entry]], str]]]:
    """Columns for what ought to be equal in a fair comparison and is not."""
    candidates: tuple[tuple[str, Callable[[Sequence[Entry]], str]], ...] = (
        ("data", lambda runs: f"`{runs[0].data_hash[:8]}`"),
        ("configuration", lambda runs: f"`{runs[0].config_hash[:8]}`"),
        ("budget", lambda runs: escape(_budget(runs[0]))),
        ("hardware", lambda runs: escape(runs[0].hardware or "-")),
    )
    found = [(title, write) for title, write in candidates if len({write(runs) for runs in cells.values()}) > 1]
    names = [runs[0].cell for runs in cells.values()]
    return [(title, write) for title, write in found if title != "configuration" or len(set(names)) < len(names)]


def _budget(entry: Entry) -> str:
    return ", ".join(f"{name} {value}" for name, value in entry.budget.items() if value is not None) or "-"


def _caption(cells: Sequence[Sequence[Entry]], split: str) -> str:
    entries = [entry for runs in cells for entry in runs]
    parts = [f"Split: {split}. Mean over seeds"]
    if any(len(runs) > 1 for runs in cells):
        parts[0] += " +/- their standard deviation"
    if any(entry.intervals for entry in entries):
        parts.append("in brackets the 95 % interval over users")
    commits = sorted({entry.commit[:8] if entry.commit else "unknown" for entry in entries})
    dates = sorted({entry.date.date().isoformat() for entry in entries})
    period = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    place = {entry.hardware for entry in entries if entry.hardware}
    where = f", {escape(place.pop())}" if len(place) == 1 else ""
    return f"{'; '.join(parts)}. Commit {', '.join(commits)}, {period}{where}."


def differences(comparison: Comparison, metrics: Sequence[str] = METRICS, baselines: Sequence[str] = ()) -> str:
    """Paired differences as a table: to each of `baselines` that is compared, or of every pair if none is.

    Metrics that are not compared (calibration) are left out.
    """
    names = [system.name for system in comparison.systems]
    chosen = [name for name in baselines if name in names] or names
    by_pair = {(found.system, found.baseline, found.metric): found for found in comparison.differences}
    compared = [metric for metric in metrics if any(key[2] == metric for key in by_pair)]
    lines = [f"| system - baseline | {' | '.join(map(title_of, compared))} |", "|---" * (len(compared) + 1) + "|"]
    pairs = [(found.system, found.baseline) for found in comparison.differences if found.baseline in chosen]
    for system, baseline in dict.fromkeys(pairs):
        found = [by_pair[system, baseline, metric] for metric in compared]
        texts = [f"{each.value:+.4f} [{each.low:+.4f}, {each.high:+.4f}]" for each in found]
        cells = ["-" if math.isnan(each.value) else text for each, text in zip(found, texts, strict=True)]
        lines.append(f"| {escape(system)} - {escape(baseline)} | {' | '.join(cells)} |")
    size = f"{comparison.rows:,} rows, {comparison.units:,} {comparison.unit}"
    return "\n".join(lines) + f"\n\n{size}. {comparison.note}\n"


def parts_table(comparisons: Sequence[Comparison], metrics: Sequence[str] = METRICS) -> str:
    """Figures of every system on each part of the split: mean over seeds, spread, interval over users and seeds."""
    shown = [metric for metric in metrics if metric in comparisons[0].systems[0].metrics]
    lines = [f"| rows | system | {' | '.join(map(title_of, shown))} |"]
    lines.append("| --- | --- |" + " ---: |" * len(shown))
    for each in comparisons:
        for system in each.systems:
            texts = []
            for metric in shown:
                found, spread = system.metrics[metric], system.spread[metric]
                text = "-" if math.isnan(found.value) else f"{found.value:.4f}"
                text += "" if math.isnan(spread) else f" +/- {spread:.4f}"
                texts.append(text + ("" if math.isnan(found.low) else f" [{found.low:.4f}, {found.high:.4f}]"))
            lines.append(f"| {escape(each.part or 'all')} | {escape(system.name)} | {' | '.join(texts)} |")
    sizes = ", ".join(
        f"{escape(each.part or 'all')}: {each.rows:,} rows of {each.units:,} users" for each in comparisons
    )
    return "\n".join(lines) + f"\n\n{sizes}. In brackets the 95 % interval over users and seeds.\n"


def escape(text: str) -> str:
    """Text that stays inside its cell of a Markdown table and is no markup."""
    flat = " ".join(text.split())
    return re.sub(r"([\\|`*_<>\[\]])", r"\\\1", flat)


def fill(text: str, tables: Mapping[str, str]) -> str:
    """Replace what stands between ``<!-- table: NAME -->`` and ``<!-- end -->`` by the table of that name.

    Raises ConfigError for a mark without its end, and for a name that no mark has.
    """
    marks = [match["name"] for match in MARK.finditer(text)]
    for match in MARK.finditer(text):
        if OPEN.search(match["body"]):
            raise ConfigError(
                f"The mark '<!-- table: {match['name']} -->' needs its own '<!-- end -->' before the next one."
            )
    unclosed = [match["name"] for match in OPEN.finditer(text)][len(marks) :]
    if unclosed:
        raise ConfigError(f"The mark '<!-- table: {unclosed[0]} -->' needs a line '<!-- end -->' after it.")
    for name in tables:
        if name not in marks:
            raise unknown_name("table mark", name, marks)
    return MARK.sub(lambda m: f"{m[1]}{tables[m['name']]}{m[4]}" if m["name"] in tables else m[0], text)


def render_markdown(
    ledger: Path,
    page: Path,
    *,
    name: str | None = None,
    metrics: Sequence[str] = METRICS,
    split: str = "test",
) -> bool:
    """Put the table of a ledger into a page, at the mark `name` (None: the ledger's file name). True if it changed.

    Raises RunError if the ledger is empty or damaged, ConfigError if the page has no such mark.
    """
    found = read(ledger)
    if found.damaged:
        lines = ", ".join(str(line.line) for line in found.damaged)
        raise RunError(
            f"A table needs a whole ledger; {ledger} is damaged in line {lines}. Repair or take out that line."
        )
    old = page.read_text(encoding="utf-8")
    new = fill(old, {name or ledger.stem: table(found.entries, metrics=metrics, split=split)})
    if new != old:
        replace_file(page, new.encode())
    return new != old
