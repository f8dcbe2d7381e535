"""Pictures as PNG: cells with their intervals, learning curves, families over their size, and widths of tables.

Needs matplotlib (``pip install 'hemix[report]'``), which is loaded when the first one is drawn.
"""

import io
import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hemix.errors import HemixError
from hemix.evaluate.tables import title_of
from hemix.ledger import Entry
from hemix.study.dimensions import CondensedTable
from hemix.study.scaling import Law
from hemix.training.config import higher_is_better

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

COLOURS = ("#1f6feb", "#c2410c", "#15803d", "#7c3aed", "#ca8a04", "#0e7490", "#be185d", "#4b5563")
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#d8dde4",
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}
DPI = 160
LEGEND_CELLS = 8
LEGEND_TABLES = 12
"""More curves than that are drawn without names."""


def _png(width: float, height: float, axes: int, draw: "Callable[[Sequence[Axes]], None]") -> bytes:
    """PNG of `axes` plots side by side (inches)."""
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError:
        raise HemixError(
            "Pictures need matplotlib, which is not installed. Install it with: pip install 'hemix[report]'"
        ) from None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height))
        draw(figure.subplots(1, axes, squeeze=False)[0])
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()


def cells(runs: Mapping[str, Sequence[Entry]], metrics: Sequence[str]) -> bytes:
    """Each cell's mean with its interval over users, and a dot for each seed; a panel for each of three metrics."""
    shown = [name for name in metrics if any(name in entry.figures for found in runs.values() for entry in found)][:3]

    def draw(panels: "Sequence[Axes]") -> None:
        for panel, metric in zip(panels, shown, strict=True):
            for place, found in enumerate(runs.values()):
                values = [entry.figures[metric] for entry in found if metric in entry.figures]
                ends = [entry.intervals[metric] for entry in found if metric in entry.intervals]
                if ends:
                    low, high = (statistics.fmean(end[side] for end in ends) for side in (0, 1))
                    panel.plot([low, high], [place, place], color=COLOURS[0], alpha=0.35, linewidth=4)
                panel.plot(values, [place] * len(values), "o", color=COLOURS[1], markersize=3, alpha=0.8)
                if values:
                    panel.plot(statistics.fmean(values), place, "|", color=COLOURS[0], markersize=12, markeredgewidth=2)
            panel.set_title(title_of(metric))
            panel.set_yticks(range(len(runs)), list(runs) if panel is panels[0] else [""] * len(runs))
            panel.invert_yaxis()

    return _png(3.6 * len(shown) + 1.5, 0.9 + 0.32 * len(runs), len(shown), draw)


def curves(lines: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], metric: str) -> bytes | None:
    """Validation of each cell over rows trained: thin lines for seeds, a thick one for their mean where they agree.

    `lines`: for each cell, for each seed, the lines of metrics.jsonl. None if nothing was validated twice.
    """
    known = {
        name: [
            [
                (line["rows"], line[metric])
                for line in run
                if line.get("kind") == "valid" and line.get(metric) is not None
            ]
            for run in runs
        ]
        for name, runs in lines.items()
    }
    known = {name: [run for run in runs if run] for name, runs in known.items()}
    known = {name: runs for name, runs in known.items() if runs}
    if not any(len(run) > 1 for runs in known.values() for run in runs):
        return None

    def draw(panels: "Sequence[Axes]") -> None:
        (panel,) = panels
        for number, (name, runs) in enumerate(known.items()):
            colour = COLOURS[number % len(COLOURS)]
            label = name if len(known) <= LEGEND_CELLS else None
            for run in runs:
                panel.plot(*zip(*run, strict=True), color=colour, alpha=0.3, linewidth=0.8)
            common = min(len(run) for run in runs)
            mean = np.array([run[:common] for run in runs]).mean(axis=0)
            panel.plot(mean[:, 0], mean[:, 1], color=colour, linewidth=1.8, marker="o", markersize=3, label=label)
        panel.set(title=f"Validation {title_of(metric)}", xlabel="rows trained")
        if len(known) <= LEGEND_CELLS:
            panel.legend()

    return _png(7.2, 3.8, 1, draw)


COSTS: dict[str, Callable[[Entry], float]] = {
    "dense parameters": lambda entry: entry.figures["dense_parameters"],
    "multiply-adds of a request with 500 candidates": lambda entry: (
        entry.figures["multiply_adds_per_request"] + 500 * entry.figures["multiply_adds_per_candidate"]
    ),
    "p50 ms of a request with 500 candidates": lambda entry: entry.figures["p50_milliseconds"],
}
"""What a system costs, by the name of the axis."""


def _label_costs(panels: "Sequence[Axes]", metric: str) -> None:
    """One logarithmic axis for each of `COSTS`."""
    for panel, name in zip(panels, COSTS, strict=True):
        panel.set(xscale="log", xlabel=name, title=title_of(metric) if panel is panels[0] else "")
        _label_amounts(panel.xaxis)


def _label_amounts(axis: "Axis") -> None:
    """30M, 100M, 300M: matplotlib's own labels of a logarithmic axis are formulas, which `STYLE` leaves alone."""
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    axis.set_major_formatter(EngFormatter(sep=""))
    if axis.get_scale() == "log":
        low, high = axis.get_view_interval()
        axis.set_major_locator(LogLocator(subs=(1.0, 3.0) if high < 300 * low else (1.0,), numticks=12))
        axis.set_minor_formatter(NullFormatter())


def costs(runs: Mapping[str, Sequence[Entry]], metric: str) -> bytes:
    """A metric of each system over what it costs; a line joins those that nothing cheaper is as good as.

    Systems are numbered from the best. Those far behind the others would press them together: they stand on the edge,
    as triangles.
    """
    sign = 1.0 if higher_is_better(metric) else -1.0
    known = {name: found for name, found in runs.items() if all(metric in entry.figures for entry in found)}
    means = {name: statistics.fmean(entry.figures[metric] for entry in found) for name, found in known.items()}
    order = sorted(known, key=lambda name: -sign * means[name])
    best, middle = means[order[0]], means[order[len(order) // 2]]
    edge = middle + 3 * (middle - best)
    far = {name for name in order if middle != best and sign * means[name] < sign * edge}

    def draw(panels: "Sequence[Axes]") -> None:
        for panel, of in zip(panels, COSTS.values(), strict=True):
            at = {name: of(known[name][0]) for name in order}
            least = min((cost for cost in at.values() if cost > 0), default=1.0)
            at = {name: cost or least / 2 for name, cost in at.items()}  # no cost has no place on this axis
            front = frontier([(at[name], sign * means[name]) for name in order if name not in far])
            panel.plot([x for x, _ in front], [sign * y for _, y in front], color="#9aa3af", linewidth=1, zorder=1)
            for place, name in enumerate(order):
                colour, height = COLOURS[place % len(COLOURS)], edge if name in far else means[name]
                if name not in far:
                    values = [entry.figures[metric] for entry in known[name]]
                    panel.plot([at[name]] * len(values), values, "o", color=colour, markersize=2.5, alpha=0.4)
                mark, label = "v" if name in far else "o", f"{place + 1}  {name}  {means[name]:.4f}"
                panel.plot(at[name], height, mark, color=colour, markersize=5, label=label)
                panel.annotate(
                    str(place + 1), (at[name], height), (4, 3), textcoords="offset points", fontsize=7, color=colour
                )
            panel.margins(x=0.1)
        _label_costs(panels, metric)
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8, handletextpad=0.3)

    return _png(15.0, max(4.2, 0.26 * len(order)), len(COSTS), draw)


def over(key: str, runs: Mapping[str, Mapping[float, Sequence[Entry]]], metric: str, *, costs: bool) -> bytes:
    """A metric over a number that a grid varies, and what a request costs there: a line for each system.

    `runs`: test lines by system and value. Dots are seeds.
    """
    values = sorted({value for points in runs.values() for value in points})
    drawn: dict[str, Callable[[Entry], float]] = {title_of(metric): lambda entry: entry.figures[metric]}
    if costs:
        drawn |= {name: of for name, of in COSTS.items() if name != "dense parameters"}

    def draw(panels: "Sequence[Axes]") -> None:
        for panel, (title, of) in zip(panels, drawn.items(), strict=True):
            for number, (system, points) in enumerate(runs.items()):
                colour = COLOURS[number % len(COLOURS)]
                means = [(value, statistics.fmean(map(of, points[value]))) for value in values if value in points]
                panel.plot(*zip(*means, strict=True), "o-", color=colour, markersize=4, linewidth=1.4, label=system)
                if panel is panels[0]:
                    seeds = [(value, of(entry)) for value, found in points.items() for entry in found]
                    panel.plot(*zip(*seeds, strict=True), "o", color=colour, markersize=2.5, alpha=0.4)
            panel.set(title=title, xlabel=key)
            if values[0] > 0 and values[-1] >= 10 * values[0]:
                panel.set_xscale("log")
            panel.set_xticks(values, [f"{value:g}" for value in values])
            panel.minorticks_off()
            if panel is not panels[0]:
                low, high = panel.dataLim.intervaly
                if 0 < 4 * low < high:
                    panel.set_yscale("log")
                _label_amounts(panel.yaxis)
        panels[-1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))

    return _png(4.4 * len(drawn) + 1.6, 3.8, len(drawn), draw)


def frontier(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Of (cost, gain) those that no cheaper or equally dear one reaches, by cost.

    >>> frontier([(1.0, 0.7), (2.0, 0.6), (3.0, 0.8), (3.0, 0.75)])
    [(1.0, 0.7), (3.0, 0.8)]
    """
    best: list[tuple[float, float]] = []
    for cost, gain in sorted(points, key=lambda point: (point[0], -point[1])):
        if not best or gain > best[-1][1]:
            best.append((cost, gain))
    return best


def families(laws: Sequence[Law], runs: Mapping[str, Mapping[str, Sequence[Entry]]], metric: str) -> bytes:
    """A metric over dense parameters (with the fitted law), over the work of a request, and over its latency.

    `runs`: test lines of each cell, by family.
    """

    def draw(panels: "Sequence[Axes]") -> None:
        for number, (family, cells) in enumerate(runs.items()):
            colour = COLOURS[number % len(COLOURS)]
            for panel, of in zip(panels, COSTS.values(), strict=True):
                points = [(of(entry), entry.figures[metric]) for found in cells.values() for entry in found]
                panel.plot(*zip(*points, strict=True), "o", color=colour, markersize=3.5, alpha=0.5)
                means = sorted(
                    (of(found[0]), statistics.fmean(entry.figures[metric] for entry in found))
                    for found in cells.values()
                )
                panel.plot(*zip(*means, strict=True), color=colour, linewidth=1, alpha=0.6, label=family)
            law = next(law for law in laws if (law.family, law.metric) == (family, metric))
            if law.reason is None:
                at = np.geomspace(law.sizes[0], law.sizes[-1], 60)
                panels[0].plot(at, [law.at(size) for size in at], color=colour, linewidth=2, linestyle="--")
        _label_costs(panels, metric)
        panels[0].legend()

    return _png(13.0, 3.8, 3, draw)


def widths(tables: Sequence[CondensedTable], ratio: float) -> bytes:
    """Each table's kept width within that it was trained with, and what its first dimensions hold."""
    from matplotlib.ticker import MaxNLocator

    def draw(panels: "Sequence[Axes]") -> None:
        bars, curves = panels
        places = range(len(tables))
        bars.barh(places, [table.width for table in tables], color="#d8dde4", height=0.7)
        bars.barh(places, [table.kept for table in tables], color=COLOURS[0], height=0.7)
        for place, table in zip(places, tables, strict=True):
            bars.text(table.width, place, f" {table.kept} of {table.width}", va="center", fontsize=8)
        bars.set_yticks(places, [f"{table.table} ({table.values:,})" for table in tables])
        bars.invert_yaxis()
        bars.set(
            title="Width kept, by table (values)", xlim=(0, 1.2 * max((table.width for table in tables), default=1))
        )
        bars.xaxis.set_major_locator(MaxNLocator(integer=True))
        bars.grid(visible=False, axis="y")
        for number, table in enumerate(tables):
            colour, dash = COLOURS[number % len(COLOURS)], ("-", "--", ":")[number // len(COLOURS) % 3]
            label = table.table if len(tables) <= LEGEND_TABLES else None
            curves.plot(
                [0, *range(1, table.width + 1)], [0.0, *table.shares], dash, color=colour, linewidth=1.2, label=label
            )
        curves.axhline(ratio, color="#4b5563", linewidth=0.8, linestyle="--")
        curves.set(title=f"Share in the first dimensions ({ratio:.0%} is kept)", xlabel="dimensions", ylim=(0, 1.02))
        if len(tables) <= LEGEND_TABLES:
            curves.legend(fontsize=7)

    return _png(10.5, 1.1 + 0.27 * max(len(tables), 9), 2, draw)
