"""Preparing that is killed, or runs out of disk: the old store stays, no half of a new one appears."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from data.refusals import files_below, good_rows
from data.tables import data_config, write_table
from hemix.data import arrays
from hemix.data import prepare as preparing
from hemix.data.manifest import MANIFEST, Manifest
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.errors import StoreError

CSV = {"log": {"path": "log.csv"}}


def litter(folder: Path) -> set[str]:
    """What a store's folder holds beside its manifest and its segment."""
    segments = {segment.folder for segment in Manifest.read(folder).segments}
    return {path.name for path in folder.iterdir()} - segments - {MANIFEST}


def prepare_and_kill(folder: Path, out: str, after: list[float]) -> list[int]:
    """Start preparing over and over in another process, and kill it `after` so many seconds, once for each."""
    ends = []
    for seconds in after:
        process = subprocess.Popen(
            [sys.executable, "-m", "data.killed", str(folder), out],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        assert process.stdout is not None
        with process.stdout:
            assert process.stdout.readline() == b"ready\n"
            time.sleep(seconds)
            process.kill()
            ends.append(process.wait())
    return ends


@pytest.mark.slow
def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Over an old store of the same data: whenever it dies, a whole store with the same hash opens; preparing once more
    leaves nothing behind. Into a fresh folder: either no store, or a whole one.
    """
    write_table(tmp_path / "log.csv", good_rows(3000))
    old = prepare(data_config(tables=CSV), tmp_path / "old", root=tmp_path, threads=1)
    for place in range(8):
        assert prepare_and_kill(tmp_path, "old", [0.1 * place]) == [-signal.SIGKILL]
        assert Store.open(tmp_path / "old", verify=True).hash == old.hash
        prepare_and_kill(tmp_path, f"fresh{place}", [0.08 * place])
        fresh = tmp_path / f"fresh{place}"
        if (fresh / MANIFEST).exists():
            assert Store.open(fresh, verify=True).hash == old.hash
        else:
            with pytest.raises(StoreError, match="No finished store"):
                Store.open(fresh)
        for out in (tmp_path / "old", fresh):
            assert prepare(data_config(tables=CSV), out, root=tmp_path, threads=1).hash == old.hash
            assert litter(out) == set()


class Killed(BaseException):
    """Stands for the end of the process: nothing that catches errors or cleans up may see it."""


def die_in(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, at: int) -> None:
    """Let the call number `at` of a function end the work as a kill would: without any cleaning up."""
    original, calls = getattr(owner, name), [0]

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        if calls[0] == at:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, wrapped)
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)


MOMENTS = {
    "while writing": (preparing, "write_entities", 1),
    "before the segment is in place": (preparing, "_commit", 1),
    "before the manifest is written": (Manifest, "write", 1),
    "before the manifest is in place": (Path, "replace", 2),
    "after the manifest is in place": (preparing.shutil, "rmtree", 99),
}


@pytest.mark.parametrize("fresh", [False, True], ids=["over a store", "into a fresh folder"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_this_moment(tmp_path: Path, moment: str, fresh: bool) -> None:
    write_table(tmp_path / "log.csv", good_rows())
    config, out = data_config(tables=CSV), tmp_path / "store"
    if not fresh:
        prepare(config, out, root=tmp_path, threads=1)
    write_table(tmp_path / "log.csv", good_rows(60))
    old = None if fresh else Store.open(out).hash
    with pytest.MonkeyPatch.context() as monkeypatch:
        die_in(monkeypatch, *MOMENTS[moment])
        if moment.startswith("after"):
            prepare(config, out, root=tmp_path, threads=1)
            old = Store.open(out, verify=True).hash
        else:
            with pytest.raises(Killed):
                prepare(config, out, root=tmp_path, threads=1)
    if old is None:
        with pytest.raises(StoreError, match="No finished store"):
            Store.open(out)
    else:
        assert Store.open(out, verify=True).hash == old
    assert sum(count.rows for count in prepare(config, out, root=tmp_path).manifest.segments[0].splits.values()) == 60
    assert litter(out) == set()


def full_disk(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def full_disk_of_duckdb(*args: Any, **kwargs: Any) -> None:
    raise duckdb.IOException("IO Error: Could not write file: No space left on device")


@pytest.mark.parametrize(
    ("owner", "name", "error"),
    [
        (arrays.ArrayWriter, "append", full_disk),
        (arrays.ArrayWriter, "close", full_disk),
        (arrays.Spool, "append", full_disk),
        (arrays, "sync_folder", full_disk),
        (preparing, "example_queries", full_disk_of_duckdb),
    ],
)
@pytest.mark.parametrize("fresh", [False, True], ids=["over a store", "into a fresh folder"])
def test_the_disk_is_full(tmp_path: Path, owner: Any, name: str, error: Callable[..., None], fresh: bool) -> None:
    write_table(tmp_path / "log.csv", good_rows())
    config, out = data_config(tables=CSV), tmp_path / "store"
    if not fresh:
        prepare(config, out, root=tmp_path, threads=1)
    before = files_below(out)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(owner, name, error)
        with pytest.raises(
            StoreError, match=r"The disk is full while preparing .*store; nothing was changed. Free space"
        ):
            prepare(config, out, root=tmp_path, threads=1)
    assert files_below(out) == before
    assert out.exists() == (not fresh)


LIMITED = """
import resource, signal, sys
from pathlib import Path
from data.refusals import good_rows
from data.tables import data_config, write_table
from hemix.data.prepare import prepare
from hemix.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
folder = Path(sys.argv[1])
try:
    prepare(data_config(tables={"log": {"path": "log.csv"}}), folder / "store", root=folder, threads=1)
except StoreError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="needs resource limits")
@pytest.mark.parametrize("limit", [300_000, 700_000])
def test_files_may_not_grow(tmp_path: Path, limit: int) -> None:
    """A real limit of the system, on all files that preparing writes, DuckDB's own among them."""
    write_table(tmp_path / "log.csv", good_rows(100_000))
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path), str(limit)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert "The disk is full" in done.stdout, done.stdout + done.stderr[-2000:]
    assert not (tmp_path / "store").exists()
