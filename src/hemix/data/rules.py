"""Which rules hold for which raw table; creates the views of good rows that all later queries read."""

from hemix.data.checks import OnBadRows, RowChecker, Rule, label_rules, not_null, part_rules, time_rules, weight_rules
from hemix.data.fields import TIME, Plan
from hemix.data.queries import (
    FROM,
    GIVEN,
    ITEM,
    KEY,
    USER,
    WEIGHT,
    Preparing,
    create_entity,
    create_events,
    create_examples,
    create_implicit_catalog,
    example_tables,
    label_column,
)
from hemix.data.sources import BadRow, literal
from hemix.schema import SPLITS


def check_tables(p: Preparing, plan: Plan, on_bad_rows: OnBadRows) -> list[BadRow]:
    """Views `good_examples`, `good_events_<name>`, `once_catalog`, `once_profiles`; returns the rows set aside.

    Raises InputError for the first bad row unless bad rows go to quarantine.
    """
    checker = RowChecker(p.connection, p.sources, on_bad_rows)
    create_examples(p)
    tables = list(example_tables(p.config).values())
    parts = (*plan.blocks["request"], *plan.blocks["row"])
    checker.apply(tables[0], "examples", _example_rules(p, plan), split_by=dict(enumerate(tables)))
    checker.not_all_null(tables[0], "good_examples", parts)
    if not p.labelled:
        return checker.bad_rows
    for place, entity in (("catalog", p.config.catalog), ("profiles", p.config.profiles)):
        if entity is None:
            continue
        create_entity(p, place, entity)
        rules = [not_null(entity.key, f"t.{KEY}", "the key"), *part_rules(plan.blocks[place])]
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
    for column, sql, role in ((examples.user, USER, "the user"), (examples.item, ITEM, "the item")):
        if column is not None:
            rules.append(not_null(column, f"t.{sql}", role))
    if examples.time is not None:
        rules += time_rules(examples.time, f"t.{TIME}")
    if p.labelled:
        for index, label in enumerate(config.labels):
            rules += label_rules(
                label.name, f"t.{label_column(index)}", f"column {label.column}" if label.column else f"SQL {label.sql}"
            )
        if config.weight is not None:
            rules += weight_rules(f"t.{WEIGHT}")
        if config.split.by == "given" and config.split.column is not None:
            listed = ", ".join(f"'{split}'" for split in SPLITS)
            rule = literal(f"column {config.split.column}: the split must be train, valid or test, got ")
            reason = f"{rule} || coalesce(t.{GIVEN}, 'null')"
            rules.append((f"t.{GIVEN} IS NULL OR t.{GIVEN} NOT IN ({listed})", reason))
    return rules + part_rules((*plan.blocks["request"], *plan.blocks["row"]))
