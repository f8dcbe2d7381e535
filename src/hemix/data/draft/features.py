"""The features of every side, and the columns that are left out with the reason."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import duckdb

from hemix.data.draft.columns import Drafted, draft_column, find_places, side_of
from hemix.data.draft.labels import is_outcome
from hemix.data.draft.leaks import told_by
from hemix.data.draft.profile import Column, Table
from hemix.data.draft.roles import EntityGuess, Roles
from hemix.data.draft.times import find_times
from hemix.data.draft.words import PAIR_WORDS, SNAPSHOT_WORDS, has_word
from hemix.errors import InputError


@dataclass(frozen=True, slots=True)
class Sides:
    """Drafted columns by side, those left out among them."""

    request: list[Drafted] = field(default_factory=list)
    candidate: list[Drafted] = field(default_factory=list)
    pair: list[Drafted] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    """Names that features have already."""

    def of(self, side: str) -> list[Drafted]:
        return {"request": self.request, "candidate": self.candidate, "pair": self.pair}[side]

    def add(self, side: str, drafted: Drafted, prefix: str) -> None:
        """Put a column on a side; a feature whose name is taken gets a name of its own."""
        values = drafted.values
        if values is not None:
            name = str(values.get("name") or drafted.column)
            if name in self.names:
                name = f"{prefix}_{name}"
                values = {**values, "name": name}
            self.names.add(name)
            drafted = Drafted(column=drafted.column, values=values, why=drafted.why)
        self.of(side).append(drafted)


def draft_features(connection: duckdb.DuckDBPyConnection, roles: Roles) -> Sides:
    """Keys first, then the time, then what entity tables and examples say."""
    sides = Sides()
    for side, key in (("request", roles.user), ("candidate", roles.item)):
        if key is not None:
            values = {"kind": "categorical", "column": key.name}
            sides.add(side, Drafted(column=key.name, values=values, why=f"{key.distinct} values"), side)
    if roles.time is not None:
        parts = ["weekday"] if roles.time.daily else ["hour", "weekday"]
        values = {"kind": "timestamp", "parts": parts}
        sides.add("request", Drafted(column="time", values=values, why="of the request itself"), "request")
    for side, source, entity in (("request", "profiles", roles.profiles), ("candidate", "catalog", roles.catalog)):
        if entity is not None:
            _entity_features(connection, sides, side, source, entity, roles)
    _example_features(connection, sides, roles)
    every = [*sides.request, *sides.candidate, *sides.pair]
    if all(drafted.values is None for drafted in every):
        reasons = "; ".join(f"{drafted.column}: {drafted.why}" for drafted in every) or "there is no other column"
        raise InputError(f"A draft needs something to predict {roles.label.source.name} from; {reasons}.")
    return sides


def _entity_features(
    connection: duckdb.DuckDBPyConnection, sides: Sides, side: str, source: str, entity: EntityGuess, roles: Roles
) -> None:
    table, taken = entity.table, {entity.key.name}
    places = _places(sides, side, table, taken)
    times = {guess.column.name: guess for guess in find_times(connection, table, taken)}
    for column in table.columns:
        if column.name in taken:
            continue
        drafted = draft_column(connection, column)
        if column.name in times and not column.is_list:
            drafted = _age(column, times[column.name].unit, times[column.name].format, roles)
        elif drafted.values is not None and column.is_key and not column.is_list and column.is_text:
            drafted = Drafted(column=column.name, values=None, why="every row has a value of its own, like the key")
        _place(sides, side, source, drafted, roles.examples)
    for drafted in places:
        _place(sides, side, source, drafted, roles.examples)


def _place(sides: Sides, side: str, source: str, drafted: Drafted, examples: Table) -> None:
    """A column of an entity table; told apart from one of the same name in the examples by its `source`."""
    if drafted.values is not None and examples.has(drafted.column):
        drafted = Drafted(column=drafted.column, values={**drafted.values, "source": source}, why=drafted.why)
    sides.add(side, drafted, source)


def _age(column: Column, unit: str | None, form: str | None, roles: Roles) -> Drafted:
    if roles.time is None or has_word(column.name, SNAPSHOT_WORDS):
        why = "a time that moves on: it may lie after the request" if roles.time else "a time, and requests have none"
        return Drafted(column=column.name, values=None, why=why)
    time = {"column": column.name} | ({"unit": unit} if unit else {}) | ({"format": form} if form else {})
    values = {"kind": "timestamp", "column": time, "parts": ["since"]}
    return Drafted(column=column.name, values=values, why="how long ago it was")


def _example_features(connection: duckdb.DuckDBPyConnection, sides: Sides, roles: Roles) -> None:
    examples, label = roles.examples, roles.label
    keys = (roles.user, roles.item, roles.request, label.source)
    taken = {column.name for column in keys if column is not None}
    if roles.time is not None:
        taken.add(roles.time.column.name)
    moment = roles.time.sql if roles.time is not None else None
    places = _places(sides, "request", examples, taken)
    for column in examples.columns:
        if column.name in taken:
            continue
        drafted = draft_column(connection, column)
        why = _not_known_yet(connection, column, roles) if drafted.values is not None else None
        if why is not None:
            drafted = Drafted(column=column.name, values=None, why=why)
        if drafted.values is None:
            sides.add("request", drafted, "example")
            continue
        side = side_of(connection, column, roles.user, roles.item, moment)
        if side == "request" and roles.item is not None and has_word(column.name, PAIR_WORDS):
            side = "pair"
        _own(sides, side, drafted, roles)
    for drafted in places:
        latitude = examples.column(str((drafted.values or {})["latitude"]))
        side = side_of(connection, latitude, roles.user, roles.item, moment)
        _own(sides, side, drafted, roles)


def _own(sides: Sides, side: str, drafted: Drafted, roles: Roles) -> None:
    entity = {"request": roles.profiles, "candidate": roles.catalog}.get(side)
    if drafted.values is not None and entity is not None and entity.table.has(drafted.column):
        drafted = Drafted(column=drafted.column, values={**drafted.values, "source": "examples"}, why=drafted.why)
    sides.add(side, drafted, "example")


def _not_known_yet(connection: duckdb.DuckDBPyConnection, column: Column, roles: Roles) -> str | None:
    told = told_by(connection, column, roles.label)
    if told is not None:
        return f"may hold the label: {told}"
    if any(column.name == other.source.name and other.strength > 1 for other in roles.other_labels):
        return "another outcome, not known at the request; it could be a second label"
    if is_outcome(column):
        return "by its name known only after the request; declare it if that is wrong"
    if any(column.name == other.column.name for other in roles.other_times):
        return "another time: declare it `kind: timestamp` if it is known at the request"
    return None


def _places(sides: Sides, side: str, table: Table, taken: set[str]) -> list[Drafted]:
    """Geographic points of a table; their columns are taken from the others."""
    found: list[Drafted] = []
    for name, latitude, longitude in find_places(table, taken):
        taken |= {latitude.name, longitude.name}
        values: dict[str, Any] = {"kind": "geo", "name": name if name not in sides.names else f"{side}_{name}"}
        values |= {"latitude": latitude.name, "longitude": longitude.name, "resolutions": [6, 8]}
        found.append(Drafted(column=latitude.name, values=values, why="degrees; cells of about 36 and 0.7 square km"))
    return found


def distances(sides: Sides) -> Iterable[dict[str, str]]:
    """A distance for the first place of the request and the first of the candidate."""
    ends = []
    for side in ("request", "candidate"):
        places = [d.values["name"] for d in sides.of(side) if d.values is not None and d.values["kind"] == "geo"]
        ends.append(places[0] if places else None)
    if all(ends):
        yield {"kind": "distance", "name": "distance", "origin": str(ends[0]), "target": str(ends[1])}
