"""Bring one file here: over https, resumable, or out of a package index by pip. Whole and checked, or not at all."""

import http.client
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from hemix.data.public.dataset import CHUNK_BYTES, Progress, RemoteFile
from hemix.errors import InputError

TIMEOUT_SECONDS = 20.0
PIP_TIMEOUT_SECONDS = 600.0
ATTEMPTS = 3
RETRY_PAUSE_SECONDS = 0.5
LASTING_STATUS = frozenset({400, 401, 403, 404, 405, 410, 451})


class FetchError(Exception):
    """One address did not give the file; another may."""


def fetch(file: RemoteFile, target: Path, progress: Progress) -> None:
    """Write `file` to `target`, after its checksums held.

    A download that breaks off leaves `<target>.part` and goes on from there, in this call or the next.
    Raises FetchError if no address answers with the file that it must be.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if file.requirement is not None:
        _fetch_wheel(file, target, progress)
        return
    if file.page is not None:
        raise FetchError(f"{file.name} is behind a page whose terms only a person can accept")
    problems = []
    for url in file.urls:
        try:
            _fetch_url(file, url, target, progress)
        except FetchError as error:
            problems.append(str(error))
        else:
            return
    raise FetchError("; ".join(problems))


def _fetch_url(file: RemoteFile, url: str, target: Path, progress: Progress) -> None:
    part = target.with_name(target.name + ".part")
    resumed = part.exists() and part.stat().st_size > 0
    _download(file, url, part, progress)
    try:
        _accept(file, part, target)
    except FetchError:
        if not resumed:
            raise
        # The beginning may have come from another version of the file: once more, from the first byte.
        _download(file, url, part, progress)
        _accept(file, part, target)


def _accept(file: RemoteFile, part: Path, target: Path) -> None:
    try:
        for digest in file.digests:
            digest.check(part)
    except InputError as error:
        part.unlink()
        raise FetchError(str(error)) from None
    part.replace(target)


def _download(file: RemoteFile, url: str, part: Path, progress: Progress) -> None:
    """Fill `part`; a broken connection is taken up again where it broke, at most ATTEMPTS times."""
    problem: Exception | None = None
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(RETRY_PAUSE_SECONDS * 2**attempt)
        try:
            _download_rest(file, url, part, progress)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in LASTING_STATUS:
                raise FetchError(f"{url} answers {error.code} {error.reason}") from None
            if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)
            problem = error
        except urllib.error.URLError as error:
            raise FetchError(f"{url} cannot be reached: {error.reason}") from None
        except (OSError, http.client.HTTPException) as error:
            problem = error
        else:
            return
    raise FetchError(f"{url} broke off {ATTEMPTS} times ({problem}); what came is kept for the next try")


def _download_rest(file: RemoteFile, url: str, part: Path, progress: Progress) -> None:
    start = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "hemix", "Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response:
        if response.status != http.client.PARTIAL_CONTENT:
            start = 0  # the server sends the whole file
        length = response.headers.get("Content-Length")
        total = start + int(length) if length is not None else None
        done = start
        progress(file.name, done, total)
        with part.open("ab" if start else "wb") as stream:
            while chunk := response.read(CHUNK_BYTES // 8):
                stream.write(chunk)
                done += len(chunk)
                progress(file.name, done, total)
            stream.flush()
            os.fsync(stream.fileno())
    if total is not None and done < total:
        raise ConnectionError(f"{done} of {total} bytes came")


def _fetch_wheel(file: RemoteFile, target: Path, progress: Progress) -> None:
    progress(file.name, 0, None)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "-q"]
        command += ["--disable-pip-version-check", "-d", folder, file.requirement or ""]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_TIMEOUT_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise FetchError(f"{file.address}: {error}") from None
        wheel = Path(folder) / file.name
        if done.returncode != 0 or not wheel.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()] or ["no wheel came"]
            raise FetchError(f"{file.address}: {lines[-1].strip()}")
        size = wheel.stat().st_size
        _accept(file, wheel, target)
    progress(file.name, size, size)
