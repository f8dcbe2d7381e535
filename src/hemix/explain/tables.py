"""Explanations as tables for a terminal."""

import math
from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from hemix.evaluate.tables import title_of
from hemix.explain.report import (
    FieldGates,
    ModelReport,
    RequestReport,
    residual_text,
    shown,
    signed,
    strongest,
    values_of,
)

MOST_EVENTS = 8
MOST_DIFFERENCES = 12


def request_tables(report: RequestReport) -> list[Table]:
    """Scores, fields, the strongest events of each history, where queries look, and what sets two candidates apart."""
    tables = [_scores(report), _fields(report)]
    for place in range(len(report.explained[0].histories)):
        tables += _history(report, place)
    for found in report.explained:
        if found.gates:
            tables.append(_gates(f"Gates of {found.item}: share that each layer lets pass", found.gates))
    return [*tables, *([_differences(report)] if report.differences else [])]


def _scores(report: RequestReport) -> Table:
    title = f"User {report.user or '-'} at {report.time}, {report.candidates:,} candidates ({report.split})"
    table = _table(title, ["item"], ["probability", "place", "label", "logit", "baseline", "explained", "residual"])
    for found in report.explained:
        gained = found.logit - found.baseline
        label = "-" if found.label is None else f"{found.label:g}"
        place = str(found.place) if found.row is not None else f"({found.place})"
        figures = [signed(found.logit), signed(found.baseline), signed(gained), residual_text(found)]
        table.add_row(Text(found.item), f"{found.probability:.4f}", place, label, *figures)
    return table


def _fields(report: RequestReport) -> Table:
    several = len(report.explained) > 1
    right = ["contribution", "against mean", "against null"]
    table = _table("Fields and histories", ["side", "name", *(["item"] if several else []), "value"], right)
    lines = []
    for place, found in enumerate(report.explained):
        item = [found.item] if several else []
        for f in found.fields:
            figures = (f.contribution, f.against_mean, f.against_null)
            lines.append((f.side, f.name, place, [f.side, f.name, *item, shown(f.value)], figures))
        for h in found.histories:
            text = f"{len(h.events):,} events"
            lines.append(
                ("history", h.name, place, ["history", h.name, *item, text], (h.contribution, math.nan, h.without))
            )
    size: dict[tuple[str, str], float] = {}
    for side, name, _, _, figures in lines:
        size[side, name] = max(size.get((side, name), 0.0), abs(figures[0]))
    for _, _, _, words, figures in sorted(lines, key=lambda line: (-size[line[0], line[1]], line[0], line[1], line[2])):
        table.add_row(*(Text(word) for word in words), *(signed(figure) for figure in figures))
    return table


def _history(report: RequestReport, place: int) -> list[Table]:
    effects = [found.histories[place] for found in report.explained]
    name, events = effects[0].name, report.histories[effects[0].name]
    if not events:
        return []
    several = len(effects) > 1
    heads = [f"adds to {found.item}" if several else "adds" for found in report.explained]
    table = _table(f"Events of {name} that add most", ["event", "time", "values"], heads)
    for number in strongest([e.events for e in effects], MOST_EVENTS):
        event = events[number]
        values = values_of(event)
        figures = [signed(e.events[number]) for e in effects]
        table.add_row(Text(event.item), event.time, Text(values, overflow="ellipsis", no_wrap=True), *figures)
    looks = _table(
        f"Where queries look in {name}", ["query", *(["item"] if several else []), "most", "then", "then"], []
    )
    for found in report.explained:
        for seen in found.attention:
            if seen.history != name:
                continue
            top = strongest([seen.weights], 3)
            cells = [f"{events[i].item} {seen.weights[i]:.3f}" for i in top] + [""] * (3 - len(top))
            item = [Text(found.item)] if several else []
            looks.add_row(f"{seen.kind} {seen.query + 1}", *item, *(Text(cell) for cell in cells))
    return [table, looks] if looks.row_count else [table]


def _differences(report: RequestReport) -> Table:
    first, second = report.explained
    title = f"What sets {first.item} apart from {second.item}: {signed(first.logit - second.logit)}"
    table = _table(title, ["side", "name", first.item, second.item], ["difference"])
    for found in report.differences[:MOST_DIFFERENCES]:
        name, side = found.name, found.side
        values = (shown(found.first), shown(found.second))
        if side in report.histories:
            event = report.histories[side][int(name)]
            name, values = f"event {event.item} at {event.time}", ("", "")
        table.add_row(Text(side), Text(name), *(Text(value) for value in values), signed(found.difference))
    return table


def model_tables(report: ModelReport) -> list[Table]:
    """Importance of fields, redundancy of queries, norms of blocks."""
    title = (
        f"{report.run} on {report.rows:,} rows of {report.split}: AUC {report.auc:.4f}, LogLoss {report.log_loss:.4f}"
    )
    heads = [f"{title_of('auc')} lost", "95 % interval", f"{title_of('gauc')} lost", f"{title_of('log_loss')} gained"]
    table = _table(title, ["side", "field"], heads)
    for cost in report.importance:
        value, low, high = cost.auc
        ends = "" if math.isnan(low) else f"{signed(low)} .. {signed(high)}"
        name = "whole history" if cost.name == "*" else cost.name
        style = "green" if low > 0 else ""
        figures = [Text(signed(value), style=style), ends, signed(cost.gauc[0]), signed(cost.log_loss[0])]
        table.add_row(Text(cost.side), Text(name), *figures)
    tables = [table]
    if report.redundancy:
        alike = _table("Queries: largest mean cosine of two", ["history", "kind"],
                       ["queries", "answers", "attention", "events seen"])  # fmt: skip
        for found in report.redundancy:
            queries = "-" if found.queries is None else _largest(found.queries)
            seen = [count for count in found.events_seen if not math.isnan(count)]
            span = f"{min(seen):.1f} .. {max(seen):.1f} of {found.events:.1f}" if seen else "-"
            alike.add_row(
                Text(found.history), found.kind, queries, _largest(found.answers), _largest(found.weights), span
            )
        tables.append(alike)
    if report.blocks:
        blocks = _table("Residual stream: mean norm of a token", ["part"], ["before", "added", "ratio"])
        for block in report.blocks:
            ratio = f"{block.added / block.stream:.2f}"
            blocks.add_row(block.name, f"{block.stream:.3f}", f"{block.added:.3f}", ratio)
        tables.append(blocks)
    if report.gates:
        tables.append(_gates("Gates: mean share that each layer lets pass", report.gates))
    return tables


def _gates(title: str, gates: Sequence[FieldGates]) -> Table:
    """A row per field, a column per layer; the field that passes most in the first layer comes first."""
    table = _table(title, ["field"], [gate.name for gate in gates])
    for field in sorted(gates[0].fields, key=lambda name: -gates[0].fields[name]):
        table.add_row(Text(field), *(f"{gate.fields[field]:.3f}" for gate in gates))
    return table


def _largest(cosines: Sequence[Sequence[float]]) -> str:
    """The largest cosine of two different queries."""
    pairs = [value for row, values in enumerate(cosines) for column, value in enumerate(values) if row < column]
    return f"{max(pairs):+.2f}"


def _table(title: str, left: Sequence[str], right: Sequence[str]) -> Table:
    table = Table(title=Text(title), title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in left:
        table.add_column(Text(name), overflow="fold")
    for name in right:
        table.add_column(Text(name), justify="right")
    return table
