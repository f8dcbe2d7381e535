"""SQL expressions that features are made of."""

import hashlib

from hemix.batch import FIRST_ID
from hemix.data.sources import Sources, quote
from hemix.errors import InputError
from hemix.features import TimeColumn

NUM_GAP_BUCKETS = 40
EARTH_DIAMETER_KM = 12742.0176
FRACTIONS = ("DECIMAL", "DOUBLE", "FLOAT")
INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")
NUMBERS = (*FRACTIONS, *INTEGERS, *(f"U{kind}" for kind in INTEGERS))
UNTYPED = ('"NULL"', "JSON")
"""Types of columns that are null in all rows, of Parquet and of JSON lines; in the latter also of mixed values."""
MICROS_PER_UNIT = {"s": 1_000_000, "ms": 1_000, "us": 1}
LAST_INTEGER = 2**63 - 1


def is_number(kind: str) -> bool:
    """Whether a DuckDB type holds one number."""
    return kind.startswith(NUMBERS) and not kind.endswith("]")


def wrong_type(place: str, column: str, table: str, kind: str, wanted: str, fix: str) -> InputError:
    """The error for a column that cannot be what it is declared to be."""
    return InputError(f"{place} needs {wanted} in column {column!r} of table {table!r}, whose type is {kind}; {fix}.")


def time_column(sources: Sources, table: str, column: TimeColumn, place: str, alias: str = "t") -> str:
    """`time_sql` of a column of a table. Raises InputError if the table lacks it or it holds no times."""
    kind = sources.require(table, column.column, place)
    known = kind.startswith(("TIMESTAMP", "DATE", "VARCHAR")) and not kind.endswith("]")
    if not known and not is_number(kind) and kind not in UNTYPED:
        fix = "give a timestamp, a date, a text or a number since 1970"
        raise wrong_type(place, column.column, table, kind, "a time", fix)
    return time_sql(column, kind, alias)


def time_sql(column: TimeColumn, kind: str, alias: str) -> str:
    """Microseconds since 1970 (UTC) of a time column; null where it cannot be read."""
    value = f"{alias}.{quote(column.column)}"
    if kind.startswith(("TIMESTAMP", "DATE")):
        return f"epoch_us(CAST({value} AS TIMESTAMPTZ))"
    if kind in UNTYPED:
        value, kind = f"CAST({value} AS VARCHAR)", "VARCHAR"
    if kind != "VARCHAR":
        return _count_sql(value, column.unit, whole=not kind.startswith(FRACTIONS))
    if column.format is not None:
        pattern = column.format.replace("'", "''")
        return f"epoch_us(CAST(try_strptime({value}, '{pattern}') AS TIMESTAMPTZ))"
    # one text among the numbers of a CSV column makes texts of them all
    counted = _count_sql(f"TRY_CAST({value} AS DOUBLE)", column.unit, whole=False)
    return f"coalesce(epoch_us(TRY_CAST({value} AS TIMESTAMPTZ)), {counted})"


def _count_sql(value: str, unit: str, *, whole: bool) -> str:
    """Microseconds of a count of `unit`; one beyond 64 bits becomes the greatest integer, which no time reaches."""
    number = f"CAST({value} AS {'HUGEINT' if whole else 'DOUBLE'})"
    if unit == "ns":
        limit, micros = LAST_INTEGER, f"{number} {'//' if whole else '/'} 1000"
    else:
        limit, micros = LAST_INTEGER // MICROS_PER_UNIT[unit], f"{number} * {MICROS_PER_UNIT[unit]}"
    fits = f"{number} BETWEEN -{limit} AND {limit}" + ("" if whole else f" AND isfinite({number})")
    return f"CASE WHEN {fits} THEN CAST({micros} AS BIGINT) WHEN {value} IS NOT NULL THEN {LAST_INTEGER} END"


def number_sql(value: str, kind: str) -> str:
    """A number as DOUBLE; null for a text that is none."""
    return f"{'TRY_CAST' if kind == 'VARCHAR' else 'CAST'}({value} AS DOUBLE)"


def text_sql(value: str, kind: str) -> str:
    """The text by which a value is known. A whole number is written alike whatever type holds it: 4, not 4.0.

    NaN is no value but a null: many tools write it where a column of whole numbers has a gap.
    """
    if not kind.startswith(FRACTIONS):
        return f"CAST({value} AS VARCHAR)"
    number = f"CAST({value} AS DOUBLE)" if kind.startswith("DECIMAL") else value
    whole = f"isfinite({number}) AND {number} = trunc({number}) AND abs({number}) < 1e15"
    text = f"nullif(CAST({number} AS VARCHAR), 'nan')"
    return f"CASE WHEN {whole} THEN CAST(CAST({number} AS BIGINT) AS VARCHAR) ELSE {text} END"


def exact_text_sql(value: str, *, many: bool = False) -> str:
    """A text that only equal values have, the same in every version of DuckDB, unlike the texts of lists.

    Texts that are written one after the other cannot be confused, since each begins with its length.
    """
    if many:
        cells = f"array_to_string(list_transform({value}, lambda v: {exact_text_sql('v')}), '')"
        return f"coalesce(len({value}) || '[' || {cells}, '-')"
    text = f"CAST({value} AS VARCHAR)"
    return f"coalesce(strlen({text}) || ':' || {text}, '-')"


def hash_sql(value: str, buckets: int) -> str:
    """Id of a hashed text: the last 8 bytes of its MD5, the same on every machine and in every version."""
    return f"CAST({FIRST_ID} + md5_number_lower({value}) % {buckets} AS INTEGER)"


def hash_id(text: str, buckets: int) -> int:
    """What `hash_sql` computes.

    >>> hash_id("a", 50)
    40
    """
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return FIRST_ID + int.from_bytes(digest[8:], "little") % buckets


def log_bucket_sql(seconds: str) -> str:
    """Id of a duration: base-2 logarithm of 1 + seconds, cut at `NUM_GAP_BUCKETS`; null if it is not known."""
    bucket = f"least({NUM_GAP_BUCKETS - 1}, floor(log2(1 + greatest(0, {seconds}))))"
    # greatest and least pass over nulls
    return f"CASE WHEN {seconds} IS NOT NULL THEN CAST({FIRST_ID} + {bucket} AS INTEGER) END"


def point_sql(latitude: str, longitude: str) -> str:
    """A place as a struct of lat and lon (degrees); null if either is."""
    known = f"{latitude} IS NOT NULL AND {longitude} IS NOT NULL"
    return (
        f"CASE WHEN {known} THEN struct_pack(lat := CAST({latitude} AS DOUBLE), lon := CAST({longitude} AS DOUBLE)) END"
    )


def haversine_sql(a: str, b: str) -> str:
    """Great-circle distance in km of two places; null if one is not known."""
    lat_a, lon_a, lat_b, lon_b = (f"radians(({point}).{axis})" for point in (a, b) for axis in ("lat", "lon"))
    inner = f"sin(({lat_b} - {lat_a}) / 2) ** 2 + cos({lat_a}) * cos({lat_b}) * sin(({lon_b} - {lon_a}) / 2) ** 2"
    return f"{EARTH_DIAMETER_KM} * asin(sqrt(CASE WHEN {inner} > 1 THEN 1 ELSE {inner} END))"
