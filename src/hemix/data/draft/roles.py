"""Which table holds the examples, which ones describe users and items, which columns are their keys."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import duckdb

from hemix.data.draft.labels import LabelGuess, find_labels
from hemix.data.draft.profile import Column, Table, one_row
from hemix.data.draft.times import TimeGuess, find_times
from hemix.data.draft.words import ITEM_WORDS, REQUEST_WORDS, USER_WORDS, has_word, is_id, key_score, stems
from hemix.data.sources import quote
from hemix.errors import InputError

COVERED = 0.5
"""Share of the values of a key that an entity table must know."""
NEARLY_UNIQUE = 0.9
CHECKED_VALUES = 20_000


@dataclass(frozen=True, kw_only=True, slots=True)
class EntityGuess:
    """A table with one row per user or item."""

    table: Table
    key: Column
    column: str
    """Column of the examples that refers to it."""
    covered: float
    twins: int
    """Rows whose key stands in an earlier row."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LogGuess:
    """A table of events: who did something with what, and when."""

    table: Table
    user: str
    item: str
    time: TimeGuess


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """All that was guessed about the tables."""

    examples: Table
    label: LabelGuess
    other_labels: tuple[LabelGuess, ...]
    user: Column | None
    item: Column | None
    time: TimeGuess | None
    other_times: tuple[TimeGuess, ...]
    request: Column | None
    """Tells requests of one user at one time apart."""
    profiles: EntityGuess | None
    catalog: EntityGuess | None
    log: LogGuess | None
    unused: tuple[Table, ...] = ()
    parts: dict[str, Table] = field(default_factory=dict)
    """Tables that hold one split each; empty: one table."""


def guess_roles(connection: duckdb.DuckDBPyConnection, tables: Sequence[Table], parts: dict[str, Table]) -> Roles:
    """Tell the tables apart. Raises InputError if no table has a column that could be a label."""
    labels = {table.name: find_labels(connection, table) for table in tables}
    examples = parts.get("train") or _examples(tables, labels)
    others = [table for table in tables if table.name != examples.name and table not in parts.values()]
    entities = [entity for table in others if (entity := _entity(connection, table, examples))]
    label = labels[examples.name][0]
    user, item = _keys(examples, entities, label)
    times = find_times(connection, examples, [column.name for column in (user, item, label.source) if column])
    profiles, catalog = (_of(entities, column) for column in (user, item))
    used = {entity.table.name for entity in (profiles, catalog) if entity}
    rest = [table for table in others if table.name not in used]
    logs = [log for table in rest if user and item and times and (log := _log(connection, table, examples, user, item))]
    log = max(logs, key=lambda guess: guess.table.rows, default=None)
    return Roles(
        examples=examples,
        label=label,
        other_labels=tuple(labels[examples.name][1:]),
        user=user,
        item=item,
        time=times[0] if times else None,
        other_times=tuple(times[1:]),
        request=_request(connection, examples, user) if times and not parts else None,
        profiles=profiles,
        catalog=catalog,
        log=log,
        unused=tuple(table for table in rest if log is None or table.name != log.table.name),
        parts=parts,
    )


def _examples(tables: Sequence[Table], labels: dict[str, list[LabelGuess]]) -> Table:
    """The table with a label and keys; of several the one with the better label, then the larger one."""
    able = [table for table in tables if labels[table.name]]
    if not able:
        listed = "; ".join(f"{table.name}: {', '.join(column.name for column in table.columns)}" for table in tables)
        raise InputError(
            "A draft needs something to predict: a column of 0 and 1 (label, click, purchase, ...), a rating, or an "
            f"action with views among its values. None of these columns looks like one: {listed}. Rename or add one; "
            "a log of nothing but positives needs rows of what was not chosen (docs/data.md shows the SQL)."
        )

    def fitness(table: Table) -> tuple[int, int, int]:
        columns = [column for column in table.columns if not column.is_key]
        keys = sum(any(key_score(column.name, words) for column in columns) for words in (USER_WORDS, ITEM_WORDS))
        return keys, labels[table.name][0].strength, table.rows

    return max(able, key=fitness)


def _entity(connection: duckdb.DuckDBPyConnection, table: Table, examples: Table) -> EntityGuess | None:
    """The column of `examples` that refers to the nearly unique key of `table`, if there is one."""
    found: list[tuple[int, float, EntityGuess]] = []
    for key in table.columns:
        if key.is_list or key.is_time or table.rows < 2 or key.distinct < NEARLY_UNIQUE * (table.rows - key.nulls):
            continue
        for column in examples.columns:
            likeness = _likeness(key, column, table)
            if column.is_list or column.is_time or column.distinct > 2 * key.distinct + 1000 or not likeness:
                continue
            covered = _covered(connection, column, key)
            if covered >= COVERED:
                twins = key.rows - key.nulls - key.distinct
                guess = EntityGuess(table=table, key=key, column=column.name, covered=covered, twins=twins)
                found.append((likeness, covered, guess))
    return max(found, key=lambda entry: entry[:2])[2] if found else None


def _likeness(key: Column, column: Column, table: Table) -> int:
    """How much two names speak for one meaning: 3 equal, 2 the table's name stands in the column's, 1 both are keys."""
    if stems(key.name) == stems(column.name):
        return 3 if column.is_text or is_id(column.name) or _role(column.name) else 1
    if set(stems(table.name)) & set(stems(column.name)) and (is_id(key.name) or is_id(column.name)):
        return 2
    roles = {_role(column.name)} & {_role(key.name), _role(table.name)} - {None}
    if roles and (is_id(key.name) or _role(key.name)):
        return 2
    return (
        1 if (is_id(key.name) and is_id(column.name)) or (key.is_text and column.is_text and key.distinct > 50) else 0
    )


def _role(name: str) -> str | None:
    user, item = key_score(name, USER_WORDS), key_score(name, ITEM_WORDS)
    return None if not user and not item else "user" if user >= item else "item"


def _covered(connection: duckdb.DuckDBPyConnection, column: Column, key: Column) -> float:
    """Share of the values of `column` that stand in `key`, compared as text like when they are joined."""
    share = one_row(
        connection,
        f"SELECT avg(CAST(k.value IS NOT NULL AS DOUBLE)) FROM (SELECT DISTINCT CAST({column.sql} AS VARCHAR) AS value "
        f"FROM {column.sample} AS t WHERE {column.sql} IS NOT NULL LIMIT {CHECKED_VALUES}) AS c "
        f"LEFT JOIN (SELECT DISTINCT CAST({key.sql} AS VARCHAR) AS value FROM {key.view} AS t) AS k "
        f"ON c.value = k.value",
    )[0]
    return float(share or 0.0)


def _keys(examples: Table, entities: Sequence[EntityGuess], label: LabelGuess) -> tuple[Column | None, Column | None]:
    """The user's and the item's column: by name, then by the tables that describe them."""

    def best(words: frozenset[str], role: str, taken: Column | None) -> Column | None:
        scored: list[tuple[int, int, Column]] = []
        for column in examples.columns:
            if column is taken or column is label.source or column.is_list or column.is_time or column.distinct < 2:
                continue
            described = [e for e in entities if e.column == column.name]
            score = 2 * key_score(column.name, words)
            score += sum(3 for e in described if _role(e.table.name) == role or _role(e.key.name) == role)
            if not score or (not described and not _may_be_key(column)):
                continue
            scored.append((score, column.distinct, column))
        return max(scored, key=lambda entry: entry[:2])[2] if scored else None

    user = best(USER_WORDS, "user", None)
    item = best(ITEM_WORDS, "item", user)
    left = _other_keys(examples, entities, [column for column in (user, item, label.source) if column is not None])
    if user is None and len(left) > (item is None):
        user = left.pop(0)
    if item is None and left:
        item = left.pop(0)
    return user, item


def _other_keys(examples: Table, entities: Sequence[EntityGuess], taken: Sequence[Column]) -> list[Column]:
    """Keys of an unknown thing, described ones first: users are taken to stand before items."""
    described = [entity.column for entity in entities]
    able = [
        column
        for column in examples.columns
        if column.name not in [other.name for other in taken]
        and (column.name in described or (is_id(column.name) and _may_be_key(column)))
        and not has_word(column.name, REQUEST_WORDS)
        and 1 < column.distinct < column.rows / 2
    ]
    return sorted(able, key=lambda column: column.name not in described)


def _request(connection: duckdb.DuckDBPyConnection, examples: Table, user: Column | None) -> Column | None:
    """The key of an impression: rows that share it are of one user."""
    for column in examples.columns:
        named = is_id(column.name) and has_word(column.name, REQUEST_WORDS)
        if user is None or not named or column.nulls or not 1 < column.distinct < column.rows:
            continue
        users = f"SELECT count(DISTINCT {user.sql}) AS users FROM {column.view} AS t GROUP BY {column.sql}"
        if one_row(connection, f"SELECT max(users) FROM ({users})")[0] == 1:
            return column
    return None


def _may_be_key(column: Column) -> bool:
    """A key without a table of its own: whole numbers or texts that recur."""
    return (column.is_text and column.words < 2) or (column.is_number and column.whole)


def _of(entities: Sequence[EntityGuess], column: Column | None) -> EntityGuess | None:
    fitting = [entity for entity in entities if column is not None and entity.column == column.name]
    return max(fitting, key=lambda entity: (entity.covered, len(entity.table.columns)), default=None)


def _log(
    connection: duckdb.DuckDBPyConnection, table: Table, examples: Table, user: Column, item: Column
) -> LogGuess | None:
    """Another table with the same users and items and a time."""
    columns: list[str] = []
    for column, words in ((user, USER_WORDS), (item, ITEM_WORDS)):
        same = [c for c in table.columns if stems(c.name) == stems(column.name)]
        alike = same or [c for c in table.columns if key_score(c.name, words) and not c.is_list and not c.is_time]
        known = [c for c in alike if c.name not in columns and _covered(connection, column, c) >= COVERED / 5]
        if not known:
            return None
        columns.append(known[0].name)
    times = find_times(connection, table, columns)
    return LogGuess(table=table, user=columns[0], item=columns[1], time=times[0]) if times else None


def complete_sql(column: Column) -> str | None:
    """The condition that a key is there, if it is not always."""
    return f"{quote(column.name)} IS NOT NULL" if column.nulls else None
