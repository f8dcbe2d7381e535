"""That bad input is refused with a message a person can act on, and that nothing is half-written."""

from pathlib import Path
from typing import Any

import pytest

from data.tables import Row, data_config, write_table
from hemix.data.checks import OnBadRows
from hemix.data.prepare import prepare
from hemix.data.store import Store
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


def refused(
    folder: Path,
    *words: str,
    kind: type[HemixError] = InputError,
    on_bad_rows: OnBadRows = "error",
    **sections: Any,
) -> str:
    """Preparing raises a `kind` whose message has all `words`; a fresh target stays absent, an old store as it was."""
    config = data_config(**sections)
    old = good_store(folder)
    before = files_below(old.path)
    messages = []
    for out in (folder / "fresh", old.path):
        with pytest.raises(kind) as caught:
            prepare(config, out, root=folder, on_bad_rows=on_bad_rows, threads=1)
        messages.append(str(caught.value).replace(str(out), "OUT"))
    assert messages[0] == messages[1]
    assert [word for word in words if word not in messages[0]] == [], messages[0]
    assert not (folder / "fresh").exists()
    assert files_below(old.path) == before
    assert Store.open(old.path, verify=True).hash == old.hash
    return messages[0]


def good_store(folder: Path) -> Store:
    """A finished store in a folder of its own."""
    (folder / "old").mkdir(exist_ok=True)
    write_table(folder / "old" / "log.parquet", good_rows())
    return prepare(data_config(), folder / "old" / "store", root=folder / "old", threads=1)
