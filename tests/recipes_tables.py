"""Public data sets in miniature, as the tables that their conversions write: random rows, the right columns."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hemix.data.public.frappe import CONTEXT, FIELDS

NUM_USERS, NUM_ITEMS = 12, 15
NUM_VENUES = 90
"""More than the places that the recipe draws for each check-in."""


def write(folder: Path, table: str, rows: list[dict[str, object]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), folder / f"{table}.parquet")


def movielens(folder: Path) -> None:
    dice = random.Random(1)
    ratings = [
        {
            "user_id": n % NUM_USERS,
            "movie_id": dice.randrange(NUM_ITEMS),
            "rating": dice.randrange(1, 6),
            "timestamp": 875_000_000 + n // 2,
            "user_complete": n % NUM_USERS != 3,
        }
        for n in range(600)
    ]
    users = [
        {"user_id": n, "gender": "FM"[n % 2], "age": 20 + n, "occupation": f"o{n % 4}", "zip": f"{n:05}"}
        for n in range(NUM_USERS)
    ]
    movies = [
        {"movie_id": n, "title": f"t{n}", "year": None if n == 5 else 1990 + n, "genres": ["a", "b", "c"][: n % 4]}
        for n in range(NUM_ITEMS)
    ]
    for table, rows in (("ratings", ratings), ("users", users), ("movies", movies)):
        write(folder, table, rows)


def frappe(folder: Path) -> None:
    dice = random.Random(2)
    for table, count in (("train", 400), ("valid", 80), ("test", 80)):
        write(
            folder,
            table,
            [
                {"label": n % 3 // 2} | {f: dice.randrange(9) + 10 * k for k, f in enumerate(FIELDS)}
                for n in range(count)
            ],
        )


def frappe_log(folder: Path) -> None:
    dice = random.Random(3)
    log = [
        {"user": dice.randrange(NUM_USERS), "item": dice.randrange(4_082), "cnt": dice.randrange(1, 9)}
        | {name: f"v{dice.randrange(4)}" for name in CONTEXT}
        for _ in range(200)
    ]
    apps = [
        {"item": n, "category": f"c{n % 7}", "developer": f"d{n % 50}", "language": "en", "rating": n % 9 / 2}
        for n in range(4_082)
    ]
    write(folder, "log", log)
    write(folder, "apps", apps)


def foursquare(folder: Path) -> None:
    dice = random.Random(4)
    start = datetime(2012, 4, 3, 18, tzinfo=UTC)
    checkins = [
        {
            "user_id": dice.randrange(NUM_USERS),
            "venue_id": f"v{int(dice.random() ** 2 * NUM_VENUES)}",
            "time": start + timedelta(minutes=40 * (n // 2)),
            "utc_offset": -240,
        }
        for n in range(500)
    ]
    venues = [
        {"venue_id": f"v{n}", "category_id": f"k{n % 5}", "category": f"c{n % 5}"}
        | {"latitude": 40.7 + n / 300, "longitude": -74 + n / 300}
        for n in range(NUM_VENUES)
    ]
    write(folder, "checkins", checkins)
    write(folder, "venues", venues)


TABLES: dict[str, Callable[[Path], None]] = {
    "movielens-100k": movielens,
    "movielens-1m": movielens,
    "frappe": frappe,
    "frappe-log": frappe_log,
    "foursquare-nyc": foursquare,
    "foursquare-tky": foursquare,
}
