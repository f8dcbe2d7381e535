"""Columns that give the label away."""

import duckdb

from hemix.data.draft.labels import LabelGuess
from hemix.data.draft.profile import Column

SUSPICIOUS_AUC = 0.97
MIN_ROWS = 50
MIN_MINORITY = 10
NUM_BUCKETS = 50
MAX_VALUES = 200


def told_by(connection: duckdb.DuckDBPyConnection, column: Column, label: LabelGuess) -> str | None:
    """Why a column is suspected to hold the label, or None.

    The label is ranked by its rate among the rows with the same value (or in the same fiftieth of a number's range,
    nulls on their own). An AUC of 1 means that the value decides; above SUSPICIOUS_AUC it nearly does.
    """
    many = column.distinct > MAX_VALUES
    if column.is_list or column.kind.startswith(("STRUCT", "MAP", "BLOB")):
        return None
    if many and (column.is_number or column.is_time):
        group = f"CASE WHEN {column.sql} IS NOT NULL THEN ntile({NUM_BUCKETS}) OVER (ORDER BY {column.sql}) END"
    elif many:
        group = f"{column.sql} IS NULL"
    else:
        group = f"coalesce(CAST({column.sql} AS VARCHAR), '')"
    rows = f"SELECT {group} AS g, {label.value_sql} AS y FROM {column.sample} AS t"
    counts = connection.execute(
        f"SELECT CAST(sum(y) AS BIGINT), CAST(count(*) - sum(y) AS BIGINT) FROM ({rows}) WHERE y IS NOT NULL GROUP BY g"
    ).fetchall()
    positives, negatives = (sum(int(count[side]) for count in counts) for side in (0, 1))
    if positives + negatives < MIN_ROWS or min(positives, negatives) < MIN_MINORITY:
        return None
    auc = _auc([(int(p), int(n)) for p, n in counts])
    if auc >= 1.0:
        return "its value decides the label"
    return f"alone it has an AUC of {auc:.3f}" if auc >= SUSPICIOUS_AUC else None


def _auc(groups: list[tuple[int, int]]) -> float:
    """AUC of the rate of positives in the row's group; ties count half.

    >>> _auc([(3, 0), (0, 3)]), _auc([(1, 1), (2, 2)])
    (1.0, 0.5)
    """
    below = wins = 0.0
    for positives, negatives in sorted(groups, key=lambda group: group[0] / (group[0] + group[1])):
        wins += positives * (below + negatives / 2)
        below += negatives
    return wins / (below * sum(positives for positives, _ in groups))
