"""Foursquare check-ins of New York and Tokyo (TSMC2014), April 2012 to February 2013.

Tables:
    checkins   user_id, venue_id, time (UTC), utc_offset (minutes), in the order of the file
    venues     venue_id, category_id, category, latitude, longitude: as in the venue's first check-in

D. Yang, D. Zhang, V. W. Zheng, Z. Yu, "Modeling User Activity Preference by Leveraging User Spatial Temporal
Characteristics in LBSNs", IEEE Transactions on Systems, Man, and Cybernetics: Systems 45(1), 2015.
"""

from functools import partial
from pathlib import Path

from hemix.data.public.tables import Converter, read_text

COLUMNS = {
    "user_id": "INTEGER",
    "venue_id": "VARCHAR",
    "category_id": "VARCHAR",
    "category": "VARCHAR",
    "latitude": "DOUBLE",
    "longitude": "DOUBLE",
    "utc_offset": "SMALLINT",
    "utc_time": "VARCHAR",
}
TIME_FORMAT = "%a %b %d %H:%M:%S %z %Y"


def _convert(city: str, raw: Path, out: Path) -> None:
    converter = Converter(out)
    path = raw / f"dataset_TSMC2014_{city}.txt"
    # Category names hold accented letters in latin-1.
    reader = read_text(path, COLUMNS, delimiter="\t", encoding="latin-1")
    time = f"CAST(strptime(utc_time, '{TIME_FORMAT}') AS TIMESTAMPTZ)"
    converter.write("checkins", f"SELECT user_id, venue_id, {time} AS time, utc_offset FROM {reader}", path)
    converter.write(
        "venues",
        "SELECT venue_id, first.category_id, first.category, first.latitude, first.longitude FROM ("
        "SELECT venue_id, arg_min({'category_id': category_id, 'category': category, 'latitude': latitude, "
        f"'longitude': longitude}}, line) AS first FROM (SELECT *, row_number() OVER () AS line FROM {reader}) "
        "GROUP BY venue_id) ORDER BY venue_id",
        path,
    )


convert_nyc = partial(_convert, "NYC")
"""Tables from `dataset_TSMC2014_NYC.txt` (latin-1, eight columns cut at tabs). Raises InputError."""
convert_tky = partial(_convert, "TKY")
"""Tables from `dataset_TSMC2014_TKY.txt`. Raises InputError."""
