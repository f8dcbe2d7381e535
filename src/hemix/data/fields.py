"""From declared features to encoded fields: which SQL gives the raw value, which coding turns it into ids or numbers.

Fields live in blocks, one pair of matrices each: `request` (once per request), `row` (once per candidate row),
`catalog` (once per item version), `profiles` (once per user version) and `events.<name>` (once per event). SQL
expressions refer to the row of the raw table as `t`, and in the two blocks of the examples also to the joined
catalog row `c`, profile row `p`, request time `t._hemix_time` and window counts `w<k>`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from hemix.batch import FIRST_ID
from hemix.data.expressions import (
    NUM_GAP_BUCKETS,
    UNTYPED,
    hash_sql,
    haversine_sql,
    is_number,
    log_bucket_sql,
    number_sql,
    point_sql,
    text_sql,
    time_column,
    wrong_type,
)
from hemix.data.sources import Sources, literal, quote
from hemix.errors import ConfigError
from hemix.features import (
    Categorical,
    Distance,
    Feature,
    GeoPoint,
    MultiCategorical,
    Numeric,
    TimeColumn,
    Timestamp,
    Vector,
    WindowCount,
    feature_name,
)
from hemix.schema import DataConfig

Coding = Literal["vocabulary", "direct", "cell", "number", "quantile", "vector"]
TIME = "_hemix_time"
CALENDAR = {"hour": ("hour({})", 24), "weekday": ("isodow({}) - 1", 7), "month": ("month({}) - 1", 12)}


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """One encoded field: its raw value in SQL, and how that becomes ids or numbers."""

    name: str
    block: str
    sql: str
    coding: Coding
    many: bool = False
    width: int = 1
    table: str | None = None
    num_direct: int = 0
    """Number of ids of a `direct` coding, the reserved ones aside."""
    min_count: int = 1
    max_size: int | None = None
    resolution: int = 0
    log: bool = False
    standard: bool = False
    buckets: int = 0
    dim: int | None = None
    pretrained: str | None = None
    served_as: str | float | None = None
    raw: str | None = None
    """SQL of the column that `sql` (or `micros`) reads, where that may fail."""
    micros: str | None = None
    """SQL of the time that it is a part of."""
    joined: bool = False
    """Its SQL looks beyond the row `t`: at window counts, or at raw columns of catalog or profiles."""

    @property
    def is_id(self) -> bool:
        return self.coding in ("vocabulary", "direct", "cell", "quantile")


@dataclass(frozen=True, kw_only=True, slots=True)
class Window:
    """A count of earlier events: alias `w<index>` in the query of the examples."""

    index: int
    feature: WindowCount


@dataclass(frozen=True, kw_only=True, slots=True)
class Since:
    """A time whose distance to the request is a feature; its part as it is read where the column stands."""

    block: str
    table: str
    column: TimeColumn
    part: Part


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """All parts by block, in order, and the window counts they need."""

    blocks: dict[str, tuple[Part, ...]]
    windows: tuple[Window, ...]
    carried: dict[str, tuple[str, ...]]
    """Raw columns of catalog and profiles that features of the examples look at (places, start times)."""
    since: tuple[Since, ...]
    origins: dict[str, str]
    """SQL of the request's place of each distance, by feature."""


def make_plan(config: DataConfig, sources: Sources, examples: Sequence[str], *, labelled: bool = True) -> Plan:
    """Resolve every feature to its block; `examples` are the raw tables of the examples, that of training first.

    Only the training table needs the columns of training-only features; it is there if rows are `labelled`. Raises
    InputError for a missing, ambiguous or unfit column.
    """
    return _Planner(config, sources, examples, labelled).plan()


class _Planner:
    def __init__(self, config: DataConfig, sources: Sources, examples: Sequence[str], labelled: bool) -> None:
        self.config = config
        self.sources = sources
        self.examples = examples
        self.labelled = labelled
        self.tables = {
            "examples": examples[0],
            "catalog": config.catalog.table if config.catalog else None,
            "profiles": config.profiles.table if config.profiles else None,
        }
        self.windows: list[Window] = []
        self.since: list[Since] = []
        self.carried: dict[str, list[str]] = {"catalog": [], "profiles": []}
        self.origins: dict[str, str] = {}

    def plan(self) -> Plan:
        blocks: dict[str, list[Part]] = {"request": [], "row": [], "catalog": [], "profiles": []}
        for side, features in (
            ("request", self.config.features.request),
            ("candidate", self.config.features.candidate),
            ("pair", self.config.features.pair),
        ):
            for feature in features:
                for part in self._parts(feature, side):
                    blocks[part.block].append(part)
        for name, events in self.config.events.items():
            blocks[f"events.{name}"] = [
                part
                for feature in events.features
                for part in self._column_parts(
                    feature, f"events.{name}", events.table, f"events.{name}.{feature_name(feature)}"
                )
            ]
        plan = Plan(
            blocks={block: tuple(parts) for block, parts in blocks.items()},
            windows=tuple(self.windows),
            since=tuple(self.since),
            carried={place: tuple(dict.fromkeys(columns)) for place, columns in self.carried.items()},
            origins=self.origins,
        )
        _check_tables_agree(plan)
        return plan

    def _parts(self, feature: Feature, side: str) -> list[Part]:
        own = "request" if side == "request" else "row"
        if isinstance(feature, WindowCount):
            window = Window(index=len(self.windows), feature=feature)
            self.windows.append(window)
            count = f"coalesce(w{window.index}a.n, 0) - coalesce(w{window.index}b.n, 0)"
            log, standard = feature.transform == "log", feature.transform != "none"
            return [
                Part(
                    # below zero where the window ends before the delay begins
                    name=feature.name, block=own, sql=f"CAST(greatest(0, {count}) AS DOUBLE)", coding="number",
                    log=log, standard=standard, dim=feature.dim, joined=True,
                )
            ]  # fmt: skip
        if isinstance(feature, Distance):
            origin = self.origins[feature.name] = self._place(feature.origin, "request")
            sql = haversine_sql(origin, self._place(feature.target, "candidate"))
            return [
                Part(
                    name=feature.name, block="row", sql=sql, coding="number", log=True, standard=True, dim=feature.dim,
                    joined=True,
                )
            ]  # fmt: skip
        if isinstance(feature, Timestamp) and feature.column is None:
            return self._calendar(feature, own, own, "")
        source = self._source(feature, side)
        block = own if source == "examples" else source
        table = self.tables[source] or self.tables["examples"]
        assert table is not None
        if isinstance(feature, Timestamp):
            assert feature.column is not None
            self._kind(table, feature.column.column, block, feature)
            return self._calendar(feature, block, own, table)
        return self._column_parts(feature, block, table, feature_name(feature))

    def _source(self, feature: Feature, side: str) -> str:
        """The table that a feature's column stands in: examples, profiles or catalog."""
        column = _first_column(feature)
        places = {"request": ["profiles", "examples"], "candidate": ["catalog", "examples"], "pair": ["examples"]}[side]
        if feature.source is not None:
            if feature.source not in places or (feature.source != "examples" and self.tables[feature.source] is None):
                raise ConfigError(
                    f"feature {feature_name(feature)!r}: source {feature.source!r} is not there for a {side} "
                    f"feature; use one of {places}."
                )
            return feature.source
        if side == "candidate" and column == self.config.examples.item:
            return "catalog"
        if side == "request" and column == self.config.examples.user:
            return "examples"
        found = [place for place in places if (table := self.tables[place]) and column in self.sources.columns(table)]
        if side == "candidate" and self.config.catalog and column == self.config.catalog.key:
            found = ["catalog"]
        if len(found) > 1:
            raise ConfigError(
                f"feature {feature_name(feature)!r}: column {column!r} stands in {' and '.join(found)}; set its "
                f"'source'."
            )
        if not found and not self._may_lack(feature):
            tables = [table for place in places if (table := self.tables[place])]
            self.sources.require_any(tables, column, f"{side} feature {feature_name(feature)!r}")
        return found[0] if found else "examples"

    def _may_lack(self, feature: Feature) -> bool:
        """Whether rows to be scored do without the column, since another value takes its place."""
        return not self.labelled and getattr(feature, "served_as", None) is not None

    def _column(self, column: str, block: str) -> str:
        """SQL of a raw column; the catalog without a table of its own has the item key alone."""
        if block == "catalog" and (self.config.catalog is None or column == self.config.examples.item):
            return "t._hemix_key"
        return f"t.{quote(column)}"

    def _kind(self, table: str, column: str, block: str, feature: Feature) -> str | None:
        """Type of a column; None if it is not there and need not be. All tables of the examples must have it."""
        if self._column(column, block) == "t._hemix_key":
            return "VARCHAR"
        place = f"feature {feature_name(feature)!r}"
        if block in ("request", "row"):
            if self._may_lack(feature) and column not in self.sources.columns(table):
                return None
            for other in self.examples[1:] if getattr(feature, "served_as", None) is None else ():
                self.sources.require(other, column, place)
        return self.sources.require(table, column, place)

    def _column_parts(self, feature: Feature, block: str, table: str, default_table: str) -> list[Part]:
        name = feature_name(feature)
        if isinstance(feature, GeoPoint):
            return self._cells(feature, block, table)
        assert isinstance(feature, Categorical | MultiCategorical | Numeric | Vector)
        kind = self._kind(table, feature.column, block, feature)
        value = "NULL" if kind is None else self._column(feature.column, block)
        if kind is None or kind in UNTYPED:
            is_list = isinstance(feature, Vector) or (isinstance(feature, MultiCategorical) and not feature.delimiter)
            kind = ("FLOAT[]" if isinstance(feature, Vector) else "VARCHAR[]") if is_list else "VARCHAR"
            value = f"TRY_CAST({value} AS {kind})"
        place = f"feature {name!r}"
        if isinstance(feature, Numeric):
            if not is_number(kind) and kind not in ("BOOLEAN", "VARCHAR"):
                raise wrong_type(place, feature.column, table, kind, "a number", "declare it categorical")
            quantile = feature.transform == "quantile"
            return [
                Part(
                    name=name, block=block, sql=number_sql(value, kind), coding="quantile" if quantile else "number",
                    table=default_table if quantile else None, buckets=feature.buckets, log=feature.transform == "log",
                    standard=feature.transform in ("standard", "log"), dim=feature.dim, served_as=feature.served_as,
                    raw=value if kind == "VARCHAR" else None,
                )
            ]  # fmt: skip
        if isinstance(feature, Vector):
            if not (kind.endswith("]") and is_number(kind.split("[")[0])):
                raise wrong_type(place, feature.column, table, kind, "a list of numbers", "use a Parquet list column")
            return [Part(name=name, block=block, sql=f"CAST({value} AS FLOAT[])", coding="vector", width=feature.size)]
        return [_categorical(feature, name, block, value, kind, feature.table or default_table, table)]

    def _cells(self, feature: GeoPoint, block: str, table: str) -> list[Part]:
        for column in (feature.latitude, feature.longitude):
            kind = self._kind(table, column, block, feature) or ""
            if not is_number(kind) and kind not in UNTYPED:
                fix = "cast it to DOUBLE in tables.<name>.sql"
                raise wrong_type(f"feature {feature.name!r}", column, table, kind, "degrees", fix)
        sql = point_sql(self._column(feature.latitude, block), self._column(feature.longitude, block))
        return [
            Part(
                name=f"{feature.name}_h3_{resolution}", block=block, sql=sql, coding="cell", resolution=resolution,
                table=f"{feature.table or feature.name}_h3_{resolution}", min_count=feature.min_count, dim=feature.dim,
            )
            for resolution in feature.resolutions
        ]  # fmt: skip

    def _calendar(self, feature: Timestamp, block: str, own: str, table: str) -> list[Part]:
        name = feature.name or (feature.column.column if feature.column else "time")
        raw = f"t.{quote(feature.column.column)}" if feature.column else None
        micros = self._micros(feature, table, "t")
        parts: list[Part] = []
        for part in feature.parts:
            if part == "since":
                joined, since = block in ("catalog", "profiles"), micros
                if joined and feature.column is not None:
                    self.carried[block].append(feature.column.column)
                    since = self._micros(feature, table, block[0])
                sql = log_bucket_sql(f"(t.{TIME} - {since}) / 1000000.0")
                parts.append(
                    Part(
                        name=f"{name}_since", table=f"{name}_since", block=own, sql=sql, micros=micros, dim=feature.dim,
                        coding="direct", num_direct=NUM_GAP_BUCKETS, joined=joined, raw=None if joined else raw,
                    )
                )  # fmt: skip
                if feature.column is not None:
                    read = replace(parts[-1], raw=raw)
                    self.since.append(Since(block=block, table=table, column=feature.column, part=read))
                continue
            if self.config.timezone is None:
                raise ConfigError(
                    f"feature {name!r}: {part} of a time depends on the time zone; set data.timezone (an IANA name "
                    f"such as UTC)."
                )
            expression, size = CALENDAR[part]
            sql = f"{FIRST_ID} + {expression.format(f'make_timestamptz({micros})')}"
            parts.append(
                Part(
                    name=f"{name}_{part}", block=block, sql=sql, coding="direct", num_direct=size,
                    table=f"{name}_{part}", dim=feature.dim, raw=raw, micros=micros,
                )
            )  # fmt: skip
        return parts

    def _micros(self, feature: Timestamp, table: str, alias: str) -> str:
        """SQL of the time that a feature is made of; the request's own if it names no column."""
        if feature.column is None:
            return f"t.{TIME}"
        return time_column(self.sources, table, feature.column, f"feature {feature_name(feature)!r}", alias)

    def _place(self, name: str, side: str) -> str:
        """SQL of a geo point of the request or the candidate, seen from the query of the examples."""
        features = self.config.features.request if side == "request" else self.config.features.candidate
        feature = next(f for f in features if isinstance(f, GeoPoint) and f.name == name)
        source = self._source(feature, side)
        alias = {"examples": "t", "profiles": "p", "catalog": "c"}[source]
        if source != "examples":
            self.carried[source] += [feature.latitude, feature.longitude]
        return point_sql(f"{alias}.{quote(feature.latitude)}", f"{alias}.{quote(feature.longitude)}")


def _first_column(feature: Feature) -> str:
    if isinstance(feature, GeoPoint):
        return feature.latitude
    column = getattr(feature, "column", None)
    return column.column if isinstance(column, TimeColumn) else str(column)


def _categorical(
    feature: Categorical | MultiCategorical, name: str, block: str, value: str, kind: str, table: str, raw_table: str
) -> Part:
    place, text = f"feature {name!r}", text_sql(value, kind)
    many = isinstance(feature, MultiCategorical)
    if isinstance(feature, MultiCategorical):
        if feature.delimiter is not None:
            cut = f"string_split({text}, {literal(feature.delimiter)})"
            text = f"list_filter(list_transform({cut}, lambda v: trim(v)), lambda v: v <> '')"
        elif kind.endswith("]"):
            texts = f"list_transform({value}, lambda v: {text_sql('v', kind.rpartition('[')[0])})"
            text = f"list_filter({texts}, lambda v: v IS NOT NULL)"
        else:
            raise wrong_type(place, feature.column, raw_table, kind, "a list", "set its 'delimiter' to cut a text")
        text = f"list_slice({text}, 1, {feature.max_length})"
    elif kind.endswith("]"):
        raise wrong_type(place, feature.column, raw_table, kind, "one value", "declare it multi_categorical")
    hashed = feature.hash_buckets is not None
    if hashed and many:
        text = f"list_transform({text}, lambda v: {hash_sql('v', feature.hash_buckets or 1)})"
    elif hashed:
        text = hash_sql(text, feature.hash_buckets or 1)
    return Part(
        name=name, block=block, sql=text, coding="direct" if hashed else "vocabulary", many=many,
        width=feature.max_length if isinstance(feature, MultiCategorical) else 1, table=table,
        num_direct=feature.hash_buckets or 0, min_count=feature.min_count, max_size=feature.max_size, dim=feature.dim,
        pretrained=feature.pretrained, served_as=feature.served_as if isinstance(feature, Categorical) else None,
    )  # fmt: skip


def _check_tables_agree(plan: Plan) -> None:
    """Fields that share a table must agree on how its ids are made."""
    first: dict[str, Part] = {}
    for part in (part for parts in plan.blocks.values() for part in parts if part.table is not None):
        other = first.setdefault(part.table or "", part)
        for key in ("coding", "num_direct", "min_count", "max_size", "dim", "buckets", "pretrained"):
            mine, theirs = getattr(part, key), getattr(other, key)
            if mine != theirs:
                raise ConfigError(
                    f"features {other.name!r} and {part.name!r} share the table {part.table!r} but differ in {key} "
                    f"({theirs} and {mine}); make them equal."
                )
