"""Invented tables of many shapes, as users might bring them: each function writes files and returns them."""

import csv
import json
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

START = datetime(2024, 3, 1, 8, 0, tzinfo=UTC)
Rows = Sequence[dict[str, object]]


def write_csv(path: Path, rows: Rows, delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_jsonl(path: Path, rows: Rows) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_parquet(path: Path, rows: Rows) -> Path:
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path


def shop(folder: Path) -> list[Path]:
    """Impressions with clicks, shoppers with nulls and a repeated key, goods as JSON lines with tags and places."""
    dice = random.Random(1)
    seen = []
    for number in range(1200):
        clicked = int(dice.random() < 0.3)
        when = START + timedelta(minutes=17 * number + dice.randrange(5))
        seen.append(
            {
                "impression": f"i{number}",
                "visitor": f"v{dice.randrange(60)}",
                "sku": f"S-{dice.randrange(80):03}",
                "seen_at": when.strftime("%Y-%m-%d %H:%M:%S"),
                "slot": dice.randrange(5),
                "device": dice.choice(["ios", "web", ""]),
                "basket_value": round(dice.lognormvariate(2, 1), 2),
                "clicked": clicked,
                "dwell_seconds": dice.randrange(1, 300) if clicked else "",
                "lat": 52 + dice.random(),
                "lng": 13 + dice.random(),
                "click_token": f"t{number}" if clicked else "",
                "site": "shop",
                "nothing": "",
            }
        )
    people = [
        {
            "visitor": f"v{number}",
            "signed_up": (START - timedelta(days=dice.randrange(900))).date().isoformat(),
            "last_seen": START.date().isoformat(),
            "age": dice.choice(["", dice.randrange(18, 80)]),
            "country": dice.choice(["de", "fr", "it"]),
            "newsletter": dice.choice(["true", "false"]),
        }
        for number in range(60)
    ]
    goods = [
        {
            "sku": f"S-{number:03}",
            "title": f"Thing number {number}",
            "tags": dice.sample(["a", "b", "c", "d"], dice.randrange(4)),
            "colours": "|".join(dice.sample(["red", "green", "blue"], dice.randrange(1, 4))),
            "price": dice.lognormvariate(3, 1),
            "latitude": 52 + dice.random(),
            "longitude": 13 + dice.random(),
            "description": f"A thing of number {number} that is good for many uses in house and garden and lasts long.",
        }
        for number in range(80)
    ]
    return [
        write_csv(folder / "shoppers.csv", [*people, people[0]]),
        write_csv(folder / "seen.csv", seen),
        write_jsonl(folder / "goods.jsonl", goods),
    ]


def flat(folder: Path) -> list[Path]:
    """One file without users, items or times: numbers with nulls, hashed categories, a label."""
    dice = random.Random(2)
    rows = [
        {"label": int(dice.random() < 0.25)}
        | {f"I{n}": dice.choice(["", int(dice.lognormvariate(2, 2))]) for n in range(4)}
        | {f"C{n}": f"{dice.randrange(10 ** (n + 1)):08x}" for n in range(3)}
        for _ in range(800)
    ]
    return [write_csv(folder / "click log.tsv", rows, delimiter="\t")]


def actions(folder: Path) -> list[Path]:
    """A log of views, carts and transactions with times in milliseconds, and item properties in Parquet."""
    dice = random.Random(3)
    kinds = ["view"] * 8 + ["addtocart", "transaction"]
    rows = [
        {
            "timestamp": int((START + timedelta(hours=number)).timestamp() * 1000),
            "visitorid": dice.randrange(40),
            "event": dice.choice(kinds),
            "itemid": dice.randrange(1000, 1050),
            "transactionid": dice.choice(["", number]),
        }
        for number in range(1500)
    ]
    items = [
        {"itemid": number, "categoryid": number % 7, "available": bool(number % 2)} for number in range(1000, 1060)
    ]
    return [write_csv(folder / "events.csv", rows), write_parquet(folder / "item_properties.parquet", items)]


def ratings(folder: Path) -> list[Path]:
    """Ratings from 1 to 10 with European dates, some of them unreadable, and readers and books of other key names."""
    dice = random.Random(4)
    rows = [
        {
            "reader": dice.randrange(50),
            "isbn": f"{dice.randrange(90):010}X",
            "stars": dice.choice(["", 3.5, 6, 7, 8.5, 10]),
            "when": (START + timedelta(days=number // 5)).strftime("%d.%m.%Y") if number % 97 else "unknown",
        }
        for number in range(1000)
    ]
    readers = [{"id": number, "city": f"c{number % 9}", "zip": f"{number % 30:05}"} for number in range(50)]
    books = [{"ISBN": f"{number:010}X", "author": f"a{number % 13}", "pages": 50 + number * 3} for number in range(90)]
    return [
        write_csv(folder / "book-ratings.csv", rows, delimiter=";"),
        write_csv(folder / "readers.csv", readers),
        write_csv(folder / "books.csv", books),
    ]


def parts(folder: Path) -> list[Path]:
    """Train, validation and test files of the same columns, without times."""
    dice = random.Random(5)

    def rows(count: int) -> Rows:
        return [
            {
                "customer_id": dice.randrange(30),
                "ad_id": dice.randrange(40),
                "hour": dice.randrange(24),
                "click": dice.randrange(2),
            }
            for _ in range(count)
        ]

    names = {"train": 600, "valid": 100, "test": 100}
    return [write_csv(folder / f"{name}.csv", rows(count)) for name, count in names.items()]


def impressions_and_log(folder: Path) -> list[Path]:
    """Impressions of two days in two files with a request key, and a longer log of reads with its own names."""
    dice = random.Random(6)

    def day(start: datetime, count: int) -> Rows:
        found = []
        for number in range(count):
            moment = start + timedelta(minutes=5 * number)
            user = f"u{dice.randrange(25)}"
            found += [
                {
                    "user_id": user,
                    "news_id": f"n{dice.randrange(70)}",
                    "ts": int(moment.timestamp()),
                    "click": dice.randrange(2),
                    "hour of day": moment.hour,
                    'score, "old"': dice.random(),
                    "purchase": 0,
                }
                for _ in range(3)
            ]
        found[0]["purchase"] = 1
        return found

    reads = [
        {
            "userId": f"u{dice.randrange(25)}",
            "newsId": f"n{dice.randrange(70)}",
            "action": dice.choice(["open", "share"]),
            "readAt": (START - timedelta(hours=number)).isoformat(),
        }
        for number in range(900)
    ]
    return [
        write_csv(folder / "imps-1.csv", day(START, 150)),
        write_csv(folder / "imps-2.csv", day(START + timedelta(days=1), 150)),
        write_csv(folder / "reads.csv", reads),
    ]


def awkward_names(folder: Path) -> list[Path]:
    """Columns named like SQL words, with spaces, quotes and accents; a text label; dates as numbers; NaN and lists."""
    dice = random.Random(7)
    rows = [
        {
            "User Id": dice.choice([None, *range(20)]),
            "select": dice.randrange(15),
            "liked": dice.choice(["Yes", "No", None]),
            "day": int((START + timedelta(days=number // 10)).strftime("%Y%m%d")),
            "größe": dice.gauss(0, 1),
            'a "quoted" name': dice.choice(["x", "it's"]),
            "broken": float("nan") if number % 50 == 0 else 1.5 * number,
            "vector": [dice.random() for _ in range(4)],
            "time": f"{number % 24}h",
            "true": dice.randrange(3),
        }
        for number in range(900)
    ]
    things = [{"select": number, "group": number % 4, "time": number} for number in range(15)]
    return [write_parquet(folder / "1st-log.parquet", rows), write_parquet(folder / "select.parquet", things)]


ALL: tuple[Callable[[Path], list[Path]], ...] = (
    shop,
    flat,
    actions,
    ratings,
    parts,
    impressions_and_log,
    awkward_names,
)
