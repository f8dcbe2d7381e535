"""Get a public data set: find or fetch its files, check them, convert them, and say what it is."""

import gzip
import json
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from hemix.data.public.dataset import CHUNK_BYTES, Dataset, Digest, Progress, RemoteFile, Source, file_digest, silent
from hemix.data.public.fetch import FetchError, fetch
from hemix.data.public.registry import DATASETS
from hemix.data.public.tables import Converter
from hemix.errors import InputError, unknown_name

RAW_FOLDER = "raw"
RECORD = "source.json"
CONVERTING = ".converting-"
MAX_MEMBER_BYTES = 32 * 2**30
"""The largest member of a published archive, the log of what Taobao's users did, has 723 million lines of 32 bytes."""
ARCHIVES = (".tar.gz", ".zip", ".whl")


def list_datasets() -> list[Dataset]:
    """The public data sets that are known by name."""
    return list(DATASETS.values())


def get_dataset(name: str, directory: Path, *, progress: Progress = silent) -> Path:
    """Make `directory` hold the tables of a public data set, and return it.

    Files placed by hand in it (or in its folder `raw`) are used; others are fetched. `source.json` is written last and
    records where the tables came from; with it in place and the tables unchanged nothing is done.
    Raises ConfigError for an unknown name, InputError if no source gives the data or a file is not what it must be.
    """
    if name not in DATASETS:
        raise unknown_name("data set", name, DATASETS)
    dataset = DATASETS[name]
    if not is_complete(dataset, directory):
        directory.mkdir(parents=True, exist_ok=True)
        source, files = _obtain(dataset, directory, progress)
        _convert(dataset, source, files, directory)
    return directory


def is_complete(dataset: Dataset, directory: Path) -> bool:
    """Whether `directory` holds this data set's tables as they were written."""
    record = directory / RECORD
    if not record.exists():
        return False
    try:
        known = json.loads(record.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError):
        return False
    if known.get("name") != dataset.name:
        raise InputError(
            f"{directory} already holds the data set {known.get('name')!r}; give {dataset.name!r} another folder."
        )
    tables = {table: directory / f"{table}.parquet" for table in dataset.tables}
    hashes = known.get("tables", {})
    return all(path.exists() and hashes.get(table) == file_digest(path) for table, path in tables.items())


def _obtain(dataset: Dataset, directory: Path, progress: Progress) -> tuple[Source, list[Path]]:
    """The first source whose files are here, else the first that can be fetched."""
    for source in dataset.sources:
        placed = [_placed(file, directory) for file in source.files]
        found = [path for path in placed if path is not None]
        if len(found) == len(source.files):
            for file, path in zip(source.files, found, strict=True):
                _check(file.digests, path)
            return source, found
    problems = []
    for source in dataset.sources:
        try:
            return source, [_fetch_or_take(file, directory, progress) for file in source.files]
        except FetchError as error:
            problems.append(str(error))
    raise InputError(_by_hand(dataset, directory, problems))


def _placed(file: RemoteFile, directory: Path) -> Path | None:
    for path in (directory / RAW_FOLDER / file.name, directory / file.name):
        if path.is_file():
            return path
    return None


def _fetch_or_take(file: RemoteFile, directory: Path, progress: Progress) -> Path:
    path = _placed(file, directory)
    if path is not None:
        _check(file.digests, path)
        return path
    target = directory / RAW_FOLDER / file.name
    fetch(file, target, progress)
    return target


def _check(digests: tuple[Digest, ...], path: Path) -> None:
    for digest in digests:
        digest.check(path)


def _by_hand(dataset: Dataset, directory: Path, problems: list[str]) -> str:
    lines = [f"{dataset.name} could not be fetched:", *(f"  - {problem}" for problem in problems)]
    lines.append("Bring it by hand, from another machine if this one has no network; any one of these is enough:")
    for source in dataset.sources:
        places = [f"{file.address}  ->  {directory / RAW_FOLDER / file.name}" for file in source.files]
        lines.append("  - " + "\n    and ".join(places))
    lines.append("Then run the same command again: it finds the file, checks it, converts it and fetches nothing.")
    return "\n".join(lines)


def _convert(dataset: Dataset, source: Source, files: list[Path], directory: Path) -> None:
    """Write tables beside the final place and move them there when all are right; `source.json` comes last."""
    for leftover in directory.glob(f"{CONVERTING}*"):  # of a process that was killed: as large as the data
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(dir=directory, prefix=CONVERTING) as folder:
        raw, out = Path(folder) / "raw", Path(folder) / "out"
        raw.mkdir()
        out.mkdir()
        _lay_out(source, files, raw)
        source.convert(raw, out)
        _check_rows(dataset, out)
        record = _record(dataset, source, files, out)
        (directory / RECORD).unlink(missing_ok=True)
        for table in dataset.tables:
            (out / f"{table}.parquet").replace(directory / f"{table}.parquet")
    licence = f"{dataset.title}\n{dataset.homepage}\n\nLicence\n{dataset.licence}\n\nCitation\n{dataset.citation}\n"
    (directory / "LICENCE.txt").write_text(licence, encoding="utf-8")
    partial = directory / f".{RECORD}"
    partial.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    partial.replace(directory / RECORD)


def _lay_out(source: Source, files: list[Path], raw: Path) -> None:
    """Put the raw files side by side: members of archives are unpacked, others linked. Raises InputError."""
    archives = [path for path in files if source.members and path.name.endswith(ARCHIVES)]
    for path in files:
        if path in archives:
            _unpack(path, list(source.members), raw)
        else:
            _link(path, raw / path.name)
    for member, digests in source.members.items():
        target = raw / PurePosixPath(member).name
        if not target.exists():
            found = f"{archives[0]} lacks" if len(archives) == 1 else f"None of {', '.join(map(str, archives))} has"
            raise InputError(f"{found} {member}, which the published archive has: get it again.")
        _check(digests, target)


def _unpack(archive: Path, members: list[str], raw: Path) -> None:
    kind, unpack = ("tar.gz", _unpack_tar) if archive.name.endswith(".tar.gz") else ("zip", _unpack_zip)
    try:
        unpack(archive, members, raw)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, gzip.BadGzipFile, EOFError) as error:
        raise InputError(f"{archive} is not a whole {kind} archive ({error}): remove it and get it again.") from None


def _link(path: Path, target: Path) -> None:
    """A second name of a file, which may be larger than what is free; a copy where the file system has no links."""
    try:
        os.link(path.resolve(), target)
    except OSError:
        shutil.copyfile(path, target)


def _unpack_zip(archive: Path, members: list[str], raw: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            member = _member(info.filename, members)
            if member is not None:
                target = _target(archive, member, info.file_size, raw)
                with opened.open(info) as packed, target.open("wb") as stream:
                    shutil.copyfileobj(packed, stream, CHUNK_BYTES)


def _unpack_tar(archive: Path, members: list[str], raw: Path) -> None:
    """In one pass: looking for a member by its name would unpack all that stands before it twice."""
    with gzip.open(archive) as whole:
        with tarfile.open(fileobj=whole, mode="r|", bufsize=CHUNK_BYTES) as opened:
            for info in opened:
                member = _member(info.name, members)
                if member is not None and info.isreg() and (packed := opened.extractfile(info)) is not None:
                    with packed, _target(archive, member, info.size, raw).open("wb") as stream:
                        shutil.copyfileobj(packed, stream, CHUNK_BYTES)
        while whole.read(CHUNK_BYTES):  # the checksum stands at the very end
            continue


def _member(name: str, members: list[str]) -> str | None:
    """The member that stands under a name in an archive, in whatever folder of it."""
    return next((member for member in members if name == member or name.endswith(f"/{member}")), None)


def _target(archive: Path, member: str, size: int, raw: Path) -> Path:
    """Where a member goes: its folder in the archive never decides. Raises InputError for one that is too large."""
    if size > MAX_MEMBER_BYTES:
        raise InputError(f"{archive}: {member} would unpack to {size} bytes, above {MAX_MEMBER_BYTES}.")
    return raw / PurePosixPath(member).name


def _check_rows(dataset: Dataset, out: Path) -> None:
    counter = Converter(out)
    for table, rows in dataset.rows.items():
        found = counter.count(table)
        if found != rows:
            raise InputError(
                f"{dataset.name}: table {table} has {rows} rows as published, these files give {found}: they are "
                "another version, or not whole."
            )


def _record(dataset: Dataset, source: Source, files: list[Path], out: Path) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "source": source.name,
        "files": [
            {"name": file.name, "address": file.address, "sha256": file_digest(path)}
            for file, path in zip(source.files, files, strict=True)
        ],
        "tables": {table: file_digest(out / f"{table}.parquet") for table in dataset.tables},
        "converted": datetime.now(UTC).isoformat(timespec="seconds"),
        "licence": dataset.licence,
        "citation": dataset.citation,
    }
