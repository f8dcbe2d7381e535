"""Rules that every raw row must meet, written as SQL; rows that break one stop the work or go to quarantine."""

from collections.abc import Mapping, Sequence
from typing import Literal

import duckdb

from hemix.data.fields import Part
from hemix.data.sources import ROW, BadRow, Sources, literal, quote
from hemix.errors import InputError
from hemix.features import TimeColumn
from hemix.labels import Label

OnBadRows = Literal["error", "quarantine"]
FIRST_ROWS = 50_000
LAST_MICROS = 7_258_118_400_000_000
"""Start of the year 2200: a later time has the wrong unit."""

LARGEST = 3.4e38
"""Of the numbers that a label is stored as."""

Rule = tuple[str, str]
"""A SQL condition that bad rows meet, and a SQL expression of the reason."""


def shown(sql: str) -> str:
    """SQL: a value as it appears in a message."""
    return f"coalesce(left(CAST({sql} AS VARCHAR), 60), 'null')"


def not_null(column: str, sql: str, role: str) -> Rule:
    """A key is there."""
    return f"{sql} IS NULL", literal(f"column {column}: {role} must not be null; fill it in or filter such rows out")


def time_rules(column: TimeColumn, sql: str) -> list[Rule]:
    """A time can be read and lies between 1970 and 2200."""
    form = column.format or "ISO 8601 text, timestamp, or a number with its unit"
    unread = literal(f"column {column.column}: expected a time ({form}), got ")
    hint = f"unit is now {column.unit!r}: is it s, ms, us or ns?"
    outside = literal(f"column {column.column}: a time must lie between 1970 and 2200 ({hint}), got ")
    value = shown(f"t.{quote(column.column)}")
    return [
        (f"{sql} IS NULL", f"{unread} || {value}"),
        (f"{sql} < 0 OR {sql} > {LAST_MICROS}", f"{outside} || {value}"),
    ]


def label_rules(label: Label, sql: str, raw: str, known: str) -> list[Rule]:
    """A label is 0 or 1, that of a regression a number, where it is `known`; `raw` is what it is made of."""
    origin = f"column {label.column}" if label.column else f"SQL {label.sql}"
    if label.kind == "binary":
        wanted, bad = "0 or 1", f"{sql} NOT IN (0, 1)"
    elif label.loss == "log_squared":
        wanted, bad = "a finite number >= 0 (its loss is log_squared)", f"{sql} < 0 OR {sql} > {LARGEST}"
    else:
        wanted, bad = "a finite number", f"abs({sql}) > {LARGEST}"
    reason = f"{literal(f'label {label.name} ({origin}) must be {wanted}, got ')} || {shown(raw)}"
    return [(f"({sql} IS NULL OR NOT isfinite({sql}) OR {bad}) AND {known}", reason)]


def weight_rules(sql: str) -> list[Rule]:
    """A weight is a finite number, not negative."""
    bad = f"{sql} IS NULL OR NOT isfinite({sql}) OR {sql} < 0"
    return [(bad, f"'the weight must be a finite number >= 0, got ' || {shown(sql)}")]


def part_rules(parts: Sequence[Part]) -> list[Rule]:
    """Texts can be read, numbers are finite, places lie on the globe, vectors have their size.

    Numbers are tested with `isfinite`: DuckDB answers `isnan` and comparisons from the statistics of a Parquet file,
    in which NaN does not show.
    """
    rules: list[Rule] = []
    for part in parts:
        if part.raw is not None:
            rules += _read_rules(part, part.raw)
        if part.coding in ("number", "quantile") and not part.joined:
            reason = literal(f"feature {part.name}: NaN or Inf; leave the value empty if it is not known")
            rules.append((f"NOT isfinite({part.sql})", reason))
        elif part.coding == "cell":
            globe = (
                f"isfinite(({part.sql}).lat) AND ({part.sql}).lat BETWEEN -90 AND 90 AND "
                f"isfinite(({part.sql}).lon) AND ({part.sql}).lon BETWEEN -180 AND 180"
            )
            reason = literal(f"feature {part.name}: latitude must be in -90..90 and longitude in -180..180, got ")
            rules.append((f"NOT ({globe})", f"{reason} || {shown(part.sql)}"))
        elif part.coding == "vector":
            missing = f"len(list_filter({part.sql}, lambda v: v IS NULL OR NOT isfinite(v))) > 0"
            reason = literal(f"feature {part.name}: a vector must have {part.width} finite numbers, got ")
            rules.append((f"len({part.sql}) <> {part.width} OR {missing}", f"{reason} || {shown(part.sql)}"))
    return rules


def _read_rules(part: Part, raw: str) -> list[Rule]:
    """A number or time that is there can be read."""
    wanted = "a time" if part.micros else "a number"
    expected = literal(f"feature {part.name}: expected {wanted}, got ")
    rules = [(f"{raw} IS NOT NULL AND {part.micros or part.sql} IS NULL", f"{expected} || {shown(raw)}")]
    if part.micros:
        outside = literal(f"feature {part.name}: a time must lie before 2200 (is its unit right?), got ")
        rules.append((f"abs({part.micros}) > {LAST_MICROS}", f"{outside} || {shown(raw)}"))
    return rules


def reason_sql(rules: Sequence[Rule]) -> str:
    """SQL: why a row is bad, null if it is good."""
    return (
        "CASE " + " ".join(f"WHEN {condition} THEN {reason}" for condition, reason in rules) + " END"
        if rules
        else "NULL"
    )


class RowChecker:
    """Applies rules to views and keeps the rows that break them.

    With `on_bad_rows` ``error`` the first bad row raises InputError; with ``quarantine`` it is kept in `bad_rows`.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, sources: Sources, on_bad_rows: OnBadRows) -> None:
        self._connection = connection
        self._sources = sources
        self._on_bad_rows = on_bad_rows
        self.bad_rows: list[BadRow] = list(sources.bad_rows)
        if on_bad_rows == "error" and self.bad_rows:
            raise InputError(_message(self.bad_rows[0], len(self.bad_rows)))

    def apply(self, table: str, view: str, rules: Sequence[Rule], *, split_by: Mapping[int, str] | None = None) -> None:
        """Check the rows of `view` (whose row numbers are those of the raw `table`) and leave only good ones in it.

        `split_by` maps the parts of a view made of several tables to these tables.
        """
        is_bad, reason = " OR ".join(f"({condition})" for condition, _ in rules) or "false", reason_sql(rules)
        found = self._refuse(table, f"FROM {view} AS t", is_bad, reason, split_by)
        # without bad rows, readers of the view need not look for them again
        where = f"WHERE ({reason}) IS NULL" if found else ""
        self._connection.execute(f"CREATE OR REPLACE VIEW good_{view} AS SELECT * FROM {view} AS t {where}")

    def duplicates(self, table: str, view: str, keys: Sequence[str], place: str) -> None:
        """No two rows of `view` have the same keys; of such rows the first is kept in quarantine mode."""
        listed = ", ".join(keys)
        shown_keys = " || ', ' || ".join(f"coalesce(CAST({key} AS VARCHAR), 'null')" for key in keys)
        reason = literal(f"the {place} must have one row per key; this is another one with key ")
        self._connection.execute(
            f"CREATE OR REPLACE TABLE twins_{view} AS SELECT {ROW}, {reason} || {shown_keys} AS reason FROM "
            f"good_{view} "
            f"QUALIFY row_number() OVER (PARTITION BY {listed} ORDER BY {ROW}) > 1"
        )
        self._refuse(table, f"FROM twins_{view} AS t", "true", "t.reason", None)
        self._connection.execute(
            f"CREATE OR REPLACE VIEW once_{view} AS SELECT * FROM good_{view} AS t ANTI JOIN twins_{view} AS b ON "
            f"t.{ROW} = b.{ROW}"
        )

    def not_all_null(self, table: str, view: str, parts: Sequence[Part]) -> None:
        """A feature without a single value is a mistake. Raises InputError."""
        checked = [part for part in parts if not part.joined]
        counted = "".join(f", count({part.sql})" for part in checked)
        counts = (0,)
        # a look at the first rows spares most tables a pass over all columns
        for limit in (f" LIMIT {FIRST_ROWS}", ""):
            rows = f"(SELECT * FROM {view}{limit})"
            counts = self._connection.sql(f"SELECT count(*){counted} FROM {rows} AS t").fetchall()[0]
            if all(counts):
                return
        if counts[0] == 0:
            raise InputError(f"Table {table!r} has no usable row: it is empty, or 'where' leaves none.")
        for part, count in zip(checked, counts[1:], strict=True):
            if count == 0:
                raise InputError(
                    f"Feature {part.name!r}: its column in table {table!r} is null in all {counts[0]} rows; remove "
                    f"the feature or mend the table."
                )

    def _refuse(self, table: str, source: str, is_bad: str, reason: str, split_by: Mapping[int, str] | None) -> int:
        """Refuse or keep the rows that are bad; returns their number."""
        if not self._connection.sql(f"SELECT 1 {source} WHERE {is_bad} LIMIT 1").fetchall():
            return 0
        limit = "LIMIT 1" if self._on_bad_rows == "error" else ""
        rows = self._connection.sql(
            f"SELECT {ROW}, reason, count(*) OVER () FROM (SELECT t.{ROW}, {reason} AS reason {source}) WHERE "
            f"reason IS NOT NULL ORDER BY {ROW} {limit}"
        ).fetchall()
        for row, why, count in rows:
            name = table if split_by is None else split_by[row >> 52]
            file, place = self._sources.locate(name, row & (2**52 - 1))
            bad = BadRow(table=name, file=file, row=place, reason=str(why))
            if self._on_bad_rows == "error":
                raise InputError(_message(bad, count))
            self.bad_rows.append(bad)
        return len(rows)


def _message(first: BadRow, count: int) -> str:
    more = f" ({count} such rows in all)" if count > 1 else ""
    return f"Bad row in {first}{more}. Mend the rows, or set them aside with --on-bad-rows quarantine."
