"""Tables of a few columns, and their encoded values read back."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from data.tables import Row, decode_all, make_store
from hemix.batch import FIRST_ID
from hemix.data.store import Store

NUM_ROWS = 60
NAN = float("nan")


def rows_of(**columns: Any) -> list[Row]:
    """Sixty rows of users, items, times and clicks; `columns` are more of them, their values repeated as needed."""
    return [
        {"user": f"u{n}", "item": f"i{n}", "time": 1_700_000_000 + n, "click": n % 2}
        | {name: values[n % len(values)] for name, values in columns.items()}
        for n in range(NUM_ROWS)
    ]


def encoded(folder: Path, rows: list[Row], *features: Row, side: str = "candidate", **sections: Any) -> Store:
    """A store of the rows with these features and no others."""
    sides = {"request": [], "candidate": [], side: list(features)}
    return make_store(folder, {"log": rows}, features=sides, **sections)


def values(store: Store, name: str) -> list[Any]:
    """A field of every row, in the order of the raw table."""
    return [example.values[name] for _, example in sorted(decode_all(store).items())]


def column(store: Store, name: str, split: str = "train", *, serving: bool | None = None) -> np.ndarray:
    """The encoded column of a candidate's field, in the order of the raw table."""
    view = store.split(split, serving=serving)
    requests = np.arange(view.num_requests)
    batch = view.batch(requests)
    spec = next(spec for spec in store.inputs.candidate if spec.name == name)
    numbers = batch.candidates.ids if spec.kind in ("id", "ids") else batch.candidates.numbers
    found = numbers[:, spec.start : spec.start + spec.width].numpy()
    return found[np.argsort(view.origins(requests))]


def md5_id(text: str, buckets: int) -> int:
    return FIRST_ID + int.from_bytes(hashlib.md5(text.encode()).digest()[8:], "little") % buckets
