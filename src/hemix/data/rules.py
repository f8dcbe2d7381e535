"""Which rules hold for which raw table; creates the views of good rows that all later queries read."""

import re

from hemix.data.checks import OnBadRows, RowChecker, Rule, label_rules, not_null, part_rules, time_rules, weight_rules
from hemix.data.expressions import is_number, time_column
from hemix.data.fields import TIME, Plan
from hemix.data.queries import (
    FROM,
    GIVEN,
    ITEM,
    KEY,
    REQUEST,
    USER,
    WEIGHT,
    Preparing,
    create_entity,
    create_events,
    create_examples,
    create_implicit_catalog,
    example_tables,
    known_sql,
    label_column,
)
from hemix.data.sources import BadRow, literal, quote
from hemix.errors import ConfigError
from hemix.schema import SPLITS, TimeColumn

MOMENT = re.compile(r"(:\d\d.*(Z|[+-]\d\d(:?\d\d)?)|^[\d.]+)$")
"""Ends a text that is the same moment everywhere: a zone or an offset, or a number since 1970."""


def check_tables(p: Preparing, plan: Plan, on_bad_rows: OnBadRows) -> list[BadRow]:
    """Views `good_examples`, `good_events_<name>`, `once_catalog`, `once_profiles`; returns the rows set aside.

    Raises InputError for the first bad row unless bad rows go to quarantine, and ConfigError if times cannot be
    compared without a time zone.
    """
    _check_zone(p, plan)
    checker = RowChecker(p.connection, p.sources, on_bad_rows)
    create_examples(p)
    tables = list(example_tables(p.config).values())
    parts = (*plan.blocks["request"], *plan.blocks["row"])
    checker.apply(tables[0], "examples", _example_rules(p, plan), split_by=dict(enumerate(tables)))
    if not p.labelled:
        return checker.bad_rows
    checker.not_all_null(tables[0], "good_examples", parts)
    for place, entity in (("catalog", p.config.catalog), ("profiles", p.config.profiles)):
        if entity is None:
            continue
        create_entity(p, place, entity)
        rules = [not_null(entity.key, f"t.{KEY}", "the key"), *part_rules(plan.blocks[place])]
        # a part of the examples in itself
        rules += part_rules([since.part for since in plan.since if since.block == place])
        if entity.valid_from is not None:
            rules += time_rules(entity.valid_from, f"t.{FROM}")
        checker.apply(entity.table, place, rules)
        keys = [KEY] if entity.valid_from is None else [KEY, FROM]
        checker.duplicates(entity.table, place, keys, place)
        checker.not_all_null(entity.table, f"once_{place}", plan.blocks[place])
    for name, events in p.config.events.items():
        create_events(p, name, events)
        rules = [not_null(events.user, f"t.{USER}", "the user"), not_null(events.item, f"t.{ITEM}", "the item")]
        rules += time_rules(events.time, f"t.{TIME}") + part_rules(plan.blocks[f"events.{name}"])
        checker.apply(events.table, f"events_{name}", rules)
        checker.not_all_null(events.table, f"good_events_{name}", plan.blocks[f"events.{name}"])
    if p.config.catalog is None and p.config.examples.item is not None:
        create_implicit_catalog(p)
    return checker.bad_rows


def _example_rules(p: Preparing, plan: Plan) -> list[Rule]:
    examples, config = p.config.examples, p.config
    rules: list[Rule] = []
    for column, sql, role in (
        (examples.user, USER, "the user"),
        (examples.item, ITEM, "the item"),
        (examples.request, REQUEST, "the request"),
    ):
        if column is not None:
            rules.append(not_null(column, f"t.{sql}", role))
    if examples.time is not None:
        rules += time_rules(examples.time, f"t.{TIME}")
    if p.labelled:
        for index, label in enumerate(config.labels):
            value = f"t.{label_column(index)}"
            raw = f"t.{quote(label.column)}" if label.column else value
            rules += label_rules(label, value, raw, known_sql(config, label))
        if config.weight is not None:
            rules += weight_rules(f"t.{WEIGHT}")
        if config.split.by == "given" and config.split.column is not None:
            listed = ", ".join(f"'{split}'" for split in SPLITS)
            rule = literal(f"column {config.split.column}: the split must be train, valid or test, got ")
            reason = f"{rule} || coalesce(t.{GIVEN}, 'null')"
            rules.append((f"t.{GIVEN} IS NULL OR t.{GIVEN} NOT IN ({listed})", reason))
    return rules + part_rules((*plan.blocks["request"], *plan.blocks["row"]))


def _check_zone(p: Preparing, plan: Plan) -> None:
    """Times of a local clock are not compared with moments unless the clock is known."""
    if p.config.timezone is not None:
        return
    clocks, moments = [], []
    for place, table, column in _compared_times(p, plan):
        time_column(p.sources, table, column, place)
        kind = p.sources.columns(table)[column.column]
        if kind == "VARCHAR":
            raw = f"SELECT any_value({quote(column.column)}) FROM _hemix_raw_{table}"
            text = str(p.connection.sql(raw).fetchall()[0][0])
            is_moment = "%z" in column.format if column.format else MOMENT.search(text) is not None
        else:
            is_moment = is_number(kind) or "TZ" in kind or "TIME ZONE" in kind
        (moments if is_moment else clocks).append(f"{place} (column {column.column!r} of table {table!r})")
    if clocks and moments:
        raise ConfigError(
            f"Which of two times is earlier depends on the time zone: {clocks[0]} is the time of some clock, "
            f"{moments[0]} a moment. Set data.timezone (an IANA name such as UTC)."
        )


def _compared_times(p: Preparing, plan: Plan) -> list[tuple[str, str, TimeColumn]]:
    """The times that decide what was before a request: place in the configuration, table, column."""
    config = p.config
    times = [("examples.time", table, config.examples.time) for table in example_tables(config).values()]
    if p.labelled:
        times += [(f"events.{name}.time", events.table, events.time) for name, events in config.events.items()]
        for place, entity in (("catalog", config.catalog), ("profiles", config.profiles)):
            if entity is not None:
                times.append((f"{place}.valid_from", entity.table, entity.valid_from))
    times += [
        (f"feature {since.part.name}", since.table, since.column)
        for since in plan.since
        if p.labelled or since.block in ("request", "row")
    ]
    return [(place, table, column) for place, table, column in times if column is not None]
