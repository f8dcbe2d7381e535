"""Writes an invented bookshop: offers.csv (which reader saw which book, and bought it or not) and books.csv.

Run: python examples/bookshop.py [FOLDER]. Readers like two genres each; the same 12,000 offers each time.
"""

import csv
import math
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

GENRES = ("cooking", "crime", "fantasy", "history", "poetry", "science", "travel")
Book = dict[str, str | int | float | None]


def make_books(draw: random.Random) -> list[Book]:
    return [
        {
            "isbn": f"978-{number:04d}",
            "genres": "|".join(draw.sample(GENRES, draw.choice((1, 1, 2)))),
            "price_eur": None if draw.random() < 0.05 else round(draw.lognormvariate(2.6, 0.5), 2),
            "published": draw.randint(1950, 2024),
        }
        for number in range(400)
    ]


def make_offers(draw: random.Random, books: list[Book]) -> list[tuple[str, str, str, str, int]]:
    offers = []
    appeal = {book["isbn"]: draw.gauss(0, 0.8) for book in books}
    for reader in range(300):
        liked, channel = set(draw.sample(GENRES, 2)), draw.choice(("app", "web", "mail", ""))
        time = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=60 * draw.random())
        for _ in range(draw.randint(4, 36)):
            time += timedelta(hours=draw.expovariate(1 / 40))
            for book in draw.sample(books, draw.randint(1, 3)):
                matches = len(liked & set(str(book["genres"]).split("|")))
                score = appeal[book["isbn"]] + 2.2 * matches - 0.05 * float(book["price_eur"] or 14) - 1.2
                bought = int(draw.random() < 1 / (1 + math.exp(-score)))
                offers.append((time.isoformat("T", "seconds"), f"R{reader:03d}", str(book["isbn"]), channel, bought))
    return sorted(offers)


def main(folder: Path) -> None:
    draw = random.Random(7)
    books = make_books(draw)
    with (folder / "books.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(books[0]))
        writer.writeheader()
        writer.writerows(books)
    with (folder / "offers.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("shown_at", "reader_no", "isbn", "channel", "bought"))
        rows.writerows(make_offers(draw, books))


if __name__ == "__main__":
    main(Path(*sys.argv[1:2]))
