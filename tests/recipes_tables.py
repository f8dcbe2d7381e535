"""Public data sets in miniature, as the tables that their conversions write: random rows, the right columns."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hemix.data.public.amazon import convert_amazon
from hemix.data.public.avazu import CODES, NAMES
from hemix.data.public.criteo import CATEGORIES, NUMBERS
from hemix.data.public.frappe import CONTEXT, FIELDS
from hemix.data.public.kuairand import COUNTS, ENCRYPTED
from hemix.data.public.kuaivideo import convert_kuaivideo
from hemix.data.public.taobao import convert_taobao
from published_sequences import amazon, kuaivideo, taobao

NUM_USERS, NUM_ITEMS = 12, 15
NUM_IMPRESSIONS = 600
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


def criteo(folder: Path) -> None:
    dice = random.Random(5)
    write(
        folder,
        "examples",
        [
            {"row": n, "label": n % 4 // 3}
            | {name: dice.choice([None, -2, 0, 7, 23_000_000]) for name in NUMBERS}
            | {name: dice.choice([None, "68fd1e64", f"{dice.randrange(40):08x}"]) for name in CATEGORIES}
            for n in range(NUM_IMPRESSIONS)
        ],
    )


def avazu(folder: Path) -> None:
    dice = random.Random(6)
    start = datetime(2014, 10, 21, tzinfo=UTC)
    codes = ("C1", "banner_pos", *CODES)
    write(
        folder,
        "examples",
        [
            {"id": f"{n}", "click": dice.randrange(5) // 4, "hour": start + timedelta(hours=n // 5)}
            | {name: f"{dice.randrange(30):08x}" for name in NAMES}
            | {name: dice.randrange(-1, 6) for name in codes}
            for n in range(NUM_IMPRESSIONS)
        ],
    )


def kuairand(folder: Path) -> None:
    dice = random.Random(7)
    start = datetime(2022, 4, 8, 12, tzinfo=UTC)
    log = [
        {"user_id": dice.randrange(NUM_USERS), "video_id": dice.randrange(NUM_ITEMS), "tab": dice.randrange(3)}
        | {"time": start + timedelta(minutes=50 * (n // 2)), "is_rand": int(n > 400 and n % 2)}
        | {"is_click": (click := dice.randrange(2)), "long_view": click * dice.randrange(2)}
        for n in range(NUM_IMPRESSIONS)
    ]
    users = [
        {"user_id": n, "user_active_degree": "high_active", "is_live_streamer": -124 * (n % 2)}
        | {"is_lowactive_period": 0, "is_video_author": n % 2}
        | {f"{name}_range": f"({n % 3},10]" for name in COUNTS}
        | dict.fromkeys(ENCRYPTED, n % 4 if n % 5 else None)
        for n in range(NUM_USERS)
    ]
    videos = [
        {"video_id": n, "author_id": n // 2, "video_type": "NORMAL", "upload_type": f"t{n % 3}", "music_type": n % 4}
        | {"tag": None if n == 3 else f"{n % 5},{n % 7}", "video_duration": None if n == 4 else 1_000 * n}
        for n in range(NUM_ITEMS)
    ]
    for table, rows in (("log", log), ("users", users), ("videos", videos)):
        write(folder, table, rows)


def converted(files: dict[str, bytes], convert: Callable[[Path, Path], None], folder: Path) -> None:
    """The tables of published files: where they carry histories, rows cannot be drawn one by one."""
    raw = folder / "raw"
    raw.mkdir()
    for name, content in files.items():
        (raw / name).write_bytes(content)
    convert(raw, folder)


TABLES: dict[str, Callable[[Path], None]] = {
    "movielens-100k": movielens,
    "movielens-1m": movielens,
    "frappe": frappe,
    "frappe-log": frappe_log,
    "foursquare-nyc": foursquare,
    "foursquare-tky": foursquare,
    "criteo": criteo,
    "avazu": avazu,
    "kuairand-pure": kuairand,
    "amazon-electronics": lambda folder: converted(amazon(), convert_amazon, folder),
    "taobao-ad": lambda folder: converted(taobao(), convert_taobao, folder),
    "kuaivideo": lambda folder: converted(kuaivideo(), convert_kuaivideo, folder),
}
