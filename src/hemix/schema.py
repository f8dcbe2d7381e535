"""What the columns of the raw tables mean: the `data` section of an experiment file.

Everything here is a frozen value that can be written as YAML and read back equal. Nothing here opens a file.
"""

from typing import Literal

from pydantic import Field, model_validator

from hemix.config import Config, ConfigT, parse_config
from hemix.errors import suggestion
from hemix.features import (
    CandidateFeature,
    Categorical,
    ColumnFeature,
    Distance,
    EventFeature,
    Feature,
    Features,
    GeoPoint,
    MultiCategorical,
    Numeric,
    PairFeature,
    RequestFeature,
    Time,
    TimeColumn,
    Timestamp,
    Vector,
    WindowCount,
    feature_name,
)
from hemix.labels import Label, check_labels
from hemix.negatives import Drawn, NearbyNegatives, Negatives

__all__ = [
    "RESERVED_PREFIX",
    "SPLITS",
    "CandidateFeature",
    "Categorical",
    "ColumnFeature",
    "Config",
    "ConfigT",
    "DataConfig",
    "Distance",
    "DownSample",
    "Entity",
    "EventFeature",
    "Events",
    "Examples",
    "Feature",
    "Features",
    "GeoPoint",
    "History",
    "Label",
    "MultiCategorical",
    "Negatives",
    "Numeric",
    "PairFeature",
    "RequestFeature",
    "Split",
    "Table",
    "Time",
    "TimeColumn",
    "Timestamp",
    "Vector",
    "WindowCount",
    "check_references",
    "feature_name",
    "parse_config",
]

SPLITS = ("train", "valid", "test")
RESERVED_PREFIX = "_hemix"


class Table(Config):
    """One raw table: files (CSV, Parquet or JSON lines), or a SQL query over files and other tables."""

    path: str | tuple[str, ...] | None = None
    """A file, a glob pattern or a list of them; relative paths start at the experiment file's folder."""
    sql: str | None = None
    """Any query that DuckDB reads; tables declared above it can be used by name."""
    format: Literal["csv", "parquet", "jsonl"] | None = None
    """None: by the file's ending (.csv .tsv .txt .parquet .jsonl .ndjson, also with .gz)."""
    delimiter: str | None = None
    """Of a CSV file; None: found by looking."""
    columns: tuple[str, ...] | None = None
    """Column names of a CSV file without a header line."""

    @model_validator(mode="after")
    def _one_source(self) -> "Table":
        if (self.path is None) == (self.sql is None):
            raise ValueError("a table needs exactly one of 'path' and 'sql'")
        return self


class Examples(Config):
    """The rows to learn from: one candidate shown to one user at one time."""

    table: str | dict[Literal["train", "valid", "test"], str]
    """A table, or one table for each of train, valid and test (then `split` is `given`)."""
    user: str | None = None
    item: str | None = None
    time: Time | None = None
    request: str | None = None
    """Column that tells requests of one user at one time apart (an impression id)."""
    where: str | None = None
    """SQL condition: rows that do not meet it are left out."""


class Entity(Config):
    """A table with one row per key, or one row per key and `valid_from`, then joined as of the request's time."""

    table: str
    key: str
    valid_from: Time | None = None


class Events(Config):
    """A log of what users did; the source of histories and window counts."""

    table: str
    user: str
    item: str
    time: Time
    where: str | None = None
    features: tuple[EventFeature, ...] = ()
    """Of the event itself: the action, a rating, a dwell time. The item's own features come from the catalog."""


class History(Config):
    """A named behaviour history: the events of the user strictly before the request, oldest first.

    `same_day` cuts at the request's local midnight, `last_k` before the last `k` events; `part` says which side of
    the cut this history is.
    """

    events: str
    where: str | None = None
    """SQL condition on the event's columns (`action = 'buy'`)."""
    cut: Literal["none", "same_day", "last_k"] = "none"
    part: Literal["all", "older", "recent"] = "all"
    k: int = Field(default=20, ge=1)
    max_length: int = Field(default=100, ge=1)
    """The most recent events that are kept."""
    item_features: tuple[str, ...] | None = None
    """Candidate features (from the catalog) that its events have; None: all but vectors and numbers."""
    time_gap: bool = True
    """Give each event its distance in time: whole days to the request's midnight on the older side of a cut (so that
    it can be kept for a day), log seconds to the request elsewhere."""

    @model_validator(mode="after")
    def _part_fits_cut(self) -> "History":
        if (self.cut == "none") != (self.part == "all"):
            raise ValueError(
                f"'part' must be 'older' or 'recent' where there is a cut and 'all' where there is none; "
                f"this history has cut '{self.cut}' and part '{self.part}'"
            )
        if self.part == "recent" and self.cut == "last_k" and self.max_length < self.k:
            raise ValueError(f"max_length {self.max_length} is below k {self.k}: events would be in neither part")
        return self


class Split(Config):
    """How examples are divided. Requests are never cut in two; equal times stay together."""

    by: Literal["time", "user_time", "user", "random", "given"] = "time"
    """`time`: by the clock; `user_time`: each user's requests by time; `user`: by a hash of the user;
    `random`: by a hash of the request; `given`: by `column` or by one table each."""
    fractions: tuple[float, float, float] = (0.8, 0.1, 0.1)
    column: str | None = None
    """Of `given`: holds train, valid or test."""
    seed: int = 0

    @model_validator(mode="after")
    def _fractions_add_up(self) -> "Split":
        if min(self.fractions) < 0 or self.fractions[0] <= 0 or abs(sum(self.fractions) - 1) > 1e-9:
            raise ValueError(f"fractions must be >= 0 (train > 0) and add up to 1, they are {self.fractions}")
        return self


class DownSample(Config):
    """Keep only a share of the training rows whose `label` is 0; scores are corrected by log(keep)."""

    label: str
    keep: float = Field(gt=0, le=1)
    seed: int = 0


class DataConfig(Config):
    """The `data` section: raw tables and their meaning."""

    tables: dict[str, Table]
    examples: Examples
    labels: tuple[Label, ...] = Field(min_length=1)
    features: Features
    catalog: Entity | None = None
    profiles: Entity | None = None
    events: dict[str, Events] = Field(default_factory=dict)
    histories: dict[str, History] = Field(default_factory=dict)
    history_delay: float = Field(default=0.0, ge=0)
    """Seconds by which logs arrive late: events younger than this are not seen by a request."""
    timezone: str | None = None
    """IANA name. Times without a zone are read in it; days begin at its midnight. None: UTC, if nothing depends on
    it."""
    weight: str | None = None
    """SQL expression over the example's columns: weight of its loss (>= 0)."""
    downsample: DownSample | None = None
    negatives: Negatives | None = None
    split: Split = Split()

    @model_validator(mode="after")
    def _references(self) -> "DataConfig":
        check_references(self)
        return self


def _must_know(kind: str, name: str, known: set[str], place: str) -> None:
    if name not in known:
        raise ValueError(
            f"{place} refers to {kind} {name!r}; there are: {', '.join(sorted(known))}.{suggestion(name, known)}"
        )


def check_references(config: DataConfig) -> None:
    """Every name that the configuration uses is declared, and once. Raises ValueError."""
    _check_tables(config)
    _check_histories(config)
    _check_features(config)
    check_labels(config.labels, downsampled=config.downsample.label if config.downsample else None)
    if config.negatives is not None:
        _check_negatives(config, config.negatives)


def _check_tables(config: DataConfig) -> None:
    known = set(config.tables)
    used = config.examples.table
    for table in [used] if isinstance(used, str) else used.values():
        _must_know("table", table, known, "examples")
    if isinstance(used, dict) and "train" not in used:
        raise ValueError("examples.table needs a 'train' table")
    if isinstance(used, str) and config.split.by == "given" and config.split.column is None:
        raise ValueError("split by 'given' needs split.column, or one table each under examples.table")
    for place, entity in (("catalog", config.catalog), ("profiles", config.profiles)):
        if entity is None:
            continue
        _must_know("table", entity.table, known, place)
        if entity.valid_from is not None and config.examples.time is None:
            raise ValueError(f"{place}.valid_from needs examples.time to be compared with")
    for name, events in config.events.items():
        _must_know("table", events.table, known, f"events.{name}")
    needs = {"time": "time", "user_time": "time", "user": "user"}.get(config.split.by)
    if isinstance(used, str) and needs and getattr(config.examples, needs) is None:
        raise ValueError(f"split by {config.split.by!r} needs examples.{needs}; without it use by: random or by: given")
    if config.split.by == "user_time" and config.examples.user is None:
        raise ValueError("split by 'user_time' needs examples.user")
    if config.catalog is not None and config.examples.item is None:
        raise ValueError("a catalog needs examples.item to be joined by")
    if config.profiles is not None and config.examples.user is None:
        raise ValueError("profiles need examples.user to be joined by")


def _check_negatives(config: DataConfig, negatives: Drawn) -> None:
    for key in ("item", "time"):
        if getattr(config.examples, key) is None:
            raise ValueError(f"negatives are items known before a request, which needs examples.{key}")
    if len(config.labels) != 1 or config.labels[0].mask is not None or config.labels[0].kind != "binary":
        raise ValueError(
            f"negatives have the label 0 and need one binary label, which is 1 in every row (sql: 'true'); there are "
            f"{', '.join(label.name for label in config.labels)}"
        )
    if config.downsample is not None:
        raise ValueError("downsample drops rows with label 0, which data with negatives does not have; lower num")
    if config.catalog is not None and config.catalog.valid_from is not None:
        raise ValueError("negatives are drawn from a catalog with one row per item, not with catalog.valid_from")
    if isinstance(negatives, NearbyNegatives):
        places = [feature.name for feature in config.features.candidate if isinstance(feature, GeoPoint)]
        if negatives.place is not None:
            _must_know("geo feature of the candidate", negatives.place, set(places), "negatives.place")
        elif len(places) != 1:
            raise ValueError(f"negatives nearby need one geo feature of the candidate, or 'place'; there are {places}")


def _check_histories(config: DataConfig) -> None:
    for name, history in config.histories.items():
        _must_know("events", history.events, set(config.events), f"histories.{name}")
        if config.examples.user is None or config.examples.time is None:
            raise ValueError(f"histories.{name} needs examples.user and examples.time")
        if history.cut == "same_day" and config.timezone is None:
            raise ValueError(
                f"histories.{name} is cut by 'same_day', which needs data.timezone (an IANA name such as UTC)"
            )
        if history.part == "older" and history.time_gap and config.timezone is None:
            raise ValueError(
                f"histories.{name} is the older side of a cut: its events count days to the local midnight, which "
                f"needs data.timezone (an IANA name such as UTC), or time_gap: false"
            )


def _check_window(config: DataConfig, feature: WindowCount, side: str) -> None:
    place = f"feature {feature.name!r}"
    _must_know("events", feature.events, set(config.events), place)
    keys = {"item": ["item"], "user": ["user"], "user_item": ["user", "item"]}[feature.by]
    for key in (*keys, "time"):
        if getattr(config.examples, key) is None:
            raise ValueError(f"{place} counts by {feature.by!r} and needs examples.{key}")
    if side == "request" and feature.by != "user":
        raise ValueError(
            f"{place}: a request has one value for all its candidates, so that a count by {feature.by!r} belongs "
            f"under candidate"
        )


def _check_features(config: DataConfig) -> None:
    sides = {"request": config.features.request, "candidate": config.features.candidate, "pair": config.features.pair}
    seen: dict[str, str] = {}
    for side, features in sides.items():
        for feature in features:
            name = feature_name(feature)
            if name in seen:
                raise ValueError(
                    f"feature {name!r} is declared twice: under {seen[name]} and {side}; give one a name of its own"
                )
            seen[name] = side
            if isinstance(feature, WindowCount):
                _check_window(config, feature, side)
            if isinstance(feature, Distance):
                for place, end in (("request", feature.origin), ("candidate", feature.target)):
                    known = {f.name for f in sides[place] if isinstance(f, GeoPoint)}
                    _must_know(f"geo feature of the {place}", end, known, f"feature {name!r}")
    for events in config.events.values():
        names = [feature_name(feature) for feature in events.features]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"event feature {name!r} is declared twice")
