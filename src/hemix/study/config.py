"""The study file: cells, seeds, stores, search. Read once, validated whole."""

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from hemix.config import Config, parse_config
from hemix.config_file import read_mapping
from hemix.errors import suggestion
from hemix.search_space import Draw

STORE_AXIS = "store"
"""Key of `grid` that is no key of the experiment: the names of stores."""
PRODUCT_LIMIT = 1000
"""Cells of one study: more is a typing mistake."""


class StoreConfig(Config):
    """Where a store comes from, unless ``--data NAME=PATH`` names it on the command line."""

    experiment: str | None = None
    """Experiment file whose `data` section is taken, relative to the study file; None: that of the cell."""
    root: str | None = None
    """Folder where relative paths of tables start, relative to the study file; None: the experiment file's folder."""


class OptunaConfig(Config):
    """Trials that learn from earlier ones, by Optuna (https://arxiv.org/abs/1907.10902; `pip install 'hemix[tune]'`).

    The first `startup` trials are those of random search, whole. The others go in rounds of `at_once`, which know what
    all earlier rounds came to and nothing of each other: results do not depend on how many run side by side.
    """

    sampler: Literal["tpe", "random"] = "tpe"
    """`tpe`: proposed by a tree-structured Parzen estimator (Bergstra et al. 2011); `random`: drawn like the first."""
    pruner: Literal["median"] | None = None
    """`median`: a trial stops after a validation at which its best figure so far is behind the median of what earlier
    trials had there."""
    startup: int = Field(default=4, ge=1)
    at_once: int = Field(default=2, ge=1)
    warm_up: int = Field(default=0, ge=0)
    """Validations of a trial before it can be pruned."""

    @model_validator(mode="after")
    def _does_something(self) -> "OptunaConfig":
        if self.sampler == "random" and self.pruner is None:
            raise ValueError("a random sampler without a pruner is random search; leave `optuna` out")
        if self.warm_up and self.pruner is None:
            raise ValueError(f"warm_up {self.warm_up} says when pruning begins, and there is no pruner; add one")
        return self


class SearchConfig(Config):
    """The search of each cell: as many trials for all, judged on the validation split, never on the test split."""

    space: dict[str, Draw] = Field(default_factory=dict)
    """Dotted keys of the experiment that are drawn for every cell; a cell's own `search` adds to them."""
    declared: tuple[Literal["model", "train"], ...] = ()
    """Sections whose own spaces are searched, too: that of each cell's model (`hemix models --spaces`), or of training.
    Keys of `space`, and keys that the study or the cell sets, are not taken from there."""
    trials: int = Field(ge=1)
    seed: int = Field(default=0, ge=0)
    """Of the draws, and of the training of the trials."""
    users: float = Field(default=0.25, gt=0, le=1)
    """Share of the users that trials train and validate on (`train.user_share`)."""
    epochs: int | None = Field(default=1, ge=1)
    """Of a trial; None: as many as the cell's runs."""
    optuna: OptunaConfig | None = None
    """None: every trial is drawn at random, whatever the others came to."""

    @model_validator(mode="after")
    def _has_more_than_the_start(self) -> "SearchConfig":
        if self.optuna is not None and self.optuna.startup >= self.trials:
            raise ValueError(
                f"optuna begins after optuna.startup {self.optuna.startup} trials, and there are {self.trials}; "
                "raise trials, or leave `optuna` out"
            )
        return self


class CellConfig(Config):
    """One system: an experiment file and what it changes in it."""

    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted keys of the experiment and their values; a mapping takes the place of a whole section."""
    experiment: str | None = None
    """Another experiment file than the study's."""
    store: str | None = None
    """Name of one of `stores`."""
    family: str | None = None
    """Curve of a scaling study that the cell is a point of; None: the part of its name before the first slash."""
    search: dict[str, Draw] = Field(default_factory=dict)
    """Keys that are drawn for this cell beside those of `search.space`."""
    settings_of: str | None = None
    """Another cell, whose search is this one's: it has no trials and takes the settings that were found there.

    Under a grid, one of its points (`DIN/max_length=100`): that one searches, and the others take its settings."""
    published: dict[str, float] = Field(default_factory=dict)
    """Figures of this system that others have published, by metric; a leaderboard shows them beside its own."""


class StudyConfig(Config):
    """A study: cells x seeds, each trained once and read once on the test split."""

    study: str = Field(min_length=1, pattern=r"^[\w.+-]+$")
    """Its name, in the ledger and in the marks of pages."""
    kind: Literal["comparison", "leaderboard", "scaling"] = "comparison"
    """`leaderboard` and `scaling` also measure what each cell costs. A leaderboard ranks the cells and shows published
    figures; scaling fits a power law to each family."""
    experiment: str
    """Experiment file that cells start from, relative to the study file."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Dotted keys that are set in every cell."""
    stores: dict[str, StoreConfig] = Field(default_factory=dict)
    """Where data comes from, by name; cells without a `store` use the first. None given: one, named `main`."""
    cells: dict[str, CellConfig] = Field(default_factory=dict)
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)
    """Every combination of these values, for every cell (or for the experiment itself if there are no cells)."""
    seeds: tuple[int, ...] = Field(min_length=1)
    outside: tuple[str, ...] = ()
    """Systems that another program trains and writes to the ledger: in the tables beside the cells, never run."""
    baselines: tuple[str, ...] = ()
    """Cells that the others are compared with, pair by pair; none: every cell with every other."""
    by: tuple[str, ...] = ()
    """Slices of the test split (`history real_time`, `user in training`, a feature of `evaluate.slices`): systems are
    compared on each part, too."""
    metrics: tuple[str, ...] = Field(default=("auc", "gauc", "log_loss"), min_length=1)
    """Of the tables; the first is drawn and, in a scaling study, fitted."""
    published_by: str | None = Field(default=None, min_length=1)
    """Where the `published` figures of cells stand, and in what their protocol differs: said under the table."""
    search: SearchConfig | None = None

    @property
    def measures_costs(self) -> bool:
        """Whether the ledger also says what each cell costs."""
        return self.kind != "comparison"

    @field_validator("seeds", "outside", "baselines", "by", "metrics")
    @classmethod
    def _each_once(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        twice = [value for place, value in enumerate(values) if value in values[:place]]
        if twice:
            raise ValueError(f"each may stand once; {twice[0]!r} stands twice")
        return values

    @field_validator("seeds")
    @classmethod
    def _not_negative(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        if min(seeds) < 0:
            raise ValueError("a seed is 0 or more")
        return seeds

    @model_validator(mode="after")
    def _has_cells(self) -> "StudyConfig":
        if not self.cells and not self.grid:
            raise ValueError("a study needs `cells` or `grid`")
        empty = [key for key, values in self.grid.items() if not values]
        if empty:
            raise ValueError(f"grid.{empty[0]} has no values")
        size = max(len(self.cells), 1) * math.prod(len(values) for values in self.grid.values())
        if size > PRODUCT_LIMIT:
            raise ValueError(f"a study has at most {PRODUCT_LIMIT} cells; this grid makes {size:,}. Cut some values")
        searching = [name for name, cell in self.cells.items() if cell.search]
        for name, cell in self.cells.items():
            self._check_borrowed(name, cell)
        if self.search is None and searching:
            raise ValueError(f"cell {searching[0]!r} has a `search`, and the study has none: it says trials and users")
        if self.kind == "scaling" and self.outside:
            raise ValueError(f"a scaling study draws its cells by size, and that of {self.outside[0]!r} is not known")
        self._check_published()
        return self

    def _check_published(self) -> None:
        """Figures of others stand on a leaderboard, in one of its metrics, with their source."""
        having = [name for name, cell in self.cells.items() if cell.published]
        if not having and self.published_by is None:
            return
        if self.kind != "leaderboard" or not having or self.published_by is None:
            raise ValueError(
                "published figures need `kind: leaderboard`, `published` in a cell and `published_by` (where they "
                f"stand); the kind is {self.kind}, cells with figures: {', '.join(having) or 'none'}, "
                f"published_by: {self.published_by or 'none'}"
            )
        for name in having:
            for metric in self.cells[name].published:
                if metric not in self.metrics:
                    raise ValueError(
                        f"cell {name!r} has a published {metric!r}; the metrics of the study are: "
                        f"{', '.join(self.metrics)}.{suggestion(metric, self.metrics)}"
                    )

    def _check_borrowed(self, name: str, cell: CellConfig) -> None:
        """Settings of another cell come from a search that is the only one. Whose they are: `cells.read_study`."""
        if cell.settings_of == name and not self.grid:
            raise ValueError(f"cell {name!r} takes the settings of itself; leave settings_of out")
        if cell.settings_of is not None and (self.search is None or cell.search):
            what = "the study has no search" if self.search is None else "it has a `search` of its own"
            raise ValueError(
                f"cell {name!r} takes the settings of {cell.settings_of!r}, but {what}; take one of them out"
            )


def load_study(path: str | Path) -> StudyConfig:
    """Read and validate a study file; its cells are resolved by `cells.resolve`.

    Raises ConfigError that names the file and every wrong key, and suggests a key for an unknown one.
    """
    path = Path(path)
    return parse_config(StudyConfig, read_mapping(path, "study file", list(StudyConfig.model_fields)), str(path))


def study_json_schema() -> dict[str, Any]:
    """JSON Schema of a study file, for editors to complete and check."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **StudyConfig.model_json_schema()}
