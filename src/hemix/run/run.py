"""A run: what it was asked, what came of it, and the model that it kept."""

from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from hemix.batch import FIRST_ID
from hemix.config import parse_config
from hemix.data.loader import Loader
from hemix.data.store import Store
from hemix.errors import RunError
from hemix.evaluate.evaluator import evaluate, predict_split
from hemix.evaluate.predictions import Origin, Predictions
from hemix.evaluate.report import Report
from hemix.evaluate.slices import Names, SliceReader, Training
from hemix.experiment import Experiment
from hemix.ledger import Entry, append, test_reads
from hemix.ranker import Ranker
from hemix.run.model_file import check_encoder, read_model
from hemix.training.config import BUDGET_KEYS
from hemix.training.folder import RunFolder, read_json
from hemix.training.trainer import resolve_device

Split = Literal["train", "valid", "test"]


class Run:
    """A training in its folder. Everything is read when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.folder = RunFolder(path)

    @staticmethod
    def open(path: str | Path) -> "Run":
        """Raises RunError if there is no run at `path`."""
        run = Run(Path(path))
        if not run.folder.is_run:
            raise RunError(f"There is no run at {path}: {run.folder.config.name} is missing. `hemix train` makes one.")
        return run

    @cached_property
    def experiment(self) -> Experiment:
        return parse_config(Experiment, read_json(self.folder.config), str(self.folder.config))

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, hardware, commit, and the store trained on."""
        return read_json(self.folder.environment)

    @cached_property
    def result(self) -> dict[str, Any]:
        """How training ended. Raises RunError if it has not."""
        if not self.folder.is_finished:
            raise RunError(f"{self.path} is not finished; go on with: hemix train ... --out {self.path} --resume")
        return read_json(self.folder.result)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl: `kind` is ``train`` or ``valid``."""
        return self.folder.read_metrics()

    @cached_property
    def device(self) -> torch.device:
        """Where the model is used: where it was trained, or the best there is here."""
        return torch.device("cpu") if self.experiment.train.device == "cpu" else resolve_device("auto")

    @cached_property
    def ranker(self) -> Ranker:
        """The model with its best weights, ready to score."""
        return read_model(self.folder).to(self.device).eval()

    @cached_property
    def store(self) -> Store:
        """The store that it was trained on. Raises StoreError if it is no longer where it was."""
        place = Path(self.environment["store"]["path"]).expanduser()
        return Store.open(self.path / place)

    def predict(self, split: Split = "test", *, store: Store | None = None) -> Predictions:
        """Score every row of a split of its store, or of another one with the same encoder."""
        store = self.store if store is None else store
        check_encoder(self.folder, store)
        config = self.experiment.evaluate
        scan = Loader(store.split("train", histories=False), batch_size=config.batch_size, seed=None)
        training = Training.scan(scan, store.inputs, config.item)
        return predict_split(
            self.ranker,
            Loader(store.split(split), batch_size=config.batch_size, seed=None),
            device=self.device,
            origin=self._origin(split, store),
            slices=SliceReader(store.inputs, config.slices, training),
        )

    def evaluate(self, split: Split = "test", *, store: Store | None = None, ledger: Path | None = None) -> Report:
        """Every metric of a split, with intervals and slices; written to the run folder with the predictions.

        `ledger` gets a line (None: ``ledger.jsonl`` beside the run folder), which also counts reads of the test split.
        """
        store = self.store if store is None else store
        predictions = self.predict(split, store=store)
        predictions.save(self.path / f"predictions-{split}.npz")
        report = evaluate(predictions, self.experiment.evaluate, names=_value_names(store))
        report.save(self.path / "report.json")
        ledger = ledger or self.default_ledger
        metrics = report.figures
        entry = self.ledger_entry(ledger, split, store.hash, {name: metric.value for name, metric in metrics.items()})
        intervals = {name: (metric.low, metric.high) for name, metric in metrics.items() if not np.isnan(metric.low)}
        append(ledger, entry.model_copy(update={"intervals": intervals}))
        return report

    @property
    def default_ledger(self) -> Path:
        return self.path.parent / "ledger.jsonl"

    def _origin(self, split: Split, store: Store) -> Origin:
        return Origin(
            tasks=tuple(task.name for task in store.inputs.tasks),
            split=split,
            store=store.hash,
            run=self.path.name,
            system=self.experiment.name,
            config=self.experiment.hash_without_seed,
            seed=self.experiment.train.seed,
            parameters=self.result["parameters"],
            table_parameters=self.result["table_parameters"],
        )

    def ledger_entry(self, ledger: Path, split: Split, data_hash: str, figures: dict[str, float]) -> Entry:
        """A ledger line with the figures of a split."""
        experiment, machine = self.experiment, self.environment
        config_hash = experiment.hash_without_seed
        return Entry(
            study=ledger.stem,
            cell=experiment.name,
            split=split,
            config_hash=config_hash,
            data_hash=data_hash,
            commit=machine["commit"],
            seed=experiment.train.seed,
            budget={key: getattr(experiment.train, key) for key in BUDGET_KEYS},
            seconds=self.result["seconds"],
            figures=figures,
            parameters=self.result["parameters"],
            test_reads=test_reads(ledger, config_hash, data_hash) + (split == "test"),
            hardware=f"{machine['processor']}, {machine['threads']} of {machine['cores']} cores, {machine['device']}",
            date=datetime.now(UTC),
            run=self.path.name,
        )


def _value_names(store: Store) -> Names:
    """Readable values of ids: those of vocabularies; ids of buckets and gaps keep their number."""

    def names(table: str, ids: list[int]) -> list[str]:
        vocabulary = store.encoder.vocabularies.get(table)
        if vocabulary is None:
            return [f"bucket {value - FIRST_ID}" for value in ids]
        return [str(vocabulary.values[value - FIRST_ID].as_py()) for value in ids]

    return names
