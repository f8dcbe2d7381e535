"""Avazu: ads in mobile apps and sites that were clicked or not, ten days of the Kaggle challenge of 2014.

Table:
    examples   id, click (0 or 1), hour (its beginning, UTC), and the 21 other columns as published

Names of sites, apps and devices are hashes, kept as text; C1 and C14-C21 are numbers of undisclosed categories. Clicked
and other rows were thinned out at rates that are not published.

Avazu, "Click-Through Rate Prediction", Kaggle, 2014.
"""

from pathlib import Path

from hemix.data.public.tables import Converter, check_gzip, columns_of, fail, flag, read_text

NAMES = (
    "site_id",
    "site_domain",
    "site_category",
    "app_id",
    "app_domain",
    "app_category",
    "device_id",
    "device_ip",
    "device_model",
)
CODES = ("device_type", "device_conn_type", *(f"C{index}" for index in range(14, 22)))
COLUMNS = {
    "id": "VARCHAR",
    "click": "VARCHAR",
    "hour": "VARCHAR",
    "C1": "INTEGER",
    "banner_pos": "INTEGER",
    **dict.fromkeys(NAMES, "VARCHAR"),
    **dict.fromkeys(CODES, "INTEGER"),
}
NAMES_OF_FILE = ("train.gz", "train")
HOUR_FORMAT = "%y%m%d%H"


def convert_avazu(raw: Path, out: Path) -> None:
    """Table from `train.gz`, as published, or `train` (24 columns cut at commas, a header line). Raises InputError."""
    path = next((raw / name for name in NAMES_OF_FILE if (raw / name).exists()), raw / NAMES_OF_FILE[0])
    if path.suffix == ".gz" and path.exists():
        check_gzip(path)
    reader = read_text(path, columns_of(path, COLUMNS), delimiter=",", header=True)
    refused = fail("hour must be written YYMMDDHH, it is", "hour")
    # strptime takes a single digit for the hour, too.
    known = f"length(hour) = 8 AND try_strptime(hour, '{HOUR_FORMAT}') IS NOT NULL"
    hour = f"CASE WHEN {known} THEN strptime(hour, '{HOUR_FORMAT}') ELSE CAST({refused} AS TIMESTAMP) END"
    others = ", ".join(name for name in COLUMNS if name not in ("id", "click", "hour"))
    Converter(out).write(
        "examples",
        f"SELECT id, {flag('click')}, CAST({hour} AS TIMESTAMPTZ) AS hour, {others} "
        f"FROM (SELECT 1 + row_number() OVER () AS line, * FROM {reader})",
        path,
    )
