"""Model sizes that the recipes share: small enough for a laptop, equal in what they are given."""

from typing import Any, Literal

from hemix.errors import unknown_name

ModelName = Literal["hemix", "dlrm", "din", "dcnv2", "interformer"]
SMALL: dict[ModelName, dict[str, Any]] = {
    "hemix": {"preset": "tiny"},
    "dlrm": {},
    "din": {},
    "dcnv2": {},
    "interformer": {},
}
"""The defaults of the others are small already."""
ON_HISTORIES: tuple[ModelName, ...] = ("hemix", "dlrm", "din")
ON_FIELDS: tuple[ModelName, ...] = ("dcnv2", "dlrm", "hemix")
ON_SEQUENCES: tuple[ModelName, ...] = ("interformer", "din", "dlrm", "hemix")
"""The models that a data set gets an experiment of, that to start with first. Without histories DIN has nothing to
attend to; `ON_SEQUENCES` is for the data sets of InterFormer's table."""
NO_HISTORIES = {"global_history": None, "real_time_history": None}


def small_model(model: ModelName, *, histories: bool = True) -> dict[str, Any]:
    """The `model` section of a small model; HeMix is told if there are no histories to read.

    Raises ConfigError for a model that the recipes have no sizes of.
    """
    if model not in SMALL:
        raise unknown_name("model of a recipe", model, SMALL)
    without = NO_HISTORIES if model == "hemix" and not histories else {}
    return {"name": model, **SMALL[model], **without}


def one_history(model: ModelName) -> dict[str, Any]:
    """More of the `model` section where the two histories are parts of one sequence: InterFormer puts them together."""
    return {"fusion": "merge"} if model == "interformer" else {}
