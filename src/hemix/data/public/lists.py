"""Histories that a published file writes into every row, as ids cut at `^`: in SQL, without taking them apart.

All lists of one user begin the same sequence. So the longest of them is a log, and each row needs to say only how far
it has come in it.
"""

LIST = r"[0-9]+(\^[0-9]+)*"


def is_list(column: str) -> str:
    """Whether a text is ids cut at `^`: one at least."""
    return f"regexp_full_match({column}, '{LIST}')"


def length(column: str) -> str:
    """The number of its ids; an empty text has none."""
    return f"CASE WHEN {column} = '' THEN 0 ELSE 1 + length({column}) - length(replace({column}, '^', '')) END"


def begins(sequence: str, column: str) -> str:
    """Whether a list is the beginning of another; an empty one always is."""
    return f"({column} = '' OR starts_with({sequence} || '^', {column} || '^'))"


def ids(column: str) -> str:
    """The ids, as a list of numbers."""
    return f"CAST(string_split({column}, '^') AS INTEGER[])"
