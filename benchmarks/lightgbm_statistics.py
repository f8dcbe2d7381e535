"""Gradient-boosted trees on what a store says of a row: the model a practitioner would pick instead of a network.

Features: every number of request and candidate (window counts above all), the difference of the logarithms of each
two counts that differ in their condition only (a rate), every single id with few values as a category, and every set
of few values as flags. Ids with many values (users, items) are left out: trees learn them badly, and the windowed
counts say what they would.
A random search over STORE's validation split chooses the settings; each seed is then fitted and read on test once, and
written to the ledger beside the runs of the networks.
Usage: lightgbm_statistics.py STORE --out DIR --ledger FILE [--trials 8] [--user-share 0.25] [--seeds 1 2 3]
"""

import argparse
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import torch
import turns

from hemix.batch import Batch, Inputs
from hemix.data.encode import Encoder
from hemix.data.loader import Loader
from hemix.data.store import Store
from hemix.evaluate.evaluator import EvaluateConfig, evaluate, predict_split
from hemix.evaluate.predictions import Origin
from hemix.features import WindowCount
from hemix.ledger import Entry, append, test_reads
from hemix.training.environment import describe_environment

MAX_CATEGORIES = 64
ROUNDS = 2000
PATIENCE = 50
SPACE: dict[str, tuple[float, ...]] = {
    "learning_rate": (0.02, 0.05, 0.1),
    "num_leaves": (15, 31, 63, 127),
    "min_data_in_leaf": (20, 100, 500),
    "feature_fraction": (0.5, 0.8, 1.0),
    "lambda_l2": (0.0, 1.0, 10.0),
}


class Rows:
    """Turns batches into the feature matrix of the trees."""

    def __init__(self, store: Store) -> None:
        self.inputs: Inputs = store.inputs
        sizes = {table.name: table.num_ids for table in self.inputs.tables}
        self._sides = (("request", self.inputs.request), ("candidate", self.inputs.candidate))
        self.ids = {
            side: [f.start for f in fields if f.kind == "id" and sizes[f.table or ""] <= MAX_CATEGORIES]
            for side, fields in self._sides
        }
        self.sets = {
            side: [
                (f, sizes[f.table or ""]) for f in fields if f.kind == "ids" and sizes[f.table or ""] <= MAX_CATEGORIES
            ]
            for side, fields in self._sides
        }
        self.numbers = {side: [f for f in fields if f.kind == "number"] for side, fields in self._sides}
        self.names = [f.name for _, fields in self.numbers.items() for f in fields]
        self._scalers = _scalers(store.encoder)
        self._pairs = _rates(store, self.names)

    @property
    def categories(self) -> list[int]:
        first = len(self.names) + len(self._pairs)
        return list(range(first, first + sum(len(columns) for columns in self.ids.values())))

    def __call__(self, batch: Batch) -> np.ndarray:
        """Features (N, F) in float32; missing numbers are NaN."""
        counts = batch.offsets.diff()
        of_row = torch.repeat_interleave(torch.arange(len(counts)), counts)
        sides = {"request": batch.requests.columns, "candidate": batch.candidates}
        numbers, ids, flags = [], [], []
        for side, _ in self._sides:
            rows = of_row if side == "request" else slice(None)
            numbers.append(sides[side].numbers[:, [f.start for f in self.numbers[side]]][rows])
            ids.append(sides[side].ids[:, self.ids[side]][rows])
            for field, size in self.sets[side]:
                slots = sides[side].ids[:, field.start : field.start + field.width].long()
                flags.append(torch.zeros(len(slots), size).scatter_(1, slots, 1.0)[rows])
        values = torch.cat(numbers, dim=1).double().numpy()
        for place, name in enumerate(self.names):
            mean, std = self._scalers.get(name, (0.0, 1.0))
            values[:, place] = values[:, place] * std + mean
        rates = [values[:, some] - values[:, every] for some, every in self._pairs]
        return np.column_stack([values, *rates, torch.cat([*ids, *flags], dim=1).numpy()]).astype(np.float32)


def _scalers(encoder: Encoder) -> dict[str, tuple[float, float]]:
    return {key.split(".", 1)[1]: (scaler.mean, scaler.std) for key, scaler in encoder.scalers.items()}


def _rates(store: Store, names: list[str]) -> list[tuple[int, int]]:
    """Places of two counts over the same events, keys and days, the first of which has a condition."""
    sides = store.config.features
    windows = [f for f in (*sides.request, *sides.candidate, *sides.pair) if isinstance(f, WindowCount)]
    every = {(f.events, f.by, f.days): f.name for f in windows if f.where is None}
    pairs = [(f.name, every.get((f.events, f.by, f.days))) for f in windows if f.where is not None]
    return [(names.index(some), names.index(other)) for some, other in pairs if other is not None]


def read(store: Store, rows: Rows, split: str, user_share: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Features and first label of a split, or of a share of its users."""
    features, labels = [], []
    for batch in Loader(store.split(split, histories=False), batch_size=65536, seed=None):
        assert batch.labels is not None
        users = torch.repeat_interleave(batch.requests.users, batch.offsets.diff()).numpy()
        known = ~torch.isnan(batch.labels[:, 0]).numpy()
        kept = known & (((users * 2654435761) % 2**32) / 2**32 < user_share)
        features.append(rows(batch)[kept])
        labels.append(batch.labels[:, 0].numpy()[kept])
    return np.concatenate(features), np.concatenate(labels)


class Trees:
    """Fitted trees as a scorer of batches."""

    def __init__(self, rows: Rows, booster: lightgbm.Booster) -> None:
        self.inputs = rows.inputs
        self.training = False
        self._rows = rows
        self._booster = booster

    def __call__(self, batch: Batch) -> torch.Tensor:
        logits = self._booster.predict(self._rows(batch), raw_score=True)
        return torch.as_tensor(np.asarray(logits))[:, None]

    def train(self, mode: bool = True) -> None:
        """Nothing in trees depends on it."""


def fit(rows: Rows, data: dict[str, tuple[np.ndarray, np.ndarray]], settings: dict[str, Any]) -> lightgbm.Booster:
    """Boost until the validation loss has not fallen for some rounds."""
    sets = {
        name: lightgbm.Dataset(x, y, categorical_feature=rows.categories, free_raw_data=False)
        for name, (x, y) in data.items()
    }
    parameters = {"objective": "binary", "metric": "binary_logloss", "verbosity": -1, "num_threads": 1, **settings}
    stop = lightgbm.early_stopping(PATIENCE, verbose=False)
    return lightgbm.train(parameters, sets["train"], ROUNDS, valid_sets=[sets["valid"]], callbacks=[stop])


def search(store: Store, rows: Rows, trials: int, user_share: float) -> dict[str, Any]:
    """The settings with the lowest validation loss among random ones, on a share of the users."""
    random = np.random.default_rng(0)
    data = {split: read(store, rows, split, user_share) for split in ("train", "valid")}
    found: list[tuple[float, dict[str, Any]]] = []
    for trial in range(trials):
        settings = {key: values[random.integers(len(values))] for key, values in SPACE.items()}
        booster = fit(rows, data, {**settings, "seed": trial})
        loss = booster.best_score["valid_0"]["binary_logloss"]
        print(f"trial {trial}: log loss {loss:.5f} {settings}")
        found.append((loss, settings))
    return min(found, key=lambda pair: pair[0])[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--user-share", type=float, default=0.25)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--cell", default="LightGBM")
    options = parser.parse_args()
    store = Store.open(options.store)
    rows = Rows(store)
    settings = search(store, rows, options.trials, options.user_share)
    data = {split: read(store, rows, split) for split in ("train", "valid")}
    for seed in options.seeds:
        started = time.perf_counter()
        booster = fit(rows, data, {**settings, "seed": seed, "bagging_fraction": 0.9, "bagging_freq": 1})
        seconds = time.perf_counter() - started
        record(store, Trees(rows, booster), options, seed, seconds, {"trials": options.trials, **settings})


def record(
    store: Store, trees: Trees, options: argparse.Namespace, seed: int, seconds: float, budget: dict[str, Any]
) -> None:
    """Score the test split, keep the predictions for paired comparison, and add a line to the ledger."""
    config_hash = "lightgbm"
    size = trees._booster.num_trees()
    name = f"{options.cell.lower().replace(' ', '-')}-{seed}"
    origin = Origin(
        tasks=(), split="test", store=store.hash, run=name, system=options.cell, config=config_hash, seed=seed,
        parameters=size,
    )  # fmt: skip
    loader = Loader(store.split("test"), batch_size=65536, seed=None)
    predictions = predict_split(trees, loader, device=torch.device("cpu"), origin=origin)
    folder = options.out / name
    folder.mkdir(parents=True, exist_ok=True)
    predictions.save(folder / "predictions-test.npz")
    metrics = evaluate(predictions, EvaluateConfig()).first.metrics
    append(
        options.ledger,
        Entry(
            study=options.ledger.stem, cell=options.cell, split="test", config_hash=config_hash, data_hash=store.hash,
            commit=describe_environment(torch.device("cpu"))["commit"], seed=seed, budget={**budget, "trees": size},
            seconds=seconds, figures={key: metric.value for key, metric in metrics.items()},
            intervals={key: (m.low, m.high) for key, m in metrics.items() if not np.isnan(m.low)},
            parameters=size, test_reads=test_reads(options.ledger, config_hash, store.hash) + 1,
            hardware=turns.cpu_name(), date=datetime.now(UTC), run=name,
        ),
    )  # fmt: skip
    print(f"{options.cell} seed {seed}: {size} trees, test AUC {metrics['auc'].value:.4f}, {seconds:.0f} s")


if __name__ == "__main__":
    main()
