"""Which request and which candidates are asked about, found by the names that the raw data gives them."""

import re
from dataclasses import dataclass, replace

import numpy as np
import torch

from hemix.batch import Batch, Columns, FieldSpec
from hemix.config import Config
from hemix.data.decode import Decoder, Value
from hemix.data.lookup import Keys
from hemix.data.store import MICROS, SplitView, Store
from hemix.errors import InputError, suggestion
from hemix.run.run import Split
from hemix.schema import SPLITS

NEAREST = 3


class RequestKey(Config):
    """How a request is named: by the raw key of its user and its time, or by the number of a row of the split."""

    user: str | None = None
    time: str | None = None
    """None: the user's last request."""
    row: int | None = None

    @classmethod
    def parse(cls, text: str) -> "RequestKey":
        """Read ``user=KEY``, ``user=KEY,time=TIME`` or ``row=NUMBER``. Raises InputError for anything else.

        >>> RequestKey.parse("user=7,time=2024-01-31T12:00:00")
        RequestKey(user='7', time='2024-01-31T12:00:00', row=None)
        """
        rule = f"A request is named by user=KEY, user=KEY,time=TIME or row=NUMBER (from 0), got {text!r}."
        values: dict[str, str] = {}
        for part in re.split(r",(?=\w+=)", text):
            name, _, value = part.partition("=")
            if not value or name not in cls.model_fields or name in values:
                raise InputError(rule + suggestion(name, cls.model_fields))
            values[name] = value
        if values.keys() not in ({"row"}, {"user"}, {"user", "time"}):
            raise InputError(rule)
        if not values.get("row", "0").isdecimal():
            raise InputError(rule)
        return cls.model_validate(values)


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One item to be explained for a request."""

    item: str
    place: int | None
    """Its place among the candidates of the request; None: the request did not show it."""
    columns: Columns
    missing: tuple[str, ...] = ()
    """Fields that it lacks because the request did not show it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Events:
    """The events of one history, oldest first."""

    items: list[str]
    times: list[str]
    features: dict[str, list[Value]]


class Case:
    """One request of a split with the candidates that it showed."""

    def __init__(self, store: Store, split: Split, key: RequestKey) -> None:
        self.store = store
        self.split = split
        self.keys = Keys(store)
        self.view = store.split(split, serving=True)
        self._decoder = Decoder(store)
        self.request = find_request(self.keys, self.view, key)
        self._key = self.view.key(self.request)
        self.user = self.keys.user_key(self._key[0])
        self.time = self.keys.time_text(self._key[1])
        self.batch = self.view.batch(np.array([self.request]))
        self.rows = self.view.rows(self.request)
        self._catalog_rows = self.view.items(self.rows)
        self.items = self.keys.items(self._catalog_rows)

    def shown(self, place: int) -> Candidate:
        """The candidate at a place among those of the request."""
        return Candidate(item=self.items[place], place=place, columns=_row(self.batch.candidates, place))

    def candidate(self, item: str) -> Candidate:
        """A candidate by its item's raw key, shown or not. Raises InputError for an item that the catalog lacks."""
        catalog_row = self.keys.item(item, self._key[1])
        places = np.flatnonzero(self._catalog_rows == catalog_row)
        if len(places):
            return self.shown(int(places[0]))
        return Candidate(
            item=item,
            place=None,
            columns=self.view.unseen(np.array([catalog_row])),
            missing=tuple(field.name for field in self.view.row_fields if field.served_as is None),
        )

    def batch_of(self, candidate: Candidate) -> Batch:
        """The request with that candidate alone."""
        return replace(
            self.batch, candidates=candidate.columns, offsets=torch.tensor([0, 1]), labels=None, weights=None
        )

    def request_values(self) -> dict[str, Value]:
        """Raw values of the request's fields."""
        columns = self.batch.requests.columns
        return {f.name: self._decoder.request(f, _of(f, columns))[0] for f in self.store.inputs.request}

    def candidate_values(self, candidate: Candidate) -> dict[str, Value]:
        """Raw values of a candidate's fields."""
        return {f.name: self._decoder.candidate(f, _of(f, candidate.columns))[0] for f in self.store.inputs.candidate}

    def events(self, history: str) -> Events:
        """The events of a history with raw values."""
        spec = next(spec for spec in self.store.inputs.histories if spec.name == history)
        items, times = self.store.histories[history].trace(*self._key)
        columns = self.batch.requests.histories[history].events
        of_request = Columns(ids=columns.ids[0], numbers=columns.numbers[0])
        return Events(
            items=self.keys.items(items),
            times=[self.keys.time_text(time) for time in times.tolist()],
            features={f.name: self._decoder.event(spec, f, _of(f, of_request)) for f in spec.fields},
        )


def find_request(keys: Keys, view: SplitView, key: RequestKey) -> int:
    """Number of the request that is meant.

    Raises InputError for an unknown user, a time at which there is no request, a row beyond the split, or a name that
    several requests share; it says what would be right.
    """
    if key.row is not None:
        if key.row >= view.num_rows:
            raise InputError(
                f"Rows of the {view.name} split are numbered 0 to {view.num_rows - 1:,}, got {key.row:,}; choose one "
                f"of them or another split."
            )
        return view.request_of(key.row)
    user = keys.user(key.user or "")
    requests = view.requests_of(user)
    if not len(requests):
        raise InputError(_no_request(view, user, key.user or ""))
    times = np.array([view.key(int(request))[1] for request in requests])
    if key.time is None:
        matching = requests[times == times.max()]
    else:
        time, exact = keys.time(key.time)
        matching = requests[times == time]
        if not len(matching) and not exact:
            matching = requests[times // MICROS == time // MICROS]
        if not len(matching):
            near = times[np.sort(np.argsort(np.abs(times - time), kind="stable")[:NEAREST])]
            raise InputError(
                f"User {key.user!r} has no request at {key.time} in the {view.name} split. Nearest of "
                f"{len(requests):,}: {', '.join(keys.time_text(int(moment)) for moment in near)}."
            )
    if len(matching) > 1:
        rows = ", ".join(f"row={view.rows(int(request))[0]}" for request in matching[:NEAREST])
        raise InputError(
            f"{len(matching)} requests of the {view.name} split are named {key.user!r} at "
            f"{keys.time_text(view.key(int(matching[0]))[1])}; name one by a row of it: {rows}."
        )
    return int(matching[0])


def _no_request(view: SplitView, user: int, key: str) -> str:
    elsewhere = {name: len(view.store.split(name, histories=False).requests_of(user)) for name in SPLITS}
    found = ", ".join(f"{count:,} in {name}" for name, count in elsewhere.items() if count)
    if not found:
        return f"User {key!r} has events but no request in any split; choose another user."
    return f"User {key!r} has no request in the {view.name} split; there are {found}. Choose a split that has one."


def _row(columns: Columns, place: int) -> Columns:
    return Columns(ids=columns.ids[place : place + 1], numbers=columns.numbers[place : place + 1])


def _of(field: FieldSpec, columns: Columns) -> np.ndarray:
    """The columns of a field (n, width)."""
    matrix = columns.ids if field.table is not None else columns.numbers
    return matrix[:, field.start : field.start + field.width].numpy()
