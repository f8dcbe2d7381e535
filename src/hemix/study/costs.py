"""What a study will take, from seconds that were measured: of finished runs, or of some steps of each configuration."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from hemix.batch import Batch
from hemix.config import Config
from hemix.data.loader import Loader
from hemix.data.store import Store
from hemix.errors import ConfigError
from hemix.evaluate.cost import model_cost
from hemix.evaluate.latency import latency
from hemix.experiment import Experiment
from hemix.ledger import Entry
from hemix.objectives import build_objective
from hemix.ranker import build_ranker, count_parameters
from hemix.study.cells import Cell, Study
from hemix.study.plan import CellPlan
from hemix.training.folder import read_json, write_json
from hemix.training.gradients import clip_gradients, merge_sparse_gradients
from hemix.training.learner import Learner
from hemix.training.optimizers import Optimizers

PROBE_SECONDS = 2.0
"""Of training steps, after the first few; the evaluation that follows takes half of it."""
WARM_UP = 3
CANDIDATES = 500


class Probe(Config):
    """Speeds of one configuration on one store, measured alone on one thread."""

    train_rows_per_second: float
    evaluate_rows_per_second: float
    dense_parameters: int
    """Those outside of embedding tables."""
    multiply_adds_per_request: int
    multiply_adds_per_candidate: int
    p50_milliseconds: float
    """To score one request with `CANDIDATES` candidates and its histories at their greatest length."""

    @property
    def figures(self) -> dict[str, float]:
        """What the ledger keeps of it where a study measures costs."""
        return {name: float(value) for name, value in self.model_dump().items() if name != "evaluate_rows_per_second"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Price:
    """What is left of one cell: its trials, or its runs."""

    cell: str
    what: Literal["trials", "runs"]
    left: int
    seconds: float
    """Of one, evaluation included."""
    measured: str
    """On what it rests."""

    @property
    def total(self) -> float:
        return self.left * self.seconds

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "total": self.total}


def wall_seconds(prices: Sequence[Price], slots: int) -> float:
    """Of all that is left with so many processes at a time: no less than the longest run, or an even share."""
    longest = max((found.seconds for found in prices), default=0.0)
    return max(longest, sum(found.total for found in prices) / slots)


def clock(seconds: float) -> str:
    """A duration for people.

    >>> clock(3905.0), clock(65.0), clock(6.3)
    ('1:05:05', '1:05', '6.3 s')
    """
    if not math.isfinite(seconds):
        return "-"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{whole // 60}:{whole % 60:02}" if whole >= 60 else f"{seconds:.1f} s"


def check_budget(prices: Sequence[Price], slots: int, hours: float | None) -> None:
    """Raises ConfigError if all that is left would take more than `hours` (None: no limit)."""
    needed = wall_seconds(prices, slots)
    if hours is not None and needed > 3600 * hours:
        raise ConfigError(
            f"The study was to take {hours:g} hours at most; about {needed / 3600:.2f} are left at {slots} jobs. "
            "Cut cells or sizes rather than seeds, or raise --budget-hours."
        )


def probe(experiment: Experiment, store: Store) -> Probe:
    """Train some steps and score some batches."""
    config = experiment.train
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        ranker = build_ranker(store.inputs, experiment.model, seed=config.seed, table_optimizer=config.table_optimizer)
        learner = Learner(ranker, build_objective(experiment.objective, ranker), tables=ranker.embedding.tables)
        optimizers = Optimizers(learner.trainable(), learner.table_names, config)

        def step(batch: Batch) -> None:
            optimizers.zero_grad()
            learner(batch).total.backward()
            parameters = learner.trainable().values()
            merge_sparse_gradients(parameters)
            clip_gradients(parameters, config.clip_norm)
            optimizers.step()

        train = Loader(store.split("train"), batch_size=config.batch_size, seed=config.seed, prefetch=0)
        rows_trained = _rows_per_second(train, step, PROBE_SECONDS)
        learner.eval()
        scan = Loader(store.split("train"), batch_size=experiment.evaluate.batch_size, seed=None, prefetch=0)
        with torch.inference_mode():
            rows_scored = _rows_per_second(scan, ranker, PROBE_SECONDS / 2)
        cost = model_cost(store.inputs, experiment.model)
        return Probe(
            train_rows_per_second=rows_trained,
            evaluate_rows_per_second=rows_scored,
            dense_parameters=count_parameters(store.inputs, experiment.model).dense,
            multiply_adds_per_request=cost.per_request,
            multiply_adds_per_candidate=cost.per_candidate,
            p50_milliseconds=1e3 * latency(store.inputs, experiment.model, candidates=CANDIDATES),
        )
    finally:
        torch.set_num_threads(threads)


def _rows_per_second(loader: Loader, work: Callable[[Batch], object], seconds: float) -> float:
    """Rows that `work` does in a second, batches gathered in between; the first batches warm up."""
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    for batch in itertools.islice(batches, WARM_UP):
        work(batch)
    rows, start = 0, time.perf_counter()
    for batch in batches:
        work(batch)
        rows += batch.num_rows
        if time.perf_counter() - start >= seconds:
            break
    return rows / (time.perf_counter() - start)


def run_seconds(experiment: Experiment, store: Store, speeds: Probe) -> float:
    """At most what one run takes: all epochs with their validations, and for a whole run the test split."""
    config = experiment.train
    train, valid, test = (store.split(name, histories=False).num_rows for name in ("train", "valid", "test"))
    train, valid = config.user_share * train, config.user_share * valid
    limits = [] if config.epochs is None else [config.epochs * train]
    limits += [] if config.max_steps is None else [config.max_steps * config.batch_size]
    seconds = math.inf
    if limits:
        rows = min(limits)
        validations = max(1.0, rows / (config.validate_every or train))
        seconds = rows / speeds.train_rows_per_second + validations * valid / speeds.evaluate_rows_per_second
    if config.max_seconds is not None:
        seconds = min(seconds, config.max_seconds)
    return seconds + (test / speeds.evaluate_rows_per_second if config.user_share == 1 else 0.0)


class Speeds:
    """Probes of a study, kept in a file, so that going on with it measures nothing twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known = (
            {key: Probe.model_validate(value) for key, value in read_json(path).items()} if path.is_file() else {}
        )

    def of(self, experiment: Experiment, store: Store) -> Probe:
        """Measured now if it is not known."""
        key = f"{experiment.hash_without_seed} {store.hash}"
        if key not in self._known:
            self._known[key] = probe(experiment, store)
            write_json(self.path, {name: value.model_dump(mode="json") for name, value in self._known.items()})
        return self._known[key]


def price(
    plans: Sequence[CellPlan], study: Study, stores: Mapping[str, Store], entries: Sequence[Entry], speeds: Speeds
) -> list[Price]:
    """What is left of every cell, in the order of `plans`; a cell with nothing left is not measured."""
    prices = []
    for found in plans:
        cell, store = found.cell, stores[found.cell.name]
        own = [e for e in entries if (e.study, e.cell, e.data_hash) == (study.name, cell.name, store.hash)]
        runs = len(found.runs) + found.waiting
        if found.trials or found.later:
            done = [entry.seconds for entry in own if entry.trial is not None]
            asked = found.trials[0].experiment if found.trials else cell.experiment
            measured = _seconds(asked, cell, store, done, speeds)
            prices.append(Price(cell=cell.name, what="trials", left=len(found.trials) + found.later, **measured))
        if runs:
            asked = found.runs[0].experiment if found.runs else cell.experiment
            hashed = asked.hash_without_seed
            done = [entry.seconds for entry in own if entry.split == "test" and entry.config_hash == hashed]
            prices.append(Price(cell=cell.name, what="runs", left=runs, **_seconds(asked, cell, store, done, speeds)))
    return prices


def _seconds(experiment: Experiment, cell: Cell, store: Store, done: Sequence[float], speeds: Speeds) -> dict[str, Any]:
    if done:
        return {"seconds": statistics.fmean(done), "measured": f"{len(done)} finished"}
    return {"seconds": run_seconds(experiment, store, speeds.of(cell.experiment, store)), "measured": "a short run"}
