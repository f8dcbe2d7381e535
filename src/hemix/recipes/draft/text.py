"""The draft as a commented YAML text."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from hemix.recipes.draft.facts import ColumnFacts, Look, TableFacts
from hemix.recipes.draft.features import Guess, find_features
from hemix.recipes.draft.roles import Reference, Roles, epoch_unit
from hemix.recipes.sizes import small_model

REAL_TIME = 20
GLOBAL = 100
FEW_ROWS = 20_000


def draft_text(look: Look, roles: Roles, out: Path) -> str:
    """All sections of the experiment; paths of the tables start at the folder of `out`."""
    histories = roles.user is not None and roles.item is not None and roles.time is not None
    lines = [
        f"# {out.name}: drafted by `hemix init` from the tables below. It is a guess: read every line, then",
        f"#   hemix prepare {out.name} --out store",
        f"#   hemix train {out.name} --data store --out runs/first",
        "# `hemix schema` describes every key. Comments behind a column say what its values look like.",
        f"name: {flow(out.stem)}",
        "",
        "data:",
        *indented(_data(look, roles, out, histories=histories)),
        "",
        f"model: {flow(small_model('hemix' if histories else 'dlrm'))}",
        "",
        f"train: {flow(_train(roles.examples))}",
    ]
    return "\n".join(lines) + "\n"


def _data(look: Look, roles: Roles, out: Path, *, histories: bool) -> Iterator[str]:
    yield "tables:"
    for table in look.tables.values():
        path = Path(os.path.relpath(table.path.resolve(), out.parent.resolve())).as_posix()
        unused = "  (not used: no key that the examples have)" if table in roles.unused else ""
        yield f"  {table.name}: {{path: {flow(path)}}}  # {table.rows:,} rows{unused}"
    yield from _examples(roles)
    for key, reference in (("catalog", roles.catalog), ("profiles", roles.profiles)):
        if reference is not None:
            yield f"{key}: {flow(_entity(reference))}"
    yield "# Remove what is known only after the outcome: a feature that knows the answer is worth nothing when served."
    yield from _features(look, roles)
    if histories:
        yield from _histories(look, roles)
    if roles.time is not None:
        yield "timezone: UTC  # of times without a zone, and of days and hours: an IANA name such as Europe/Berlin"
        yield "split: {by: time, fractions: [0.8, 0.1, 0.1]}  # by the clock; user_time splits each user's rows"
    else:
        yield "split: {by: random, fractions: [0.8, 0.1, 0.1]}  # there is no time to split by"


def _examples(roles: Roles) -> Iterator[str]:
    examples = roles.examples
    yield "examples:"
    yield f"  table: {examples.name}"
    for key in ("user", "item", "time"):
        column = getattr(roles, key)
        if column is None:
            yield f"  # {key}: no column looks like one; name it here if there is one"
        else:
            value = time_value(examples.columns[column]) if key == "time" else column
            yield f"  {key}: {flow(value)}"
    yield "labels:"
    for label in roles.labels:
        yield f"  - {flow(label)}"


def _entity(reference: Reference) -> dict[str, Any]:
    entity: dict[str, Any] = {"table": reference.table.name, "key": reference.key}
    if reference.valid_from is not None:
        entity["valid_from"] = reference.valid_from
    return entity


def _features(look: Look, roles: Roles) -> Iterator[str]:
    sides = find_features(look, roles)
    yield "features:"
    for side in ("request", "candidate", "pair"):
        guesses: list[Guess] = getattr(sides, side)
        if not guesses:
            continue
        yield f"  {side}:" + ("" if any(guess.feature for guess in guesses) else " []")
        for guess in guesses:
            if guess.feature is None:
                yield f"    # left out: {one_line(guess.remark)}"
            else:
                yield f"    - {flow(guess.feature)}  # {one_line(guess.remark)}"


def _histories(look: Look, roles: Roles) -> Iterator[str]:
    """Events are the examples themselves, with their outcome; other logs get histories of their own."""
    yield "events:"
    for table in (roles.examples, *roles.logs):
        outcome = [name for name in roles.label_columns if name in table.columns]
        values = {
            "table": table.name,
            "user": roles.user,
            "item": roles.item,
            "time": time_value(table.columns[str(roles.time)]) if roles.time in table.columns else _own_time(table),
            "features": [{"kind": "categorical", "column": name} for name in outcome],
        }
        yield f"  {table.name}: {flow(values)}"
    most = look.events_per_user(roles.examples.name, str(roles.user))
    recent = min(REAL_TIME, max(3, most // 3))
    older = min(GLOBAL, max(10, most))
    yield f"# 90 % of the users have at most {most:,} events. The last {recent} are real-time, {older} before them global."
    yield "histories:"
    name = roles.examples.name
    yield f"  global: {{events: {name}, cut: last_k, part: older, k: {recent}, max_length: {older}}}"
    yield f"  real_time: {{events: {name}, cut: last_k, part: recent, k: {recent}, max_length: {recent}}}"


def _own_time(table: TableFacts) -> Any:
    from hemix.recipes.draft.roles import find_time

    return time_value(table.columns[str(find_time(table.columns.values()))])


def _train(examples: TableFacts) -> dict[str, Any]:
    return {"batch_size": 128 if examples.rows < FEW_ROWS else 512, "epochs": 10, "patience": 2, "table_lr": 0.05}


def time_value(column: ColumnFacts) -> Any:
    """A time column as the schema wants it: numbers with their unit."""
    unit = epoch_unit(column)
    return column.name if unit is None else {"column": column.name, "unit": unit}


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, allow_unicode=True, width=10**9)
    return text.removesuffix("\n").removesuffix("\n...")


def one_line(text: str) -> str:
    """Text that is safe in a comment."""
    return " ".join(text.split())


def indented(lines: Iterator[str]) -> list[str]:
    return [f"  {line}" for line in lines]
