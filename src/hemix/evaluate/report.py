"""The result of an evaluation: metrics with intervals, counts and slices; written as JSON and read back equal."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, ValidationError

from hemix.batch import LabelKind
from hemix.config import Config
from hemix.data.arrays import replace_file
from hemix.errors import RunError, unknown_name
from hemix.evaluate.predictions import Origin

FigureT = TypeVar("FigureT")


def _null_is_nan(value: object) -> object:
    return math.nan if value is None else value


Number = Annotated[float, BeforeValidator(_null_is_nan)]
"""JSON has no NaN: an undefined number is written as null."""


class Metric(Config):
    """One figure, its 95 % interval, and why it has none where it is undefined."""

    value: Number
    low: Number = math.nan
    high: Number = math.nan
    reason: str | None = None
    """Why the value is NaN; None: it is defined."""
    groups: int | None = None
    """Users or requests that took part, for a metric that is a mean over them."""
    left_out: int | None = None
    """Users or requests of one class, which do not define the metric."""


class Counts(Config):
    """What was evaluated."""

    rows: int
    requests: int
    users: int
    positives: int
    """0 for a regression."""
    mean: Number = math.nan
    """Of the known labels."""
    unlabelled: int = 0
    """Rows whose label is unknown or masked; they are in no other count."""

    @property
    def base_rate(self) -> float:
        return self.positives / self.rows if self.rows else math.nan


class Part(Config):
    """The rows with one value of a feature."""

    value: str
    counts: Counts
    metrics: dict[str, Metric]


class Slice(Config):
    """The split cut by one feature. Parts of a multi-valued feature overlap."""

    feature: str
    parts: tuple[Part, ...]


class Reliability(Config):
    """Bins of equal mass by rising prediction: rows, mean prediction, share of positives or mean value."""

    rows: tuple[float, ...]
    predicted: tuple[float, ...]
    observed: tuple[float, ...]


class TaskReport(Config):
    """One label."""

    name: str
    kind: LabelKind = "binary"
    counts: Counts
    metrics: dict[str, Metric]
    constant_log_loss: Number
    """Log loss of always predicting this split's base rate: what a model has to beat; NaN for a regression."""
    constant_rmse: Number = math.nan
    """Of a regression: RMSE of always predicting this split's mean."""
    reliability: Reliability
    slices: tuple[Slice, ...] = ()

    def value(self, name: str) -> float:
        """Raises ConfigError if labels of this kind have no such metric."""
        if name not in self.metrics:
            raise unknown_name(f"metric of the {self.kind} label {self.name!r}", name, self.metrics)
        return self.metrics[name].value


def named_figures(metrics: Mapping[str, Mapping[str, FigureT]]) -> dict[str, FigureT]:
    """Figures by label and metric under the names that validation lines and the ledger give them.

    >>> named_figures({"click": {"auc": 0.7}, "order": {"auc": 0.8}})
    {'auc': 0.7, 'click.auc': 0.7, 'order.auc': 0.8}
    """
    first = dict(next(iter(metrics.values())))
    several = {f"{task}.{name}": value for task, found in metrics.items() for name, value in found.items()}
    return first | several if len(metrics) > 1 else first


class Report(Config):
    """How one run did on one split."""

    origin: Origin
    tasks: dict[str, TaskReport]
    interval: str
    """How the intervals were made."""
    weighted: bool = False

    @property
    def first(self) -> TaskReport:
        """The first task: the one that the figures of the report itself are of."""
        return next(iter(self.tasks.values()))

    @property
    def figures(self) -> dict[str, Metric]:
        """Metrics of the first label under their own names, and of each as ``label.metric`` where there are several."""
        return named_figures({name: task.metrics for name, task in self.tasks.items()})

    @property
    def auc(self) -> float:
        return self.first.value("auc")

    @property
    def gauc(self) -> float:
        return self.first.value("gauc")

    @property
    def log_loss(self) -> float:
        return self.first.value("log_loss")

    @property
    def ne(self) -> float:
        return self.first.value("ne")

    @property
    def pr_auc(self) -> float:
        return self.first.value("pr_auc")

    @property
    def ece(self) -> float:
        return self.first.value("ece")

    @property
    def copc(self) -> float:
        return self.first.value("copc")

    @property
    def brier(self) -> float:
        return self.first.value("brier")

    def ndcg(self, k: int) -> float:
        return self.first.value(f"ndcg@{k}")

    @property
    def rows_per_second(self) -> float:
        """Rows scored per second, loading included."""
        counts = self.first.counts
        return (counts.rows + counts.unlabelled) / self.origin.seconds if self.origin.seconds > 0 else math.nan

    def to_json(self) -> str:
        return self.model_dump_json(indent=1)

    @classmethod
    def from_json(cls, text: str) -> "Report":
        """Raises RunError if the text is not a report."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problem = error.errors(include_url=False)[0]
            place = ".".join(str(part) for part in problem["loc"])
            raise RunError(f"This is not a report of this version: {place} {problem['msg']}. Evaluate again.") from None

    def save(self, path: Path) -> None:
        """Write as JSON in one step."""
        replace_file(path, self.to_json().encode())

    @classmethod
    def load(cls, path: Path) -> "Report":
        """Raises RunError if the file is missing or damaged."""
        try:
            return cls.from_json(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise RunError(f"There is no report at {path}. Evaluate the run first: hemix evaluate RUN.") from None
