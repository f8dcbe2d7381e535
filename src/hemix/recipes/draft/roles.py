"""Which table holds the examples, and what its columns mean: guesses from names and values."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from hemix.errors import InputError
from hemix.recipes.draft.facts import ColumnFacts, Look, TableFacts

USER_WORDS = frozenset(
    "user customer client member visitor account reader buyer shopper player guest person subscriber uid patron".split()
)
ITEM_WORDS = frozenset(
    "item product article book movie film song track video sku poi venue place app ad advert listing offer recipe game "
    "course hotel restaurant isbn asin post news store title".split()
)
TIME_WORDS = frozenset("time timestamp date datetime at ts when day placed created".split())
VERSION_WORDS = frozenset("valid from since updated changed".split())
LABEL_WORDS = frozenset(
    "label click clicked buy bought purchase purchased order ordered convert converted conversion like liked target y "
    "booked watched installed played saved opened kept accepted finished".split()
)
RATING_WORDS = frozenset("rating ratings rated stars score grade".split())
YES_WORDS = frozenset("1 yes y true t click clicked bought buy ordered purchased kept accepted liked like".split())
EPOCH_UNITS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}
EPOCH_SECONDS = (3e8, 4e9)
OVERLAP = 0.5
RATING_SHARE = 0.75
"""A rating in the upper quarter of its range counts as liked."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Reference:
    """A table with one row per key, or per key and time."""

    table: TableFacts
    key: str
    valid_from: str | None = None


@dataclass(kw_only=True, slots=True)
class Roles:
    """The meaning that was found."""

    examples: TableFacts
    labels: list[dict[str, Any]]
    label_columns: list[str]
    user: str | None
    item: str | None
    time: str | None
    catalog: Reference | None = None
    profiles: Reference | None = None
    logs: list[TableFacts] = field(default_factory=list)
    """Other tables with user, item and time."""
    unused: list[TableFacts] = field(default_factory=list)


def find_roles(look: Look) -> Roles:
    """Raises InputError if no table has a column to learn from."""
    tables = list(look.tables.values())
    scored = [(_example_score(table), table.rows, table) for table in tables]
    examples = max(scored, key=lambda found: found[:2])[2]
    labels, label_columns = find_labels(examples)
    if not labels:
        columns = "; ".join(f"{table.name}: {', '.join(table.columns)}" for table in tables)
        raise InputError(
            "An experiment needs a label: a column of 0 and 1 (or a rating) that says whether the user took the item. "
            f"No column looks like one ({columns}). Add one, with rows for what was shown and not taken, too."
        )
    rest = [column for name, column in examples.columns.items() if name not in label_columns]
    time = find_time(rest)
    rest = [column for column in rest if column.name != time]
    user = _by_words(rest, USER_WORDS)
    item = _by_words([column for column in rest if column.name != user], ITEM_WORDS)
    roles = Roles(examples=examples, labels=labels, label_columns=label_columns, user=user, item=item, time=time)
    for table in tables:
        if table is not examples:
            _place(look, roles, table)
    return roles


def _example_score(table: TableFacts) -> int:
    columns = list(table.columns.values())
    labelled = 4 * bool(find_labels(table)[0])
    return labelled + sum(
        found is not None for found in (find_time(columns), _by_words(columns, USER_WORDS), _by_words(columns, ITEM_WORDS))
    )


def find_labels(table: TableFacts) -> tuple[list[dict[str, Any]], list[str]]:
    """Labels of a table, and the columns that they are made of."""
    binary = [column for column in table.columns.values() if _is_binary(column)]
    named = [column for column in binary if LABEL_WORDS & set(column.words)]
    texts = [column for column in table.columns.values() if column.type == "text" and column.distinct == 2]
    ratings = [
        column
        for column in table.columns.values()
        if RATING_WORDS & set(column.words) and column.is_number and 3 <= column.distinct <= 21
    ]
    if named:
        return [{"name": column.name} for column in named], [column.name for column in named]
    for column in texts:
        yes = [value for value in column.shown if value.lower() in YES_WORDS]
        if LABEL_WORDS & set(column.words) and len(yes) == 1:
            return [{"name": column.name, "sql": f"{column.name} = '{yes[0]}'"}], [column.name]
    if ratings:
        column = ratings[0]
        low, high = column.low or 0.0, column.high or 0.0
        return [{"name": "like", "sql": f"{column.name} >= {low + RATING_SHARE * (high - low):g}"}], [column.name]
    if len(binary) == 1:
        return [{"name": binary[0].name}], [binary[0].name]
    return [], []


def _is_binary(column: ColumnFacts) -> bool:
    whole = column.type == "integer" and (column.low, column.high) == (0, 1)
    return column.distinct == 2 and column.nulls == 0 and (whole or column.type == "boolean")


def find_time(columns: Iterable[ColumnFacts]) -> str | None:
    """A date or time, or a number that can be one; a telling name goes first."""
    found = [
        column
        for column in columns
        if column.type in ("date", "time") or (TIME_WORDS & set(column.words) and epoch_unit(column) is not None)
    ]
    found.sort(key=lambda column: (not TIME_WORDS & set(column.words), column.nulls))
    return found[0].name if found and found[0].nulls == 0 else None


def epoch_unit(column: ColumnFacts) -> str | None:
    """The unit in which a number counts time since 1970, judged by its size; None: it is no such number."""
    if not column.is_number or column.low is None or column.high is None:
        return None
    low, high = EPOCH_SECONDS
    return next((unit for unit, n in EPOCH_UNITS.items() if low * n <= column.low and column.high <= high * n), None)


def _by_words(columns: Iterable[ColumnFacts], words: frozenset[str]) -> str | None:
    """The column that names a thing of this kind: an id first, then the one with the most values."""
    found = [
        column
        for column in columns
        if words & set(column.words) and column.type in ("text", "integer") and column.distinct > 2
    ]
    found.sort(key=lambda column: (not {"id", "key", "code", "no"} & set(column.words), -column.distinct))
    return found[0].name if found else None


def _place(look: Look, roles: Roles, table: TableFacts) -> None:
    """Find what a table is beside the examples: catalog, profiles, another log, or nothing that is known."""
    for role, column in (("catalog", roles.item), ("profiles", roles.user)):
        if column is not None and getattr(roles, role) is None:
            reference = _reference(look, roles.examples, column, table)
            if reference is not None:
                setattr(roles, role, reference)
                return
    has_keys = roles.user in table.columns and roles.item in table.columns
    if roles.user and roles.item and has_keys and find_time(table.columns.values()):
        roles.logs.append(table)
    else:
        roles.unused.append(table)


def _reference(look: Look, examples: TableFacts, column: str, table: TableFacts) -> Reference | None:
    """`table` as one row per value of an example column."""
    candidates = sorted(table.columns.values(), key=lambda found: found.name != column)
    for key in candidates:
        if key.type not in ("text", "integer"):
            continue
        version = None if key.unique else _version(look, table, key.name)
        if not key.unique and version is None:
            continue
        if look.overlap(examples.name, column, table.name, key.name) >= OVERLAP:
            return Reference(table=table, key=key.name, valid_from=version)
    return None


def _version(look: Look, table: TableFacts, key: str) -> str | None:
    """The time from which a row of a key is valid, if there is one per key and time."""
    for column in table.columns.values():
        if column.type in ("date", "time") and VERSION_WORDS & set(column.words):
            return column.name if look.is_unique(table.name, (key, column.name)) else None
    return None
