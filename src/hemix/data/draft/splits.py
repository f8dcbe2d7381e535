"""How the examples are divided: by the clock where that leaves both labels in every split."""

from dataclasses import dataclass

import duckdb

from hemix.data.draft.roles import Roles
from hemix.data.sources import quote

FRACTIONS = (0.8, 0.1, 0.1)


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitGuess:
    """The kind of split and why; `where` are conditions of usable rows."""

    by: str
    why: str
    where: tuple[str, ...] = ()


def guess_split(connection: duckdb.DuckDBPyConnection, roles: Roles) -> SplitGuess:
    """Given by the files, by time, or by a hash of the request."""
    where = _usable(roles)
    if roles.parts:
        return SplitGuess(by="given", why=f"by the names of the files: {', '.join(roles.parts)}", where=where)
    if roles.time is None:
        return SplitGuess(by="random", why="by a hash of the row: there is no time to split by", where=where)
    condition = " AND ".join(where) or "true"
    train, valid = (sum(FRACTIONS[:end]) for end in (1, 2))
    usable = f"SELECT {roles.time.sql} AS time, {roles.label.value_sql} AS y FROM {roles.examples.view} AS t"
    cuts = f"SELECT quantile_disc(time, {train}) AS a, quantile_disc(time, {valid}) AS b FROM r"
    rows = connection.execute(
        f"WITH r AS ({usable} WHERE {condition}), c AS ({cuts}) SELECT count(DISTINCT y) FROM r, c "
        f"GROUP BY CASE WHEN time < a THEN 0 WHEN time < b THEN 1 ELSE 2 END"
    ).fetchall()
    if len(rows) == 3 and all(int(kinds) == 2 for (kinds,) in rows):
        return SplitGuess(by="time", why="by the clock: the last tenth of the rows is the test split", where=where)
    why = "by a hash of the request: split by time, a part would be empty or hold one label only"
    return SplitGuess(by="random", why=why, where=where)


def _usable(roles: Roles) -> tuple[str, ...]:
    """Conditions of the rows that can be examples: keys, time and label are there."""
    tables = list(roles.parts.values()) or [roles.examples]
    keys = [column for column in (roles.user, roles.item, roles.label.source) if column is not None]
    partial = [key for key in keys if any(table.column(key.name).nulls for table in tables)]
    conditions = [f"{quote(key.name)} IS NOT NULL" for key in partial]
    if roles.time is not None and roles.time.unread:
        conditions.append(roles.time.readable_sql)
    return tuple(conditions)
