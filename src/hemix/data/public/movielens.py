"""MovieLens-100K and MovieLens-1M: ratings, users and movies from the formats they are published in.

Tables (both sizes, all sources):
    ratings   user_id, movie_id, rating (1-5), timestamp (seconds since 1970, UTC); in the order of the file
    users     user_id, gender, age, occupation, zip
    movies    movie_id, title, year (of the title; null where it has none), genres (list)

F. M. Harper and J. A. Konstan, "The MovieLens Datasets: History and Context", ACM TiiS 5(4), 2015.
"""

from pathlib import Path

from hemix.data.public.tables import Converter, read_text

GENRES_100K = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""Order of the 19 flags of `u.item`, as in `u.genre`."""

RATINGS = {"user_id": "INTEGER", "movie_id": "INTEGER", "rating": "TINYINT", "timestamp": "BIGINT"}
YEAR = r"\((\d{4})\)"
TITLE_END = r"\s*\(\d{4}\)\s*(\(V\))?\s*$"


def _movie(title: str, year: str, genres: str) -> str:
    """Columns of `movies` from SQL expressions for the published title, its year and the list of genres."""
    return (
        f"movie_id, regexp_replace({title}, '{TITLE_END}', '') AS title, "
        f"CAST({year} AS SMALLINT) AS year, {genres} AS genres"
    )


def _year_of(title: str) -> str:
    return f"nullif(regexp_extract({title}, '{YEAR}\\s*(\\(V\\))?\\s*$', 1), '')"


def convert_100k(raw: Path, out: Path) -> None:
    """Tables from GroupLens' `u.data`, `u.user`, `u.item` (latin-1; 19 genre flags). Raises InputError."""
    converter = Converter(out)
    data, user, item = raw / "u.data", raw / "u.user", raw / "u.item"
    converter.write("ratings", f"SELECT * FROM {read_text(data, RATINGS, delimiter=chr(9))}", data)
    users = {"user_id": "INTEGER", "age": "SMALLINT", "gender": "VARCHAR", "occupation": "VARCHAR", "zip": "VARCHAR"}
    reader = read_text(user, users, delimiter="|", encoding="latin-1")
    converter.write("users", f"SELECT user_id, gender, age, occupation, zip FROM {reader}", user)
    movies = {"movie_id": "INTEGER", "title": "VARCHAR", "released": "VARCHAR", "video": "VARCHAR", "url": "VARCHAR"}
    flags = {f"genre_{index}": "TINYINT" for index in range(len(GENRES_100K))}
    names = ", ".join(
        f"CASE WHEN genre_{index} = 1 THEN '{genre.replace(chr(39), chr(39) * 2)}' END"
        for index, genre in enumerate(GENRES_100K)
    )
    genres = f"list_filter([{names}], lambda genre: genre IS NOT NULL)"
    reader = read_text(item, movies | flags, delimiter="|", encoding="latin-1")
    converter.write("movies", f"SELECT {_movie('title', _year_of('title'), genres)} FROM {reader}", item)


def convert_100k_atomic(raw: Path, out: Path) -> None:
    """Tables from RecBole's atomic files `ml-100k.inter`, `.user`, `.item` (UTF-8, a typed header). Raises InputError.

    Its titles lack the year, which is a column of its own; one movie has "V" there (a video) and the year in its title.
    """
    converter = Converter(out)
    inter, user, item = (raw / f"ml-100k.{kind}" for kind in ("inter", "user", "item"))
    converter.write("ratings", f"SELECT * FROM {read_text(inter, RATINGS, delimiter=chr(9), header=True)}", inter)
    users = {"user_id": "INTEGER", "age": "SMALLINT", "gender": "VARCHAR", "occupation": "VARCHAR", "zip": "VARCHAR"}
    reader = read_text(user, users, delimiter="\t", header=True)
    converter.write("users", f"SELECT user_id, gender, age, occupation, zip FROM {reader}", user)
    movies = {"movie_id": "INTEGER", "title": "VARCHAR", "released": "VARCHAR", "class": "VARCHAR"}
    year = f"coalesce(try_cast(released AS SMALLINT), CAST({_year_of('title')} AS SMALLINT))"
    reader = read_text(item, movies, delimiter="\t", header=True)
    converter.write("movies", f"SELECT {_movie('title', year, _split('class', ' '))} FROM {reader}", item)


def convert_1m(raw: Path, out: Path) -> None:
    """Tables from GroupLens' `ratings.dat`, `users.dat`, `movies.dat` (latin-1, cut at `::`). Raises InputError.

    Age and occupation are codes, as published: age 1, 18, 25, 35, 45, 50, 56 is the lower end of a range.
    """
    converter = Converter(out)
    ratings, users, movies = (raw / f"{name}.dat" for name in ("ratings", "users", "movies"))
    converter.write("ratings", f"SELECT * FROM {read_text(ratings, RATINGS, delimiter='::')}", ratings)
    columns = {"user_id": "INTEGER", "gender": "VARCHAR", "age": "SMALLINT", "occupation": "SMALLINT", "zip": "VARCHAR"}
    reader = read_text(users, columns, delimiter="::", encoding="latin-1")
    converter.write("users", f"SELECT * FROM {reader}", users)
    columns = {"movie_id": "INTEGER", "title": "VARCHAR", "class": "VARCHAR"}
    reader = read_text(movies, columns, delimiter="::", encoding="latin-1")
    converter.write(
        "movies", f"SELECT {_movie('title', _year_of('title'), _split('class', '|'))} FROM {reader}", movies
    )


def _split(column: str, delimiter: str) -> str:
    return f"coalesce(string_split(nullif({column}, ''), '{delimiter}'), [])"
