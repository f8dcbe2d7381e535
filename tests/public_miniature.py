"""MovieLens-100K in miniature, written as its two sources publish it."""

from pathlib import Path

from hemix.data.public.movielens import GENRES_100K

RATINGS = [(196, 242, 3, 881250949), (186, 302, 5, 891717742), (196, 267, 1, 881250949)]
USERS = [(186, 39, "F", "executive", "00000"), (196, 49, "M", "writer", "T8H1N")]
MOVIES = [
    (242, "Kolya", 1996, ["Comedy"]),
    (302, "Misérables, Les", 1995, ["Drama", "Musical"]),
    (267, "unknown", None, ["unknown"]),
    (1412, "Land Before Time III", 1995, ["Animation", "Children's"]),
]


def write_100k(raw: Path) -> None:
    raw.mkdir()
    (raw / "u.data").write_text("".join(f"{u}\t{m}\t{r}\t{t}\n" for u, m, r, t in RATINGS))
    (raw / "u.user").write_text("".join("|".join(map(str, user)) + "\n" for user in USERS))
    lines = []
    for movie, title, year, genres in MOVIES:
        shown = title if year is None else f"{title} ({year})" + (" (V)" if movie == 1412 else "")
        flags = "|".join("1" if genre in genres else "0" for genre in GENRES_100K)
        released = "" if year is None else f"01-Jan-{year + 2}"  # the date is of the video or the US start
        lines.append(f"{movie}|{shown}|{released}||http://us.imdb.com/M/title-exact?{title[:3]}|{flags}\n")
    (raw / "u.item").write_text("".join(lines), encoding="latin-1")


def write_atomic(raw: Path) -> None:
    raw.mkdir()
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    (raw / "ml-100k.inter").write_text(header + "".join(f"{u}\t{m}\t{r}\t{t}\n" for u, m, r, t in RATINGS))
    header = "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n"
    (raw / "ml-100k.user").write_text(header + "".join("\t".join(map(str, user)) + "\n" for user in USERS))
    lines = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"]
    for movie, title, year, genres in MOVIES:
        shown, released = (f"{title} ({year})", "V") if movie == 1412 else (title, year or title)
        lines.append(f"{movie}\t{shown}\t{released}\t{' '.join(genres)}\n")
    (raw / "ml-100k.item").write_text("".join(lines), encoding="utf-8")
