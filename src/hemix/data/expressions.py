"""SQL expressions that features are made of."""

from hemix.batch import FIRST_ID
from hemix.data.sources import quote
from hemix.features import TimeColumn

NUM_GAP_BUCKETS = 40
EARTH_DIAMETER_KM = 12742.0176


def time_sql(column: TimeColumn, kind: str, alias: str) -> str:
    """Microseconds since 1970 (UTC) of a time column; null where it cannot be read."""
    value = f"{alias}.{quote(column.column)}"
    if kind.startswith("TIMESTAMP") or kind == "DATE":
        return f"epoch_us(CAST({value} AS TIMESTAMPTZ))"
    if kind == "VARCHAR":
        if column.format is not None:
            pattern = column.format.replace("'", "''")
            return f"epoch_us(CAST(try_strptime({value}, '{pattern}') AS TIMESTAMPTZ))"
        return f"epoch_us(TRY_CAST({value} AS TIMESTAMPTZ))"
    factor = {"s": "* 1000000", "ms": "* 1000", "us": "* 1", "ns": "/ 1000"}[column.unit]
    if kind in ("DOUBLE", "FLOAT"):
        return f"CAST(round({value} {factor}) AS BIGINT)"
    return f"CAST(CAST({value} AS BIGINT) {factor.replace('/', '//')} AS BIGINT)"


def hash_sql(value: str, buckets: int) -> str:
    """Id of a hashed text: the lower half of its MD5, the same on every machine and in every version."""
    return f"CAST({FIRST_ID} + md5_number_lower({value}) % {buckets} AS INTEGER)"


def log_bucket_sql(seconds: str) -> str:
    """Id of a duration: base-2 logarithm of 1 + seconds, cut at `NUM_GAP_BUCKETS`."""
    return f"CAST({FIRST_ID} + least({NUM_GAP_BUCKETS - 1}, floor(log2(1 + greatest(0, {seconds})))) AS INTEGER)"


def point_sql(latitude: str, longitude: str) -> str:
    """A place as a struct of lat and lon (degrees); null if either is."""
    known = f"{latitude} IS NOT NULL AND {longitude} IS NOT NULL"
    return (
        f"CASE WHEN {known} THEN struct_pack(lat := CAST({latitude} AS DOUBLE), lon := CAST({longitude} AS DOUBLE)) END"
    )


def haversine_sql(a: str, b: str) -> str:
    """Great-circle distance in km of two places."""
    lat_a, lon_a, lat_b, lon_b = (f"radians(({point}).{axis})" for point in (a, b) for axis in ("lat", "lon"))
    inner = f"sin(({lat_b} - {lat_a}) / 2) ** 2 + cos({lat_a}) * cos({lat_b}) * sin(({lon_b} - {lon_a}) / 2) ** 2"
    return f"{EARTH_DIAMETER_KM} * asin(least(1, sqrt({inner})))"
