"""An experiment: data, model, objective, training and evaluation as one frozen value, read from one YAML file."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator, model_validator

from hemix.batch import LabelKind
from hemix.config import Config, parse_config
from hemix.config_file import read_experiment_values
from hemix.errors import suggestion
from hemix.evaluate.evaluator import EvaluateConfig
from hemix.models import MODELS, ModelConfig
from hemix.models.hemix import HeMixConfig
from hemix.objectives import CL4CTRConfig, ESMMConfig, LogLossConfig, ObjectiveConfig
from hemix.schema import DataConfig
from hemix.training.config import REGRESSION_METRICS, RESUMABLE_KEYS, TrainConfig


class Experiment(Config):
    """Everything that decides a result, apart from the raw rows. Two equal experiments on one store give equal runs."""

    name: str = Field(default="experiment", min_length=1)
    """Under which results are listed; a file without a name has its own."""
    data: DataConfig
    model: ModelConfig = HeMixConfig()
    objective: ObjectiveConfig = LogLossConfig()
    train: TrainConfig = TrainConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _sections_fit(self) -> "Experiment":
        learnt = [label.name for label in self.data.labels if not label.scored_by]
        for task in self.objective.task_weights:
            if task not in learnt:
                raise ValueError(
                    f"objective.task_weights names {task!r}; the labels that are learnt are: {', '.join(learnt)}."
                    f"{suggestion(task, learnt)}"
                )
        if isinstance(self.objective, ESMMConfig):
            _check_esmm(self.objective, self.data)
        if isinstance(self.objective, CL4CTRConfig):
            _check_cl4ctr(self.objective, self.model, self.train)
        labels: dict[str, LabelKind] = {label.name: label.kind for label in self.data.labels}
        check_monitor(self.train.monitor, labels, self.evaluate.ndcg_k, users=self.data.examples.user is not None)
        return self

    @field_validator("objective", mode="before")
    @classmethod
    def _log_loss_unless_named(cls, value: Any) -> Any:
        return {"name": "log_loss", **value} if isinstance(value, dict) else value

    def with_seed(self, seed: int) -> "Experiment":
        """The same experiment with another seed of training."""
        return self.model_copy(update={"train": self.train.model_copy(update={"seed": seed})})

    @property
    def hash(self) -> str:
        """SHA-256 of all that decides the result: everything but the name."""
        return _digest(self.model_dump(mode="json", exclude={"name"}))

    @property
    def hash_without_seed(self) -> str:
        """The same for every seed: names the cell of a table that several seeds fill."""
        return _digest(self.model_dump(mode="json", exclude={"name": True, "train": {"seed"}}))

    @property
    def hash_without_budget(self) -> str:
        """The same for every budget: what a checkpoint has to agree with to be resumed."""
        return _digest(self.model_dump(mode="json", exclude={"name": True, "train": set(RESUMABLE_KEYS)}))

    def to_yaml(self) -> str:
        """All sections with every default written out; `load_experiment` reads it back equal."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def _check_esmm(objective: ESMMConfig, data: DataConfig) -> None:
    """Click and conversion are two binary labels that are learnt, the conversion known only after a click."""
    labels = {label.name: label for label in data.labels if not label.scored_by}
    if len(labels) < 2:
        raise ValueError(f"objective esmm needs two labels, a click and a conversion; the data has {', '.join(labels)}")
    for key in ("click", "conversion"):
        name = getattr(objective, key)
        if name not in labels:
            raise ValueError(
                f"objective.{key} names {name!r}; the labels that are learnt are: {', '.join(labels)}."
                f"{suggestion(name, labels)}"
            )
        if labels[name].kind != "binary":
            raise ValueError(f"objective.{key} is a label of 0 and 1; {name!r} is a regression")
    click, conversion = labels[objective.click], labels[objective.conversion]
    if click.mask == conversion.name:
        raise ValueError(
            f"objective esmm: {click.name!r} is masked by {conversion.name!r} and so comes after it; exchange click "
            "and conversion"
        )
    if conversion.mask != click.name or click.mask is not None:
        place, mask = (conversion, click.name) if conversion.mask != click.name else (click, None)
        raise ValueError(
            f"objective esmm reads a click that is known in every row and a conversion that is known after one; label "
            f"{place.name!r} has mask {place.mask or 'null'}, it must be {mask or 'null'}"
        )
    if data.downsample is not None and data.downsample.label != click.name:
        raise ValueError(
            f"objective esmm learns from all impressions; rows can be dropped by the click only, and "
            f"data.downsample.label is {data.downsample.label!r}"
        )


def _check_cl4ctr(objective: CL4CTRConfig, model: ModelConfig, train: TrainConfig) -> None:
    if MODELS[model.name].first_order == "alone":
        raise ValueError(
            f"objective cl4ctr compares vectors of values, and model {model.name!r} has none; choose another model"
        )
    if objective.scope == "table" and train.table_optimizer != "adam":
        raise ValueError(
            "objective.scope 'table' gives every row of a table a gradient, which train.table_optimizer "
            f"{train.table_optimizer!r} cannot take; set it to 'adam', or objective.scope to 'batch'"
        )


def check_monitor(monitor: str, labels: Mapping[str, LabelKind], ndcg_k: Sequence[int], *, users: bool) -> None:
    """Raises ValueError if no validation report of these labels can have the metric `train.monitor`."""
    task, _, metric = monitor.rpartition(".")
    if task and (task not in labels or len(labels) == 1):
        raise ValueError(
            f"train.monitor is {monitor!r}; with the labels {', '.join(labels)} it is "
            + ("the metric alone" if len(labels) == 1 else "the metric alone (of the first) or label.metric")
        )
    label = task or next(iter(labels))
    if (metric in REGRESSION_METRICS) != (labels[label] == "regression"):
        known = REGRESSION_METRICS if labels[label] == "regression" else ("auc", "log_loss", "...")
        raise ValueError(
            f"train.monitor is {monitor!r}; label {label!r} is a {labels[label]} one and has {', '.join(known)}"
        )
    if metric == "gauc" and not users:
        raise ValueError("train.monitor 'gauc' groups rows by user, and data.examples has no user; set another metric")
    if metric.startswith("ndcg") and metric not in {f"ndcg@{k}" for k in ndcg_k}:
        known = ", ".join(f"ndcg@{k}" for k in ndcg_k)
        raise ValueError(f"train.monitor is {monitor!r}; evaluate.ndcg_k reports: {known}")


def _digest(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_experiment(path: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read and validate an experiment file; each override reads ``a.b=c`` and wins over the file.

    Raises ConfigError that names the file and every wrong key, and suggests a key for an unknown one.
    """
    path = Path(path)
    values = read_experiment_values(path, overrides)
    return parse_config(Experiment, {"name": path.stem, **values}, str(path))


def experiment_json_schema() -> dict[str, Any]:
    """JSON Schema of an experiment file, for editors to complete and check."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Experiment.model_json_schema()}


def differing_keys(one: Any, other: Any, prefix: str = "") -> Iterator[str]:
    """Dotted keys under which two JSON values differ; a key that only one of them has counts.

    >>> list(differing_keys({"a": {"b": 1, "c": [1]}, "d": 2}, {"a": {"b": 0, "c": [1]}}))
    ['a.b', 'd']
    """
    if isinstance(one, dict) and isinstance(other, dict):
        for key in dict.fromkeys((*one, *other)):
            name = f"{prefix}{key}"
            if key not in one or key not in other:
                yield name
            else:
                yield from differing_keys(one[key], other[key], f"{name}.")
    elif one != other:
        yield prefix.removesuffix(".")
