"""The drafted file, line by line, each guess with its reason."""

from typing import Any

from hemix.data.draft.columns import Drafted
from hemix.data.draft.features import Sides, distances
from hemix.data.draft.histories import HistoryGuess
from hemix.data.draft.profile import Table
from hemix.data.draft.roles import EntityGuess, Roles
from hemix.data.draft.splits import FRACTIONS, SplitGuess
from hemix.data.draft.times import TimeGuess
from hemix.data.draft.yaml_text import Lines
from hemix.data.sources import quote

SMALL_HEMIX = {
    "token_dim": 32,
    "num_blocks": 2,
    "num_dynamic_global": 2,
    "num_dynamic_real_time": 2,
    "num_fixed_global": 2,
    "num_fixed_real_time": 2,
    "mixing_rank": 16,
    "ffn_expansion": 2,
    "tower_hidden": [64, 32],
}
EMBEDDING_DIM = 16
REAL_TIME_EVENTS, GLOBAL_EVENTS = 20, 100


def compose(
    name: str,
    roles: Roles,
    sides: Sides,
    history: HistoryGuess | None,
    split: SplitGuess,
    paths: dict[str, list[str]],
) -> str:
    """The experiment file; `paths` are the files of each table as they are written in it."""
    lines = Lines()
    lines.comment(0, f"Drafted by `hemix init` from {', '.join(path for listed in paths.values() for path in listed)}.")
    lines.comment(0, "Every line is a guess from names and values: read the comments and change what is wrong.")
    lines.comment(0, f"Then: hemix prepare {name}.yaml --out store; hemix train {name}.yaml --data store --out run")
    lines.blank()
    lines.key(0, "name", name)
    lines.key(0, "data", bare=True)
    if roles.time is not None:
        zone = "of days and hours" if roles.time.zoned else "of times, which are written without one"
        lines.key(1, "timezone", "UTC", f"{zone}: set your own, Europe/Berlin say")
    _tables(lines, roles, history, paths)
    _examples(lines, roles, split)
    _labels(lines, roles)
    for place, entity in (("profiles", roles.profiles), ("catalog", roles.catalog)):
        if entity is not None:
            found = f"{entity.covered:.0%} of the values of {entity.column} in {roles.examples.name} are found in it"
            lines.key(1, place, {"table": entity.table.name, "key": entity.key.name}, found)
    _features(lines, sides)
    if history is not None:
        _histories(lines, history)
    lines.key(1, "split", bare=True, why=split.why)
    lines.key(2, "by", split.by)
    if split.by != "given":
        lines.key(2, "fractions", list(FRACTIONS), "of train, valid and test")
    _rest(lines, history, sides, roles)
    return lines.text()


def _tables(lines: Lines, roles: Roles, history: HistoryGuess | None, paths: dict[str, list[str]]) -> None:
    lines.key(1, "tables", bare=True)
    entities = {entity.table.name: entity for entity in (roles.profiles, roles.catalog) if entity is not None}
    packed = {
        guess.column.table: guess for guess in (roles.time, history.time if history else None) if guess and guess.packed
    }
    parts = [table for table in roles.parts.values() if table.name != roles.examples.name]
    logs = [roles.log.table] if roles.log is not None else []
    for table in [roles.examples, *parts, *(entity.table for entity in entities.values()), *logs]:
        where = paths[table.name]
        path = {"path": where[0] if len(where) == 1 else where}
        why = f"{table.rows} rows" + (f"; {table.bad_rows} lines do not parse: mend them" if table.bad_rows else "")
        sql, reason = _mended(table, entities.get(table.name), packed.get(table.name))
        if sql:
            lines.key(2, f"{table.name}_file", path, why)
            lines.key(2, table.name, {"sql": sql}, reason)
        else:
            lines.key(2, table.name, path, why)
    for table in roles.unused:
        lines.comment(2, f"not used: {', '.join(paths[table.name])} (no column that fits the examples' keys was found)")


def _mended(table: Table, entity: EntityGuess | None, time: TimeGuess | None) -> tuple[str, str]:
    """SQL that makes a table usable: unique keys, times as dates."""
    if entity is not None and (entity.key.nulls or entity.twins):
        key = quote(entity.key.name)
        order = ", ".join(quote(column.name) for column in table.columns)
        sql = f"SELECT * FROM {table.name}_file WHERE {key} IS NOT NULL"
        sql += f" QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {order}) = 1" if entity.twins else ""
        return sql, f"{entity.key.nulls} rows without a key and {entity.twins} with a key that stands above are dropped"
    if time is not None:
        column = quote(time.column.name)
        value = f"try_strptime(CAST({column} AS VARCHAR), '%Y%m%d')"
        return f"SELECT * REPLACE ({value} AS {column}) FROM {table.name}_file", "numbers like 20240131 become dates"
    return "", ""


def _time(guess: TimeGuess) -> dict[str, Any]:
    unit = {"unit": guess.unit} if guess.unit else {}
    return {"column": guess.column.name} | unit | ({"format": guess.format} if guess.format else {})


def _examples(lines: Lines, roles: Roles, split: SplitGuess) -> None:
    lines.key(1, "examples", bare=True)
    if roles.parts:
        lines.key(
            2, "table", {part: roles.parts[part].name for part in ("train", "valid", "test") if part in roles.parts}
        )
    else:
        lines.key(2, "table", roles.examples.name, "the table with a label: one row for each candidate that was shown")
    for key, column in (("user", roles.user), ("item", roles.item)):
        if column is not None:
            lines.key(2, key, column.name, f"{column.distinct} values in {column.rows} rows")
        else:
            lines.comment(2, f"{key}: no column looks like one; without it there are no histories")
    if roles.time is not None:
        lines.key(2, "time", _time(roles.time), roles.time.how)
    else:
        lines.comment(2, "time: no column looks like one; without it there are no histories and no split by time")
    if roles.request is not None:
        lines.key(2, "request", roles.request.name, "rows that share it were shown together")
    if split.where:
        lines.key(2, "where", " AND ".join(split.where), "rows without a key, a time or a label cannot be learnt from")


def _labels(lines: Lines, roles: Roles) -> None:
    lines.key(1, "labels", bare=True)
    label = roles.label
    source = {"column": label.source.name} if label.sql is None else {"sql": label.sql}
    lines.item(2, {"name": label.name} | source, f"{label.rate:.1%} are 1; {label.source.name}: {label.why}")
    for other in roles.other_labels:
        shown = other.source.name if other.sql is None else other.sql
        lines.comment(2, f"or: {shown} ({other.rate:.1%} are 1)")


def _features(lines: Lines, sides: Sides) -> None:
    lines.key(1, "features", bare=True)
    if sides.candidate or sides.request:
        lines.comment(2, "request: what is known of the user and the moment; candidate: of the item; pair: of both")
    for side in ("request", "candidate", "pair"):
        found = sides.of(side)
        kept = [drafted for drafted in found if drafted.values is not None]
        extra = list(distances(sides)) if side == "pair" else []
        if kept or extra:
            lines.key(2, side, bare=True)
        for drafted in kept:
            lines.item(3, _ordered(drafted), drafted.why)
        for values in extra:
            lines.item(3, values, "from the place of the request to that of the candidate")
        for drafted in found:
            if drafted.values is None:
                lines.comment(3 if kept else 2, f"left out: {drafted.column} ({drafted.why})")


def _ordered(drafted: Drafted) -> dict[str, Any]:
    values = drafted.values or {}
    first = {key: values[key] for key in ("kind", "name") if key in values}
    return first | {key: value for key, value in values.items() if key not in first}


def _histories(lines: Lines, history: HistoryGuess) -> None:
    lines.key(1, "events", bare=True)
    lines.key(2, "history", bare=True)
    for key, value in (("table", history.table.name), ("user", history.user), ("item", history.item)):
        lines.key(3, key, value)
    lines.key(3, "time", _time(history.time))
    if history.where:
        lines.key(3, "where", " AND ".join(history.where))
    if history.features:
        lines.key(3, "features", bare=True)
        for values, why in history.features:
            lines.item(4, values, why)
    lines.key(1, "histories", bare=True, why="events strictly before the request; set history_delay if logs come late")
    lines.comment(2, history.why)
    cut: dict[str, Any] = {"events": "history", "cut": history.cut}
    count = {"k": REAL_TIME_EVENTS} if history.cut == "last_k" else {}
    lines.key(2, "global", {**cut, "part": "older", **count, "max_length": GLOBAL_EVENTS})
    lines.key(2, "real_time", {**cut, "part": "recent", **count, "max_length": REAL_TIME_EVENTS})


def _rest(lines: Lines, history: HistoryGuess | None, sides: Sides, roles: Roles) -> None:
    lines.key(0, "model", bare=True, why="`hemix models` lists them; this one is small enough for a laptop")
    lines.key(1, "name", "hemix" if history else "dlrm")
    lines.key(1, "embedding_dim", EMBEDDING_DIM)
    if history:
        for key, value in SMALL_HEMIX.items():
            lines.key(1, key, value)
    lines.key(0, "train", bare=True)
    lines.key(1, "batch_size", 512 if roles.examples.rows < 1_000_000 else 4096, "candidates per step")
    lines.key(1, "epochs", 3)
    if roles.parts and "valid" not in roles.parts:
        lines.key(1, "patience", None, "no validation split: add one, or train for a fixed time")
