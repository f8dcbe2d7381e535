"""What the model could learn to predict: a column of 0 and 1, or a condition on a rating or an action."""

from dataclasses import dataclass, replace

import duckdb

from hemix.data.draft.profile import Column, Table, one_row
from hemix.data.draft.words import (
    ACTION_WORDS,
    LABEL_WORDS,
    LATER_WORDS,
    RATING_WORDS,
    TARGET_ACTIONS,
    has_word,
    is_id,
    tokens,
)
from hemix.data.sources import literal, quote

YES = ("yes", "true", "y", "t", "1", "click", "clicked", "buy", "bought", "like", "liked")
RARE, COMMON = 0.0005, 0.9995


@dataclass(frozen=True, kw_only=True, slots=True)
class LabelGuess:
    """A binary target made of one column."""

    name: str
    source: Column
    sql: str | None
    """Condition on the raw row; None: the column is 0 and 1 as it stands."""
    strength: int
    """3 named like an outcome, 2 a rating or an action, 1 a mere guess."""
    why: str
    rate: float = 0.0
    is_action: bool = False
    """It is one of several things that a user may do."""

    @property
    def value_sql(self) -> str:
        """0, 1 or null in the words of the raw row."""
        return f"CAST(({self.sql or quote(self.source.name)}) AS DOUBLE)"


def find_labels(connection: duckdb.DuckDBPyConnection, table: Table) -> list[LabelGuess]:
    """Possible labels of a table, the likeliest first."""
    guesses: list[LabelGuess] = []
    for column in table.columns:
        if column.nulls == column.rows or column.distinct < 2 or is_id(column.name) or column.is_list:
            continue
        found = (
            _binary(column) or _answer(connection, column) or _rating(connection, column) or _action(connection, column)
        )
        if found is not None:
            guesses.append(_measured(connection, found))
    usable = [guess for guess in guesses if RARE <= guess.rate <= COMMON]
    if len([guess for guess in usable if guess.strength == 1]) > 1:
        usable = [guess for guess in usable if guess.strength > 1]
    return sorted(usable, key=lambda guess: (-guess.strength, -guess.rate))


def plain(name: str) -> str:
    """A name of lower-case words.

    >>> plain("Is Clicked?")
    'is_clicked'
    """
    return "_".join(tokens(name)) or "label"


def _measured(connection: duckdb.DuckDBPyConnection, guess: LabelGuess) -> LabelGuess:
    rate = one_row(connection, f"SELECT avg({guess.value_sql}) FROM {guess.source.sample}")[0]
    return replace(guess, rate=float(rate or 0.0))


def _binary(column: Column) -> LabelGuess | None:
    named = has_word(column.name, LABEL_WORDS)
    if column.kind == "BOOLEAN":
        sql, why = None, "true and false"
    elif column.is_number and column.distinct == 2 and (column.low, column.high) == (0, 1):
        sql, why = None, "0 and 1"
    elif column.is_number and column.distinct == 2 and named and float(column.low) <= 0 < float(column.high):
        sql, why = f"{quote(column.name)} > 0", f"{column.low} and {column.high}"
    else:
        return None
    strength = 3 if named else 1
    return LabelGuess(name=plain(column.name), source=column, sql=sql, strength=strength, why=f"holds {why} only")


def _answer(connection: duckdb.DuckDBPyConnection, column: Column) -> LabelGuess | None:
    """A text of two values one of which says yes."""
    if not column.is_text or column.distinct != 2 or not has_word(column.name, LABEL_WORDS):
        return None
    for value in (column.low, column.high):
        if str(value).strip().lower() in YES:
            sql = f"{quote(column.name)} = {literal(str(value))}"
            why = f"{column.low!r} and {column.high!r}"
            return LabelGuess(name=plain(column.name), source=column, sql=sql, strength=3, why=why)
    return None


def _rating(connection: duckdb.DuckDBPyConnection, column: Column) -> LabelGuess | None:
    """A rating: 4 and more of 5; of other scales the value that comes nearest to half of the rows."""
    if not column.is_number or column.not_finite or not 3 <= column.distinct <= 101:
        return None
    if not has_word(column.name, RATING_WORDS):
        return None
    bound = 4.0
    if not 4 < float(column.high) <= 5:
        above = (
            f"(SELECT avg(CAST(other.{quote(column.name)} >= {column.sql} AS DOUBLE)) FROM {column.sample} AS other)"
        )
        least = f"(SELECT min({column.sql}) FROM {column.sample} AS t)"
        values = f"SELECT DISTINCT {column.sql} AS value, {above} AS share FROM {column.sample} AS t"
        query = f"SELECT arg_min(value, abs(0.5 - share)) FROM ({values} WHERE {column.sql} > {least})"
        bound = one_row(connection, query)[0]
    sql = f"{quote(column.name)} >= {float(bound):g}"
    why = f"a rating from {column.low} to {column.high}"
    return LabelGuess(name=f"good_{plain(column.name)}", source=column, sql=sql, strength=2, why=why)


def _action(connection: duckdb.DuckDBPyConnection, column: Column) -> LabelGuess | None:
    """A text that says what was done, in a log where some rows are mere views."""
    if not column.is_text or not 2 <= column.distinct <= 30 or not has_word(column.name, ACTION_WORDS):
        return None
    found = connection.execute(f"SELECT DISTINCT CAST({column.sql} AS VARCHAR) FROM {column.sample} AS t").fetchall()
    values = {"".join(tokens(str(value))): str(value) for (value,) in found if value is not None}
    for action in TARGET_ACTIONS:
        if action in values:
            sql = f"{quote(column.name)} = {literal(values[action])}"
            shown = ", ".join(sorted(values.values())[:6])
            why = f"actions: {shown}"
            return LabelGuess(name=plain(action), source=column, sql=sql, strength=2, why=why, is_action=True)
    return None


def is_outcome(column: Column) -> bool:
    """By its name the column is known only after the request: another outcome, a dwell time, an amount paid."""
    if is_id(column.name):
        return False
    two = column.distinct <= 2 and has_word(column.name, LABEL_WORDS)
    return two or has_word(column.name, LATER_WORDS)
