"""Which features the columns make, and on which side."""

from dataclasses import dataclass
from typing import Any

from hemix.recipes.draft.facts import ColumnFacts, Look, TableFacts
from hemix.recipes.draft.roles import Reference, Roles, epoch_unit

Feature = dict[str, Any]
FEW_VALUES = 20
"""Whole numbers with no more values than this are categories."""
LONG_TEXT = 30.0
LATITUDE = frozenset(("lat", "latitude"))
LONGITUDE = frozenset(("lon", "lng", "long", "longitude"))
SHOWN_AT = frozenset(("position", "rank", "slot"))


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """A feature, or why there is none, with what the column looks like."""

    feature: Feature | None
    remark: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Sides:
    """Guesses by side."""

    request: list[Guess]
    candidate: list[Guess]
    pair: list[Guess]


def find_features(look: Look, roles: Roles) -> Sides:
    """Features of all tables that have a role."""
    sides = Sides(request=[], candidate=[], pair=[])
    examples = roles.examples
    if roles.user is not None:
        sides.request.append(Guess(feature=_categorical(roles.user), remark=remark(examples.columns[roles.user])))
    if roles.item is not None:
        source = {} if roles.catalog is None else {"column": roles.catalog.key}
        feature = {**_categorical(roles.item), **source}
        sides.candidate.append(Guess(feature=feature, remark=remark(examples.columns[roles.item])))
    if roles.time is not None:
        parts = ["weekday", "month"] if examples.columns[roles.time].type == "date" else ["hour", "weekday"]
        sides.request.append(Guess(feature={"kind": "timestamp", "parts": parts}, remark="of the request"))
    if roles.profiles is not None:
        sides.request.extend(_columns_of(roles.profiles.table, _own(roles.profiles)))
    if roles.catalog is not None:
        sides.candidate.extend(_columns_of(roles.catalog.table, _own(roles.catalog)))
    taken = {roles.user, roles.item, roles.time, *roles.label_columns}
    for name in examples.columns:
        if name not in taken:
            side = _side(look, roles, name)
            getattr(sides, side).extend(_columns_of(examples, set(examples.columns) - {name}))
    return sides


def _own(reference: Reference) -> set[str | None]:
    return {reference.key, reference.valid_from}


def _side(look: Look, roles: Roles, column: str) -> str:
    """The side of a column of the examples: what it depends on."""
    examples = roles.examples.name
    if roles.user is not None and look.determines(examples, [roles.user], column):
        return "request"
    if roles.item is not None and look.determines(examples, [roles.item], column):
        return "candidate"
    if roles.user is not None and roles.time is not None and look.determines(examples, [roles.user, roles.time], column):
        return "request"
    return "pair"


def _columns_of(table: TableFacts, without: set[Any]) -> list[Guess]:
    """A guess for each column; latitude and longitude are one."""
    columns = [column for name, column in table.columns.items() if name not in without]
    latitude = next((column for column in columns if LATITUDE & set(column.words) and column.type == "float"), None)
    longitude = next((column for column in columns if LONGITUDE & set(column.words) and column.type == "float"), None)
    guesses = []
    if latitude is not None and longitude is not None:
        place = {"kind": "geo", "name": f"{table.name}_place", "latitude": latitude.name, "longitude": longitude.name}
        guesses.append(Guess(feature=place, remark="H3 cells of a place"))
        columns = [column for column in columns if column not in (latitude, longitude)]
    return guesses + [_guess(column) for column in columns]


def _guess(column: ColumnFacts) -> Guess:
    feature = _feature(column)
    if feature is None:
        return Guess(feature=None, remark=f"{column.name}: {_why_not(column)}; {remark(column)}")
    return Guess(feature=feature, remark=remark(column))


def _feature(column: ColumnFacts) -> Feature | None:
    """The feature of one column; None if it would teach nothing."""
    if column.distinct < 2 or column.type == "other":
        return None
    if column.type in ("date", "time"):
        return {"kind": "timestamp", "column": column.name, "parts": ["since"]}
    if column.type == "vector":
        return {"kind": "vector", "column": column.name, "size": round(column.length)}
    if column.type == "list":
        return {"kind": "multi_categorical", "column": column.name}
    if column.delimiter is not None:
        return {"kind": "multi_categorical", "column": column.name, "delimiter": column.delimiter}
    if column.type == "text":
        return None if column.unique or column.length > LONG_TEXT else _categorical(column.name)
    if column.type == "boolean":
        return _categorical(column.name)
    if SHOWN_AT & set(column.words) and column.type == "integer":
        return {**_categorical(column.name), "served_as": f"{column.low:g}"}
    if epoch_unit(column) is not None:
        time = {"column": column.name, "unit": epoch_unit(column)}
        return {"kind": "timestamp", "column": time, "parts": ["since"]}
    if column.type == "integer" and column.distinct <= FEW_VALUES:
        return _categorical(column.name)
    return {"kind": "numeric", "column": column.name, "transform": "quantile", "buckets": 10}


def _categorical(column: str) -> Feature:
    return {"kind": "categorical", "column": column}


def _why_not(column: ColumnFacts) -> str:
    if column.distinct < 2:
        return "has one value"
    if column.unique:
        return "has another value in each row, so it says no more than the key"
    return "is free text" if column.type == "text" else "has a type that is not read"


def remark(column: ColumnFacts) -> str:
    """What a column looks like, for a comment."""
    values = ", ".join(value if len(value) <= 20 else f"{value[:17]}..." for value in column.shown)
    nulls = f", {column.nulls:.1%} null" if column.nulls else ""
    return f"{column.distinct:,} values{nulls}: {values}"
