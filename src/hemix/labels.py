"""What is predicted: the `labels` of the `data` section, and which of them fit together."""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from pydantic import field_validator, model_validator

from hemix.config import Config
from hemix.errors import suggestion


class Label(Config):
    """A target: a column, or SQL over the example's columns. Its values are 0 and 1, or numbers of a regression."""

    name: str
    column: str | None = None
    sql: str | None = None
    kind: Literal["binary", "regression"] = "binary"
    loss: Literal["squared", "log_squared"] | None = None
    """Of a regression: error of the value, or of log(1 + value), for values >= 0 of a long tail; None: `squared`."""
    mask: str | None = None
    """Another label: where that one is 0, this one is not known (conversion after a click)."""
    scored_by: tuple[str, ...] = ()
    """Not learnt, only measured: against the scores of this label, or the product of the probabilities of several."""

    @model_validator(mode="before")
    @classmethod
    def _default_column(cls, values: Any) -> Any:
        if isinstance(values, dict) and not values.get("column") and not values.get("sql"):
            return {**values, "column": values.get("name")}
        return values

    @field_validator("scored_by", mode="before")
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _keys_fit(self) -> "Label":
        if self.column is not None and self.sql is not None:
            raise ValueError("a label needs one of 'column' and 'sql', not both")
        if self.loss is not None and (self.kind == "binary" or self.scored_by):
            why = "only measured" if self.scored_by else "binary; set kind: regression"
            raise ValueError(f"'loss' is of a regression that is learnt; label {self.name!r} is {why}, or leave it out")
        return self


def masks(labels: Sequence[Label], label: Label) -> tuple[Label, ...]:
    """The labels that must all be 1 for `label` to be known: its mask, the mask of that one, and so on."""
    by_name = {other.name: other for other in labels}
    found: list[Label] = []
    while label.mask is not None and by_name[label.mask] not in found:
        label = by_name[label.mask]
        found.append(label)
    return tuple(found)


def check_labels(labels: Sequence[Label], *, downsampled: str | None = None) -> None:
    """Names are declared once, kinds fit. `downsampled` is the label whose zeros are dropped. Raises ValueError."""
    kinds = {label.name: label.kind for label in labels}
    learnt = [label.name for label in labels if not label.scored_by]
    for label in labels:
        if sum(other.name == label.name for other in labels) > 1:
            raise ValueError(f"label {label.name!r} is declared twice")
        if label.mask is not None:
            _must_be(label.mask, set(kinds) - {label.name}, f"mask of label {label.name!r} refers to label")
            if kinds[label.mask] != "binary":
                raise ValueError(
                    f"a mask is a label of 0 and 1; label {label.name!r} is masked by {label.mask!r}, a regression"
                )
        _check_scores(label, learnt, kinds)
    for label in labels:
        if label in masks(labels, label):
            raise ValueError(f"label {label.name!r} is masked by itself, through {label.mask!r}; leave one mask out")
    if [label.name for label in labels][: len(learnt)] != learnt or not learnt:
        raise ValueError("labels with scored_by are only measured; put them behind those that are learnt, at least one")
    if downsampled is not None:
        _must_be(downsampled, learnt, "downsample refers to label")
        if kinds[downsampled] != "binary":
            raise ValueError(f"downsample drops rows of label 0; {downsampled!r} is a regression")


def _check_scores(label: Label, learnt: Sequence[str], kinds: dict[str, str]) -> None:
    """A label that is only measured is so by heads that say what it says."""
    for name in label.scored_by:
        _must_be(name, learnt, f"scored_by of label {label.name!r} refers to label")
    scored = {kinds[name] for name in label.scored_by}
    if label.scored_by and (scored != {label.kind} or (len(label.scored_by) > 1 and label.kind != "binary")):
        raise ValueError(
            f"a {label.kind} label is scored by one label of its kind, or by the product of binary ones; label "
            f"{label.name!r} is scored by {', '.join(label.scored_by)}"
        )


def _must_be(name: str, known: Iterable[str], what: str) -> None:
    known = sorted(known)
    if name not in known:
        raise ValueError(f"{what} {name!r}; there are: {', '.join(known)}.{suggestion(name, known)}")
