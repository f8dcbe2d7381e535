"""Which log the histories are read from, and where global and real-time part."""

from dataclasses import dataclass
from typing import Any

import duckdb

from hemix.data.draft.columns import draft_column
from hemix.data.draft.profile import Table, one_row
from hemix.data.draft.roles import Roles, complete_sql
from hemix.data.draft.times import TimeGuess
from hemix.data.sources import quote

RARE_POSITIVES = 0.2
"""Below this rate of label 1 only the positives are worth a place in a history."""
MAX_EVENT_VALUES = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class HistoryGuess:
    """A log of events and how histories are cut out of it."""

    table: Table
    user: str
    item: str
    time: TimeGuess
    where: tuple[str, ...]
    features: tuple[tuple[dict[str, Any], str], ...]
    """Features of the event itself, each with the reason."""
    cut: str
    why: str


def guess_history(connection: duckdb.DuckDBPyConnection, roles: Roles) -> HistoryGuess | None:
    """The history of a user: from a log of its own, else from the earlier examples."""
    if roles.user is None or roles.item is None or roles.time is None or roles.parts:
        return None
    if roles.log is not None:
        log = roles.log
        table, user, item, time = log.table, log.user, log.item, log.time
        where: list[str] = []
        features = _features(connection, table, {user, item, time.column.name})
    else:
        table, user, item, time = roles.examples, roles.user.name, roles.item.name, roles.time
        where, features = _from_examples(roles)
    nulls = [complete_sql(table.column(name)) for name in (user, item)]
    where += [condition for condition in nulls if condition]
    if time.unread:
        where.append(time.readable_sql)
    cut, why = _cut(connection, table, user, time)
    return HistoryGuess(
        table=table, user=user, item=item, time=time, where=tuple(where), features=tuple(features), cut=cut, why=why
    )


def _from_examples(roles: Roles) -> tuple[list[str], list[tuple[dict[str, Any], str]]]:
    """Earlier examples: all of them with their outcome, or the positives alone where those are rare."""
    label = roles.label
    if label.rate < RARE_POSITIVES and not label.is_action:
        return [label.sql or f"{quote(label.source.name)} = 1"], []
    values = {"kind": "categorical", "column": label.source.name}
    return [], [(values, "the outcome of the earlier event; never that of the row itself")]


def _features(connection: duckdb.DuckDBPyConnection, table: Table, taken: set[str]) -> list[tuple[dict[str, Any], str]]:
    """What a log says of an event beside user, item and time."""
    found: list[tuple[dict[str, Any], str]] = []
    for column in table.columns:
        if column.name in taken or (column.is_text and column.distinct > MAX_EVENT_VALUES):
            continue
        drafted = draft_column(connection, column)
        if drafted.values is not None and drafted.values["kind"] in ("categorical", "numeric"):
            found.append(({key: value for key, value in drafted.values.items() if key != "served_as"}, drafted.why))
    return found


def _cut(connection: duckdb.DuckDBPyConnection, table: Table, user: str, time: TimeGuess) -> tuple[str, str]:
    """`same_day` where a usual user comes on several days, else `last_k`."""
    if time.daily:
        return "last_k", "times are days only, so the last 20 events are the real-time side"
    days = one_row(
        connection,
        f"SELECT median(days) FROM (SELECT count(DISTINCT {time.sql} // 86400000000) AS days FROM {table.view} AS t "
        f"WHERE {time.sql} IS NOT NULL GROUP BY t.{quote(user)})",
    )[0]
    if float(days or 0) < 2:
        return "last_k", "most users come on a single day, so the last 20 events are the real-time side"
    return "same_day", f"half of the users come on {float(days):g} days or more: today's events are the real-time side"
