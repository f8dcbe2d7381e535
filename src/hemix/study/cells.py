"""The cells of a study: every combination that the file asks for, each as a whole and valid experiment."""

import copy
import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from hemix.config import parse_config
from hemix.config_file import read_experiment_values, set_key
from hemix.errors import ConfigError, unknown_name
from hemix.experiment import Experiment
from hemix.models import MODELS
from hemix.search_space import Draw
from hemix.study.config import STORE_AXIS, CellConfig, SearchConfig, StoreConfig, StudyConfig, load_study
from hemix.training.config import higher_is_better

MAIN = "main"
"""The store of a study that names none."""
VALUES_OF_A_CLICK = {"auc", "gauc", "log_loss", "ne", "pr_auc", "ece", "copc", "brier"}
VALUES_OF_A_NUMBER = {"mae", "rmse", "mean_ratio"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One row of the study's table."""

    name: str
    experiment: Experiment
    """Named like the cell; its seed is put in per run, drawn keys after the search."""
    store: str
    root: Path
    """Where relative paths of its tables start, unless the command line says otherwise."""
    family: str
    base: str = ""
    """Its name without the point of the grid."""
    point: Mapping[str, Any] = field(default_factory=dict)
    """Its values of the grid, by key."""
    space: Mapping[str, Draw] = field(default_factory=dict)
    """Keys that random search draws; empty: nothing is searched."""
    settings_of: str | None = None
    """Another cell, whose search decides the settings of this one."""
    published: Mapping[str, float] = field(default_factory=dict)
    """What others have published of it, by metric."""

    def having(self, settings: Mapping[str, Any]) -> Experiment:
        """Its experiment with some keys set. Raises ConfigError for a value that a key cannot have."""
        values = self.experiment.model_dump(mode="json")
        for key, value in settings.items():
            set_key(values, key, value, f"cell {self.name!r}")
        return parse_config(Experiment, values, f"cell {self.name!r}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Study:
    """A study file and what it asks for."""

    path: Path
    config: StudyConfig
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        return self.config.study

    def cell(self, name: str) -> Cell:
        return next(cell for cell in self.cells if cell.name == name)

    @property
    def axis(self) -> str | None:
        """The key of the grid, where there is one alone and its values are numbers: what curves are drawn over."""
        if len(self.config.grid) != 1:
            return None
        ((key, values),) = self.config.grid.items()
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        return key if numbers and len(values) > 1 else None


def read_study(path: str | Path) -> Study:
    """Read a study file and resolve its cells.

    Raises ConfigError for anything that is wrong in any cell: unknown keys and names, values out of range, two cells
    that are one experiment.
    """
    path = Path(path)
    config = load_study(path)
    cells = tuple(
        dataclasses.replace(_resolve(config, path, name, cell), base=base, point=point)
        for name, cell, base, point in _expand(config)
    )
    _check_borrowed(cells, path)
    _check_names(config, cells, path)
    _check_distinct(cells, path)
    return Study(path=path, config=config, cells=cells)


def _expand(config: StudyConfig) -> Iterator[tuple[str, CellConfig, str, Mapping[str, Any]]]:
    """Every cell with every combination of the grid: name, settings, name without the combination, combination."""
    bases = config.cells or {"": CellConfig()}
    names: dict[str, int] = {}
    for base, cell in bases.items():
        for values in product(*config.grid.values()):
            point = dict(zip(config.grid, values, strict=True))
            name = "/".join(part for part in (base, point_name(point)) if part)
            if name in names:
                raise ConfigError(f"A name stands for one cell; the grid makes {name!r} twice. Keep each value once.")
            names[name] = 1
            keys = {key: value for key, value in point.items() if key != STORE_AXIS}
            changed = {
                "set": {**cell.set, **keys},
                "store": point.get(STORE_AXIS, cell.store),
                "family": cell.family or base.partition("/")[0] or None,
                "settings_of": None if cell.settings_of == name else cell.settings_of,
            }
            yield name, cell.model_copy(update=changed), base, point


def point_name(point: Mapping[str, Any]) -> str:
    """The name of a grid point: short keys with their values, and values alone where they are names.

    >>> point_name({"model.mixer": "hetero", "model.token_dim": 32})
    'hetero, token_dim=32'
    """
    last = [key.rpartition(".")[2] for key in point]
    parts = []
    for key, short in zip(point, last, strict=True):
        value = point[key]
        shown = short if last.count(short) == 1 else key
        text = value if isinstance(value, str) else json.dumps(value)
        parts.append(text if isinstance(value, str) else f"{shown}={text}")
    return ", ".join(parts)


def _resolve(config: StudyConfig, path: Path, name: str, cell: CellConfig) -> Cell:
    """The experiment of one cell: file, then the store's data section, the study's keys, its own keys."""
    where = f"{path}, cell {name!r}"
    stores = config.stores or {MAIN: StoreConfig()}
    store = next(iter(stores)) if cell.store is None else cell.store
    if store not in stores:
        raise _at(where, unknown_name("store", str(store), stores))
    source = stores[store]
    file = path.parent / (cell.experiment or config.experiment)
    data_file = path.parent / source.experiment if source.experiment else file
    values = read_experiment_values(file)
    if data_file != file:
        values["data"] = read_experiment_values(data_file).get("data", {})
    for key, value in {**config.set, **cell.set}.items():
        if key in ("name", "train.seed"):
            raise ConfigError(f"{where}: {key!r} is set by the study (its cells' names, its `seeds`); take it out.")
        set_key(values, key, copy.deepcopy(value), where)
    values["name"] = name
    root = path.parent / source.root if source.root is not None else data_file.parent
    experiment = parse_config(Experiment, values, where)
    drawn: dict[str, Draw] = {}
    if config.search is not None and cell.settings_of is None:
        declared = _declared(experiment, config.search, where)
        given = set(_leaves({**config.set, **cell.set}))
        drawn = {key: how for key, how in declared.items() if key not in given}
        drawn |= {**config.search.space, **cell.search}
    return Cell(
        name=name,
        experiment=experiment,
        store=store,
        root=root,
        family=cell.family or name.partition("/")[0],
        space=drawn,
        settings_of=cell.settings_of,
        published=cell.published,
    )


def _declared(experiment: Experiment, search: SearchConfig, where: str) -> dict[str, Draw]:
    """The spaces that the sections of an experiment declare, by dotted key; without keys that it has no use for."""
    spaces = {"model": MODELS[experiment.model.name].space, "train": experiment.train.search_space}
    found = {f"{section}.{key}": how for section in search.declared for key, how in spaces[section].items()}
    return {key: how for key, how in found.items() if _can_vary(experiment, key, how, where)}


def _can_vary(experiment: Experiment, key: str, how: Draw, where: str) -> bool:
    """Whether a key may have any other value of the draw, beside the settings that there are."""
    for value in how.choice or how.integer or how.uniform or how.log_uniform or ():
        values = experiment.model_dump(mode="json")
        set_key(values, key, value, where)
        try:
            other = parse_config(Experiment, values, where)
        except ConfigError:
            continue
        if other != experiment:
            return True
    return False


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """Dotted keys of everything that is set, inside mappings, too."""
    for key, value in values.items():
        yield prefix + key
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")


def _at(where: str, error: ConfigError) -> ConfigError:
    return ConfigError(f"{where}: {error}")


def _check_names(config: StudyConfig, cells: tuple[Cell, ...], path: Path) -> None:
    names = [cell.name for cell in cells]
    for name in config.outside:
        if name in names:
            raise ConfigError(f"{path}, outside: {name!r} is also a cell; a name stands for one system. Rename one.")
    names += config.outside
    for baseline in config.baselines:
        if baseline not in names:
            raise _at(f"{path}, baselines", unknown_name("cell", baseline, names))
    for cell in cells:
        for metric in config.metrics:
            _check_metric(metric, cell.experiment, f"{path}, metrics")
    if config.search is not None and not any(cell.space for cell in cells):
        raise ConfigError(f"{path}: a search needs keys to draw: give search.space, or `search` in a cell.")


def _check_borrowed(cells: tuple[Cell, ...], path: Path) -> None:
    """`settings_of` names a cell that searches for itself."""
    known = {cell.name: cell for cell in cells}
    for cell in cells:
        lender, where = cell.settings_of, f"{path}, cell {cell.name!r}, settings_of"
        if lender is None:
            continue
        if lender not in known:
            raise _at(where, unknown_name("cell", lender, known))
        if known[lender].settings_of is not None:
            raise ConfigError(f"{where}: {lender!r} has the settings of another cell; name that one.")


def _check_metric(metric: str, experiment: Experiment, where: str) -> None:
    """Raises ConfigError for a metric that no report of this experiment can have."""
    labels = {label.name: label for label in experiment.data.labels}
    task, _, name = metric.rpartition(".")
    if task and (task not in labels or len(labels) == 1):
        raise _at(where, unknown_name("label in a metric (label.metric, where there are several)", task, labels))
    label = labels[task] if task else experiment.data.labels[0]
    ranking = {*VALUES_OF_A_CLICK, *(f"ndcg@{k}" for k in experiment.evaluate.ndcg_k)}
    known = ranking if label.kind == "binary" else VALUES_OF_A_NUMBER
    if name not in known:
        raise _at(where, unknown_name("metric", metric, known))


def _check_distinct(cells: tuple[Cell, ...], path: Path) -> None:
    """No two cells are the same experiment on the same store with the same search."""
    seen: dict[tuple[Any, ...], str] = {}
    for cell in cells:
        drawn = json.dumps({key: draw.model_dump(mode="json") for key, draw in cell.space.items()}, sort_keys=True)
        key = (cell.experiment.hash_without_seed, cell.store, drawn, cell.settings_of)
        if key in seen:
            raise ConfigError(
                f"{path}: every cell is an experiment of its own; {seen[key]!r} and {cell.name!r} are the same. "
                "Take one out, or set what should differ."
            )
        seen[key] = cell.name


def best_is_highest(cell: Cell) -> bool:
    """Direction of the metric that chooses among the cell's trials."""
    return higher_is_better(cell.experiment.train.monitor)
