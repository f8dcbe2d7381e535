"""What one column of a raw table means to a model: the kinds of features."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from hemix.config import Config


class TimeColumn(Config):
    """A point in time. Numbers count `unit` since 1970; texts are parsed; both may be given a `format`."""

    column: str
    unit: Literal["s", "ms", "us", "ns"] = "s"
    """Of a number; ignored for dates and texts."""
    format: str | None = None
    """strptime pattern of a text; None: ISO 8601."""


def _named_column(value: Any) -> Any:
    return {"column": value} if isinstance(value, str) else value


Time = Annotated[TimeColumn, BeforeValidator(_named_column)]


class Feature(Config):
    """What all features have in common."""

    name: str = ""
    """Empty: the column's name."""
    source: Literal["examples", "profiles", "catalog"] | None = None
    """Where the column stands; None: the only table of its side that has it."""
    dim: int | None = Field(default=None, ge=1)
    """Width of its embedding; None: the model's `embedding_dim`."""


def _vectors_need_a_vocabulary(feature: Any) -> Any:
    if feature.pretrained is not None and feature.hash_buckets is not None:
        raise ValueError("pretrained vectors belong to values, which hash_buckets mixes; use one of the two")
    return feature


class Categorical(Feature):
    """One value of a set. A value seen fewer than `min_count` times in training shares the id of unknown values."""

    kind: Literal["categorical"]
    column: str
    min_count: int = Field(default=1, ge=1)
    max_size: int | None = Field(default=None, ge=1)
    """Keep only that many of the most frequent values."""
    hash_buckets: int | None = Field(default=None, ge=1)
    """Map values to that many ids by a hash instead of a vocabulary."""
    table: str | None = None
    """Features with the same table share vocabulary and embeddings; None: a table of its own."""
    pretrained: str | None = None
    """Parquet file with columns `value` and `vector`: start values of the embedding."""
    served_as: str | None = None
    """The feature exists in training only (position, say); elsewhere it has this value."""

    _pretrained = model_validator(mode="after")(_vectors_need_a_vocabulary)


class MultiCategorical(Feature):
    """A set of values: a list column, or a text cut at `delimiter`."""

    kind: Literal["multi_categorical"]
    column: str
    delimiter: str | None = None
    max_length: int = Field(default=8, ge=1)
    """Values kept per row; the rest is dropped and counted."""
    min_count: int = Field(default=1, ge=1)
    max_size: int | None = Field(default=None, ge=1)
    hash_buckets: int | None = Field(default=None, ge=1)
    table: str | None = None
    pretrained: str | None = None

    _pretrained = model_validator(mode="after")(_vectors_need_a_vocabulary)


class Numeric(Feature):
    """A number. `standard` centres and scales; `log` does so after sign(x) log(1 + |x|); `quantile` makes it an id."""

    kind: Literal["numeric"]
    column: str
    transform: Literal["standard", "log", "quantile", "none"] = "standard"
    buckets: int = Field(default=10, ge=2)
    """Of `quantile`: ids with about the same number of training rows each."""
    served_as: float | None = None
    """The feature exists in training only; elsewhere it has this value (before the transform)."""


class Timestamp(Feature):
    """Calendar parts of a time in the request's time zone, and the time gone by until the request."""

    kind: Literal["timestamp"]
    column: Time | None = None
    """None: the time of the request itself."""
    parts: tuple[Literal["hour", "weekday", "month", "since"], ...] = ("hour", "weekday")
    """`since` is the base-2 logarithm of the seconds from this time to the request, as an id."""


class GeoPoint(Feature):
    """A place: its H3 cells as ids. `distance` features refer to it by name."""

    kind: Literal["geo"]
    name: str  # pyright: ignore[reportGeneralTypeIssues]  # required here
    latitude: str
    longitude: str
    resolutions: tuple[Annotated[int, Field(ge=0, le=15)], ...] = (6, 8)
    min_count: int = Field(default=1, ge=1)
    table: str | None = None
    """Places with the same table and resolution share cells; None: tables of its own."""


class Vector(Feature):
    """A list of numbers of fixed size (an image or text embedding), passed to the model as it is."""

    kind: Literal["vector"]
    column: str
    size: int = Field(ge=1)


class Distance(Feature):
    """Great-circle distance in km between a place of the request and one of the candidate; log, then standardised."""

    kind: Literal["distance"]
    name: str  # pyright: ignore[reportGeneralTypeIssues]  # required here
    origin: str
    """A `geo` feature of the request."""
    target: str
    """A `geo` feature of the candidate."""


class WindowCount(Feature):
    """Number of events of the same item, user or pair in the days before the request, strictly before it."""

    kind: Literal["window_count"]
    name: str  # pyright: ignore[reportGeneralTypeIssues]  # required here
    events: str
    by: Literal["item", "user", "user_item"]
    days: float = Field(gt=0)
    where: str | None = None
    """SQL condition on the event's columns (`rating >= 4`)."""
    transform: Literal["standard", "log", "none"] = "log"


ColumnFeature = Categorical | MultiCategorical | Numeric | Timestamp | GeoPoint | Vector
RequestFeature = Annotated[ColumnFeature | WindowCount, Field(discriminator="kind")]
CandidateFeature = Annotated[ColumnFeature | WindowCount, Field(discriminator="kind")]
PairFeature = Annotated[ColumnFeature | WindowCount | Distance, Field(discriminator="kind")]
EventFeature = Annotated[Categorical | MultiCategorical | Numeric | Vector, Field(discriminator="kind")]


class Features(Config):
    """Features by side. A request's column stands in the profiles or examples, a candidate's in the catalog or
    examples, a pair's in the examples.
    """

    request: tuple[RequestFeature, ...] = ()
    candidate: tuple[CandidateFeature, ...] = ()
    pair: tuple[PairFeature, ...] = ()


def feature_name(feature: Feature) -> str:
    """The name under which a feature is known: its own, else its column's."""
    if feature.name:
        return feature.name
    column = getattr(feature, "column", None)
    if isinstance(column, TimeColumn):
        return column.column
    return column if isinstance(column, str) else "time"
