import hashlib
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from hemix.data.public import fetch as module
from hemix.data.public.dataset import Digest, RemoteFile, file_digest, silent
from hemix.data.public.fetch import FetchError, fetch

BODY = bytes(range(256)) * 4096


def remote(*urls: str, body: bytes = BODY) -> RemoteFile:
    digest = Digest(algorithm="sha256", value=hashlib.sha256(body).hexdigest(), origin="of the test")
    return RemoteFile(name="file.bin", urls=urls, digests=(digest,))


def test_a_file_is_fetched_and_progress_is_told(web, tmp_path):
    web.files["a"] = BODY
    told = []
    fetch(
        remote(web.url("a")), tmp_path / "deep" / "file.bin", lambda file, done, total: told.append((file, done, total))
    )
    assert (tmp_path / "deep" / "file.bin").read_bytes() == BODY
    assert told[0] == ("file.bin", 0, len(BODY))
    assert told[-1] == ("file.bin", len(BODY), len(BODY))
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["file.bin"]


def test_a_broken_download_goes_on_where_it_broke(web, tmp_path):
    web.files["a"] = BODY
    web.cuts = [1000, 2000]
    fetch(remote(web.url("a")), tmp_path / "file.bin", silent)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert web.ranges == [None, "bytes=1000-", "bytes=3000-"]


def test_a_part_of_an_earlier_call_is_used(web, tmp_path):
    web.files["a"] = BODY
    (tmp_path / "file.bin.part").write_bytes(BODY[:5000])
    fetch(remote(web.url("a")), tmp_path / "file.bin", silent)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert web.ranges == ["bytes=5000-"]


def test_too_many_breaks_keep_the_part_and_say_so(web, tmp_path):
    web.files["a"] = BODY
    web.cuts = [10, 10, 10]
    with pytest.raises(FetchError, match=r"broke off 3 times \(30 of 1048576 bytes came\); what came is kept"):
        fetch(remote(web.url("a")), tmp_path / "file.bin", silent)
    assert (tmp_path / "file.bin.part").read_bytes() == BODY[:30]
    assert not (tmp_path / "file.bin").exists()
    fetch(remote(web.url("a")), tmp_path / "file.bin", silent)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_server_without_ranges_starts_over(web, tmp_path):
    web.files["a"] = BODY
    web.ignore_range = True
    (tmp_path / "file.bin.part").write_bytes(b"x" * 5000)
    fetch(remote(web.url("a")), tmp_path / "file.bin", silent)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_part_of_another_version_is_replaced(web, tmp_path):
    web.files["a"] = BODY
    (tmp_path / "file.bin.part").write_bytes(b"x" * 5000)
    fetch(remote(web.url("a")), tmp_path / "file.bin", silent)
    assert (tmp_path / "file.bin").read_bytes() == BODY
    assert web.ranges == ["bytes=5000-", None]


def test_a_part_as_long_as_the_file_is_replaced(web, tmp_path):
    web.files["a"] = BODY
    (tmp_path / "file.bin.part").write_bytes(b"x" * len(BODY))
    fetch(remote(web.url("a")), tmp_path / "file.bin", silent)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_wrong_checksum_leaves_nothing(web, tmp_path):
    web.files["a"] = b"something else"
    with pytest.raises(FetchError, match=r"must have sha256 [0-9a-f]{64} \(of the test\), this one has"):
        fetch(remote(web.url("a")), tmp_path / "file.bin", silent)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_file_is_not_asked_for_again(web, tmp_path):
    with pytest.raises(FetchError, match="answers 404 Not Found"):
        fetch(remote(web.url("a")), tmp_path / "file.bin", silent)
    assert len(web.ranges) == 1


def test_a_passing_fault_of_the_server_is_retried(web, tmp_path):
    web.files["a"] = BODY
    web.status["a"] = [503, 500]
    fetch(remote(web.url("a")), tmp_path / "file.bin", silent)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_lasting_fault_of_the_server_is_named(web, tmp_path):
    web.status["a"] = [503, 503, 503]
    with pytest.raises(FetchError, match=r"broke off 3 times.*503"):
        fetch(remote(web.url("a")), tmp_path / "file.bin", silent)


def test_no_server_at_all(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(FetchError, match=rf"http://127.0.0.1:{port}/a cannot be reached"):
        fetch(remote(f"http://127.0.0.1:{port}/a"), tmp_path / "file.bin", silent)


def test_the_next_address_is_tried(web, tmp_path):
    web.files["b"] = BODY
    fetch(remote(web.url("a"), web.url("b")), tmp_path / "file.bin", silent)
    assert (tmp_path / "file.bin").read_bytes() == BODY


def test_a_wheel_comes_through_pip_without_a_shell(tmp_path, monkeypatch):
    commands = []

    def pip(command: list[str], *, timeout: float, capture_output: bool, text: bool, check: bool) -> object:
        commands.append(command)
        folder = Path(command[command.index("-d") + 1])
        (folder / "x-1.0-py3-none-any.whl").write_bytes(BODY)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", pip)
    file = RemoteFile(name="x-1.0-py3-none-any.whl", requirement="x==1.0", digests=remote().digests)
    fetch(file, tmp_path / file.name, silent)
    assert (tmp_path / file.name).read_bytes() == BODY
    assert [path.name for path in tmp_path.iterdir()] == [file.name]
    assert commands[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert commands[0][-1] == "x==1.0"


@pytest.mark.parametrize(
    ("outcome", "message"),
    [
        (
            subprocess.CompletedProcess([], 1, "", "WARNING: slow\nERROR: No matching distribution found for x\n"),
            "No matching",
        ),
        (subprocess.CompletedProcess([], 0, "", ""), "no wheel came"),
        (subprocess.TimeoutExpired("pip", 600), "timed out after 600"),
        (FileNotFoundError("no python"), "no python"),
    ],
)
def test_a_failing_pip_is_explained(tmp_path, monkeypatch, outcome, message):
    def pip(command: list[str], *, timeout: float, capture_output: bool, text: bool, check: bool) -> object:
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(subprocess, "run", pip)
    file = RemoteFile(name="x-1.0-py3-none-any.whl", requirement="x==1.0")
    with pytest.raises(FetchError, match=f"pip download --no-deps x==1.0: .*{message}"):
        fetch(file, tmp_path / file.name, silent)
    assert list(tmp_path.iterdir()) == []


def test_a_git_blob_id_is_what_git_says(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"test content\n")
    # printf 'test content\n' | git hash-object --stdin
    assert file_digest(path, "git-blob") == "d670460b4b4aece5915caf5c68d12f560a9fe3e4"
    assert module.ATTEMPTS == 3
