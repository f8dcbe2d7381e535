"""That bad input is refused with a message a person can act on, and that nothing is half-written."""

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from data.tables import Row, data_config, write_table
from hemix.data.checks import OnBadRows
from hemix.data.prepare import prepare
from hemix.errors import HemixError, InputError

NUM_ROWS = 40


def good_rows(num_rows: int = NUM_ROWS) -> list[Row]:
    """Examples that nothing is wrong with."""
    return [
        {"user": f"u{n % 5}", "item": f"i{n % 7}", "time": 1_700_000_000 + n, "click": n % 2, "price": n / 2}
        for n in range(num_rows)
    ]


def changed(rows: list[Row], number: int, **values: Any) -> list[Row]:
    """The rows with other values in one of them."""
    return [{**row, **values} if place == number else row for place, row in enumerate(rows)]


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file with its content; nothing if there is no folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def expect_refused(
    folder: Path,
    *words: str,
    kind: type[HemixError] = InputError,
    on_bad_rows: OnBadRows = "error",
    **sections: Any,
) -> str:
    """Preparing over an old store raises a `kind` whose message has all `words`, and leaves every file as it was."""
    if not (folder / "store").exists():
        shutil.copytree(good_store(), folder / "store")
    before = files_below(folder / "store")
    with pytest.raises(kind) as caught:
        prepare(data_config(**sections), folder / "store", root=folder, on_bad_rows=on_bad_rows, threads=1)
    message = str(caught.value)
    assert [word for word in words if word not in message] == [], message
    assert files_below(folder / "store") == before
    return message


@cache
def good_store() -> Path:
    """A finished store, made once."""
    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder)
    write_table(folder / "log.parquet", good_rows())
    return prepare(data_config(), folder / "store", root=folder, threads=1).path
