"""Pages to look at: why a request's candidates got their scores, and what a model uses."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from hemix.data.arrays import replace_file
from hemix.evaluate.html import html_page, html_table
from hemix.explain import plots
from hemix.explain.report import (
    Attention,
    Explained,
    FieldGates,
    Importance,
    ModelReport,
    RequestReport,
    residual_text,
    shown,
    signed,
    strongest,
    values_of,
)

MOST_BARS = 16
MOST_EVENTS = 12
MOST_DIFFERENCES = 20
PAIRS_IN_A_ROW = 3


def write_page(path: Path, report: RequestReport | ModelReport) -> None:
    """Write the page of an explanation in one step. Raises HemixError if matplotlib is missing."""
    page = request_html(report) if isinstance(report, RequestReport) else model_html(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    replace_file(path, page.encode())


def request_html(report: RequestReport) -> str:
    """The page of one request, with one candidate or two side by side."""
    items = [found.item for found in report.explained]
    title = f"Item {items[0]}" + (f" against {items[1]}" if len(items) > 1 else "") + f" for user {report.user or '-'}"
    subtitle = (
        f"{report.model} - run {report.run} - {report.task} - split {report.split} - {report.time} - "
        f"{report.candidates:,} candidates"
    )
    body = [f"<header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></header>"]
    body += [_tiles(report, found) for found in report.explained]
    if report.notes:
        body.append("<section>" + "".join(f"<p>{escape(note)}</p>" for note in report.notes) + "</section>")
    body += [_contributions(report), _fields(report)]
    body += [_history(report, place) for place in range(len(report.explained[0].histories))]
    for found in report.explained:
        body += _gates(f"Gates of {found.item}", "1: all of a field passes, 0: nothing.", found.gates)
    if report.differences:
        body.append(_differences(report))
    body.append(_best(report))
    body.append(
        "<footer>Contributions: integrated gradients from the mean vectors of the training split; they add up to logit "
        "- baseline, but for the residual. Against mean, against null, without: logit minus the logit with that taken "
        "away; these need not add up.</footer>"
    )
    return html_page(title, body)


def _tiles(report: RequestReport, found: Explained) -> str:
    label = "" if found.label is None else f", label {found.label:g}"
    where = f"place {found.place} of {report.candidates}" if found.row is not None else f"would be place {found.place}"
    gained = found.logit - found.baseline
    tiles = [
        (f"Item {found.item}", f"{found.probability:.4f}", f"{where}{label}"),
        ("Logit", f"{found.logit:+.4f}", "log odds"),
        ("Baseline", f"{found.baseline:+.4f}", "logit at the mean vectors of training"),
        ("Explained", f"{gained:+.4f}", f"residual {residual_text(found)} after {found.steps} steps"),
    ]
    parts = (f"<div><b>{escape(a)}</b><strong>{b}</strong><i>{escape(c)}</i></div>" for a, b, c in tiles)
    return f'<section class="tiles">{"".join(parts)}</section>'


def _contributions(report: RequestReport) -> str:
    """Bars of the fields and histories that add most."""
    series: dict[str, dict[str, float]] = {}
    for found in report.explained:
        fields = {f"{f.name} ({f.side})": f.contribution for f in found.fields}
        series[found.item] = fields | {f"{h.name} (history)": h.contribution for h in found.histories}
    names = sorted(next(iter(series.values())), key=lambda name: -max(abs(own[name]) for own in series.values()))
    names = names[:MOST_BARS]
    chart = plots.bars(
        "What each field and each history adds", names, {item: [own[n] for n in names] for item, own in series.items()}
    )
    return f"<section><h2>Contributions</h2><figure>{chart}</figure></section>"


def _fields(report: RequestReport) -> str:
    heads = ["field", "side"]
    several = len(report.explained) > 1
    for found in report.explained:
        heads += [escape(found.item) if several else "value", "adds", "against mean"]
        heads += [] if several else ["against null"]
    rows = []
    for fields in zip(*(found.fields for found in report.explained), strict=True):
        row = [escape(fields[0].name), fields[0].side]
        for f in fields:
            row += [escape(shown(f.value)), signed(f.contribution), signed(f.against_mean)]
            row += [] if several else [signed(f.against_null)]
        rows.append((max(abs(f.contribution) for f in fields), row))
    rows.sort(key=lambda row: -row[0])
    return f"<section><h3>Fields</h3>{html_table(heads, [row for _, row in rows])}</section>"


def _history(report: RequestReport, place: int) -> str:
    """One history: pictures over its events, its fields, and its strongest events."""
    effects = [found.histories[place] for found in report.explained]
    name = effects[0].name
    events = report.histories[name]
    title = f"<h2>History: {escape(name)}</h2>"
    if not events:
        return f"<section>{title}<p>No events at the time of the request.</p></section>"
    maps = [[seen for seen in found.attention if seen.history == name] for found in report.explained]
    rows = _query_names(report, maps)
    weights = np.array([seen.weights for own in maps for seen in own]).reshape(len(rows), len(events))
    several = len(effects) > 1
    series = {found.item: e.events for found, e in zip(report.explained, effects, strict=True)}
    chart = plots.events(series, rows, weights)
    heads = ["event", "time"] + [
        f"{head} {escape(found.item) if several else ''}" for found in report.explained for head in ("adds", "without")
    ]
    heads.append("values")
    table = []
    for number in strongest([e.events for e in effects], MOST_EVENTS):
        event = events[number]
        row = [escape(event.item), event.time]
        for e in effects:
            alone = e.without_event.get(number)
            row += [signed(e.events[number]), "-" if alone is None else signed(alone)]
        table.append([*row, escape(values_of(event))])
    sums = "; ".join(
        (f"{escape(found.item)}: " if several else "")
        + f"{len(events):,} events add {signed(e.contribution)}; without them {signed(e.without)}"
        for found, e in zip(report.explained, effects, strict=True)
    )
    return (
        f"<section>{title}<p>{sums}</p><figure>{chart}</figure></section>"
        f"<section><h3>Events that add most</h3>{html_table(heads, table, last_is_text=True)}</section>"
        f"{_queries(report, name, maps, rows)}"
    )


def _query_names(report: RequestReport, maps: Sequence[Sequence[Attention]]) -> list[str]:
    names = []
    for found, own in zip(report.explained, maps, strict=True):
        item = f" {found.item}" if len(maps) > 1 else ""
        names += [f"{seen.kind} {seen.query + 1}{item}" for seen in own]
    return names


def _queries(report: RequestReport, name: str, maps: Sequence[Sequence[Attention]], rows: Sequence[str]) -> str:
    """The three events that each query looks at most."""
    events = report.histories[name]
    flat = [seen for own in maps for seen in own]
    if not flat:
        return ""
    table = []
    for row, seen in zip(rows, flat, strict=True):
        top = strongest([seen.weights], 3)
        cells = [f"{escape(events[i].item)} <small>{events[i].time}</small> {seen.weights[i]:.3f}" for i in top]
        table.append([escape(row), *cells, *[""] * (3 - len(cells))])
    return f"<section><h3>Where each query looks most</h3>{html_table(['query', '', '', ''], table)}</section>"


def _differences(report: RequestReport) -> str:
    first, second = report.explained
    rows = []
    for found in report.differences[:MOST_DIFFERENCES]:
        name, side = found.name, found.side
        if side in report.histories:
            event = report.histories[side][int(name)]
            name, side = f"{event.item} at {event.time}", f"{side} event"
        rows.append(
            [escape(name), escape(side), escape(shown(found.first)), escape(shown(found.second)),
             signed(found.difference)]
        )  # fmt: skip
    heads = ["", "", escape(first.item), escape(second.item), "difference"]
    gap = first.logit - second.logit
    return (
        f"<section><h2>What sets them apart</h2><p>{escape(first.item)} stands {abs(gap):.4f} "
        f"{'above' if gap > 0 else 'below'} {escape(second.item)}; differences of contributions add up to "
        f"{signed(gap)}.</p>{html_table(heads, rows)}</section>"
    )


def _best(report: RequestReport) -> str:
    rows = [[str(place), escape(item), f"{score:.4f}"] for place, (item, score) in enumerate(report.best, 1)]
    return (
        f"<section><h2>Highest scores of the request</h2>{html_table(['place', 'item', 'probability'], rows)}</section>"
    )


def model_html(report: ModelReport) -> str:
    """The page of a model."""
    subtitle = (
        f"{report.model} - {report.task} - split {report.split} - {report.rows:,} rows, {report.requests:,} requests, "
        f"{report.users:,} users"
    )
    body = [
        f"<header><h1>What {escape(report.run)} uses</h1><p>{escape(subtitle)}</p></header>",
        f"<section><h2>Importance</h2><p>What shuffling a field among rows, requests or events costs in AUC "
        f"({report.auc:.4f} unshuffled).</p>{_importance(report.importance)}</section>",
    ]
    for found in report.redundancy:
        known = {"queries": found.queries, "answers": found.answers, "attention": found.weights}
        chart = plots.cosines({title: table for title, table in known.items() if table is not None})
        seen = ", ".join("-" if math.isnan(count) else f"{count:.1f}" for count in found.events_seen)
        body.append(
            f"<section><h2>{escape(found.kind.capitalize())} queries over {escape(found.history)}</h2>"
            f"<p>Mean cosine of every two. Effective number of events that each looks at: "
            f"{seen} of {found.events:.1f}.</p>"
            f"<figure>{chart}</figure></section>"
        )
    if report.blocks:
        chart = plots.norms(
            [b.name for b in report.blocks], [b.stream for b in report.blocks], [b.added for b in report.blocks]
        )
        rows = [[b.name, f"{b.stream:.3f}", f"{b.added:.3f}", f"{b.added / b.stream:.2f}"] for b in report.blocks]
        table = html_table(["", "stream", "added", "ratio"], rows)
        body.append(f"<section><h2>Blocks</h2><figure>{chart}</figure>{table}</section>")
    body += _gates("Gates", "Means over rows.", report.gates)
    for start in range(0, len(report.crossings), PAIRS_IN_A_ROW):
        found = report.crossings[start : start + PAIRS_IN_A_ROW]
        chart = plots.pairs(found[0].fields, {pair.name: pair.norms for pair in found})
        body.append(
            "<section><h2>Products of fields</h2><p>Norm of the part of each cross layer that multiplies the field of "
            f"the row with that of the column.</p><figure>{chart}</figure></section>"
        )
    notes = "".join(f"<p>{escape(note)}</p>" for note in report.notes)
    body.append(f"<footer>{notes}<p>Intervals: {escape(report.interval)}.</p></footer>")
    return html_page(f"What {report.run} uses", body)


def _gates(title: str, text: str, gates: Sequence[FieldGates]) -> list[str]:
    """A section with one picture; none without gates."""
    if not gates:
        return []
    chart = plots.gates(list(gates[0].fields), {gate.name: list(gate.fields.values()) for gate in gates})
    return [f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p><figure>{chart}</figure></section>"]


def _importance(found: Sequence[Importance]) -> str:
    """A row per field with its interval as a bar on a common scale."""
    ends = [value for cost in found for value in cost.auc if not math.isnan(value)]
    low, high = min([0.0, *ends]), max([1e-6, *ends])
    rows = []
    for cost in found:
        established = cost.auc[1] > 0
        text = signed(cost.auc[0])
        rows.append(
            [
                escape(cost.name if cost.name != "*" else "whole history"), escape(cost.side),
                f"<b>{text}</b>" if established else text, _mark(cost.auc, low, high, established),
                signed(cost.gauc[0]), signed(cost.log_loss[0]),
            ]
        )  # fmt: skip
    heads = ["field", "side", "AUC lost", f"{low:+.3f} to {high:+.3f}", "gAUC lost", "LogLoss gained"]
    return html_table(heads, rows)


def _mark(cost: tuple[float, float, float], low: float, high: float, established: bool) -> str:
    """A bar from zero, and the interval."""
    if math.isnan(cost[0]):
        return ""

    def at(value: float) -> float:
        return 4 + 192 * (value - low) / (high - low)

    bar = "" if math.isnan(cost[1]) else f'<path class="bar" d="M{at(cost[1]):.1f} 8H{at(cost[2]):.1f}"/>'
    kind = "first" if established else "even"
    return (
        f'<svg class="mark {kind}" viewBox="0 0 200 16" aria-hidden="true">'
        f'<path class="whole" d="M{at(0.0):.1f} 0V16"/>{bar}<circle cx="{at(cost[0]):.1f}" cy="8" r="3.5"/></svg>'
    )
