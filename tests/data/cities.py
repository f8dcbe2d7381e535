"""A small town of places and check-ins, and what drawn candidates must be there, computed row by row."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data.tables import Row, make_store
from hemix.batch import Batch
from hemix.data.store import SplitView, Store

NUM_PLACES = 40
NUM_VISITS = 400
HOUR = 3600
START = 1_700_000_000 // HOUR * HOUR


def places() -> list[Row]:
    """Places in two quarters about 20 km apart."""
    dice = np.random.default_rng(5)
    return [
        {
            "place": f"p{n}",
            "number": float(n),
            "lat": 40.7 + 0.2 * (n % 2) + float(dice.normal(0, 0.01)),
            "lon": -74.0 + float(dice.normal(0, 0.01)),
        }
        for n in range(NUM_PLACES)
    ]


def visits(num_rows: int = NUM_VISITS, seed: int = 0) -> list[Row]:
    """Check-ins on whole hours, some of one user at the same hour; low numbers are popular.

    Where the user was follows from user and hour, and is not always known.
    """
    dice = np.random.default_rng(seed)
    rows: list[Row] = []
    for _ in range(num_rows):
        user, hour = int(dice.integers(6)), int(dice.integers(num_rows))
        rows.append(
            {
                "user": f"u{user}",
                "place": f"p{int(NUM_PLACES * dice.random() ** 2)}",
                "time": START + HOUR * hour,
                "lat": 40.7 + 0.1 * math.sin(hour + user),
                "lon": None if (hour + user) % 9 == 0 else -74.0 + 0.1 * math.cos(hour * 7),
            }
        )
    return rows


def sections(**changed: Any) -> dict[str, Any]:
    window = {"kind": "window_count", "events": "log", "days": 3, "transform": "none"}
    return {
        "examples": {"table": "log", "user": "user", "item": "place", "time": "time"},
        "labels": [{"name": "visit", "sql": "true"}],
        "catalog": {"table": "places", "key": "place"},
        "events": {"log": {"table": "log", "user": "user", "item": "place", "time": "time"}},
        "negatives": {"kind": "uniform", "num": 8},
        "histories": {"all": {"events": "log"}},
        "history_delay": 1800,
        "timezone": "UTC",
        "features": {
            "request": [
                {"kind": "categorical", "column": "user"},
                {"kind": "geo", "name": "here", "latitude": "lat", "longitude": "lon", "resolutions": [5],
                 "source": "examples"},
            ],
            "candidate": [
                {"kind": "numeric", "column": "number", "transform": "none"},
                {"kind": "geo", "name": "there", "latitude": "lat", "longitude": "lon", "source": "catalog"},
                {**window, "name": "visits", "by": "item"},
                {**window, "name": "of_user", "by": "user"},
            ],
            "pair": [
                {"kind": "timestamp"},
                {**window, "name": "own", "by": "user_item"},
                {"kind": "distance", "name": "km", "origin": "here", "target": "there"},
            ],
        },
        "split": {"by": "time"},
        **changed,
    }  # fmt: skip


def city(folder: Path, log: list[Row] | None = None, **changed: Any) -> Store:
    return make_store(folder, {"log": visits() if log is None else log, "places": places()}, **sections(**changed))


@dataclass(frozen=True, slots=True)
class Candidate:
    """One row of a batch, decoded."""

    request: int
    user: str
    time: int
    place: int
    label: float
    weight: float
    values: dict[str, float]


def candidates(view: SplitView, batch: Batch) -> Iterator[Candidate]:
    """The rows of a batch; numbers are scaled back."""
    store = view.store
    fields = {field.name: field for field in store.inputs.candidate}
    user = store.inputs.request[0]
    names = store.encoder.vocabularies[user.table or ""].values.to_pylist()
    assert batch.labels is not None
    assert batch.weights is not None
    request_of_row = np.repeat(np.arange(len(batch.requests.users)), np.diff(batch.offsets.numpy()))
    for row, request in enumerate(request_of_row.tolist()):
        values = {}
        for name, field in fields.items():
            is_id = field.kind == "id"
            value = float((batch.candidates.ids if is_id else batch.candidates.numbers)[row, field.start])
            scaler = store.encoder.scalers.get(f"row.{name}")
            if scaler is not None:
                value = value * scaler.std + scaler.mean
                value = math.expm1(value) if scaler.log else value
            values[name] = value
        yield Candidate(
            request=request,
            user=names[int(batch.requests.columns.ids[request, user.start]) - 3],
            time=int(batch.requests.times[request]) // 1_000_000,
            place=round(values["number"]),
            label=float(batch.labels[row, 0]),
            weight=float(batch.weights[row]),
            values=values,
        )


def kilometres(a: tuple[float, float], b: tuple[float, float]) -> float:
    """Great-circle distance by the spherical law of cosines."""
    (lat_a, lon_a), (lat_b, lon_b) = ((math.radians(x), math.radians(y)) for x, y in (a, b))
    cosine = math.sin(lat_a) * math.sin(lat_b) + math.cos(lat_a) * math.cos(lat_b) * math.cos(lon_a - lon_b)
    return 6371.0088 * math.acos(min(1.0, cosine))
