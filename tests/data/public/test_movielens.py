"""MovieLens in miniature, written as it is published."""

import re

import duckdb
import pytest

from hemix.data.public.movielens import convert_1m, convert_100k, convert_100k_atomic
from hemix.errors import InputError
from public_miniature import MOVIES, RATINGS, USERS, write_100k, write_atomic


def rows(folder, table, columns):
    return duckdb.execute(f"SELECT {columns} FROM '{folder / f'{table}.parquet'}'").fetchall()


def types(folder, table):
    described = duckdb.execute(f"DESCRIBE SELECT * FROM '{folder / f'{table}.parquet'}'").fetchall()
    return {name: kind for name, kind, *_ in described}


def check_100k(out):
    assert rows(out, "ratings", "user_id, movie_id, rating, timestamp") == RATINGS
    assert rows(out, "users", "user_id, age, gender, occupation, zip") == USERS
    assert rows(out, "movies", "movie_id, title, year, genres") == MOVIES
    assert types(out, "ratings") == {
        "user_id": "INTEGER",
        "movie_id": "INTEGER",
        "rating": "TINYINT",
        "timestamp": "BIGINT",
    }
    assert types(out, "movies") == {
        "movie_id": "INTEGER",
        "title": "VARCHAR",
        "year": "SMALLINT",
        "genres": "VARCHAR[]",
    }


def test_grouplens_100k(tmp_path):
    write_100k(tmp_path / "raw")
    convert_100k(tmp_path / "raw", tmp_path)
    check_100k(tmp_path)


def test_both_sources_of_100k_give_the_same_tables(tmp_path):
    write_atomic(tmp_path / "raw")
    convert_100k_atomic(tmp_path / "raw", tmp_path)
    check_100k(tmp_path)


def test_movielens_1m(tmp_path):
    raw = tmp_path / "raw"
    raw.mkdir()
    (raw / "ratings.dat").write_text("1::1193::5::978300760\n2::661::3::978302109\n")
    (raw / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::55117-1234\n")
    movies = "661::James and the Giant Peach (1996)::Animation|Children's|Musical\n"
    movies += "73::Misérables, Les (1995)::Drama\n9::Odd::\n"
    (raw / "movies.dat").write_text(movies, encoding="latin-1")
    convert_1m(raw, tmp_path)
    assert rows(tmp_path, "ratings", "*") == [(1, 1193, 5, 978300760), (2, 661, 3, 978302109)]
    assert rows(tmp_path, "users", "*") == [(1, "F", 1, 10, "48067"), (2, "M", 56, 16, "55117-1234")]
    assert rows(tmp_path, "movies", "*") == [
        (661, "James and the Giant Peach", 1996, ["Animation", "Children's", "Musical"]),
        (73, "Misérables, Les", 1995, ["Drama"]),
        (9, "Odd", None, []),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("196\t242\t3\t881250949\n186\t302\tfive\t891717742\n", r"Line: 2.*five"),
        ("196\t242\t3\t881250949\n186\t302\n", r"Line: 2.*186\s+302"),
        ("196\t242\t3\t881250949\textra\n", r"Line: 1"),
        ("196,242,3,881250949\n", r"Line: 1"),
        ("", r"empty \(0 bytes\)"),
    ],
)
def test_a_bad_line_is_named(tmp_path, text, message):
    write_100k(tmp_path / "raw")
    (tmp_path / "raw" / "u.data").write_text(text)
    with pytest.raises(InputError, match=re.compile(rf"u\.data .*{message}", re.DOTALL)):
        convert_100k(tmp_path / "raw", tmp_path)


def test_a_missing_file_is_named(tmp_path):
    write_100k(tmp_path / "raw")
    (tmp_path / "raw" / "u.item").unlink()
    with pytest.raises(InputError, match=r"u\.item is missing"):
        convert_100k(tmp_path / "raw", tmp_path)
