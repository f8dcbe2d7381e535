"""Runs: one training of an experiment on a store, in a folder; and `train`, which makes one.

run = train(load_experiment("experiment.yaml"), Store.open("store"), "runs/first")
run.evaluate().auc
"""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter

from hemix.batch import FIRST_ID, Inputs
from hemix.config import parse_config
from hemix.data.loader import Loader
from hemix.data.store import Store
from hemix.errors import ConfigError, RunError
from hemix.evaluate.evaluator import EvaluateConfig, evaluate, measure, predict_split, rated
from hemix.evaluate.predictions import Origin, Predictions
from hemix.evaluate.report import Report
from hemix.evaluate.slices import Names, SliceReader, Training
from hemix.experiment import Experiment, differing_keys
from hemix.models import ModelConfig
from hemix.objectives import build_objective
from hemix.ranker import Ranker, build_ranker, check_memory
from hemix.train.checkpoint import load_tensors
from hemix.train.config import RESUMABLE_KEYS
from hemix.train.environment import describe_environment, portable_path
from hemix.train.folder import RunFolder, read_json, write_json
from hemix.train.learner import Learner
from hemix.train.trainer import Outcome, Trainer, Validate, resolve_device

FORMAT = 1
DENSE_TABLE_COPIES = 4.0
"""Bytes in training per byte of a table under dense Adam: weights, gradient and two moments."""
_INPUTS: TypeAdapter[Inputs] = TypeAdapter(Inputs)
_MODEL: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)


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
        model = _read_model(self.folder)
        ranker = build_ranker(_INPUTS.validate_python(model["inputs"]), _MODEL.validate_python(model["model"]), seed=0)
        _load_weights(ranker, self)
        return ranker.to(self.device).eval()

    @cached_property
    def store(self) -> Store:
        """The store that it was trained on. Raises StoreError if it is no longer where it was."""
        place = Path(self.environment["store"]["path"]).expanduser()
        return self.check_store(Store.open(self.path / place))

    def check_store(self, store: Store) -> Store:
        """`store`, if its ids mean the same as in training. Raises RunError if not."""
        if store.manifest.encoder_hash != _read_model(self.folder)["encoder"]:
            raise RunError(
                f"A run can only read stores with the encoder it was trained with; {store.path} has another one. "
                "Give the store of the training, or train again on this one."
            )
        return store

    def predict(self, split: str = "test", *, store: Store | None = None) -> Predictions:
        """Score every row of a split of its store, or of another one with the same encoder."""
        store = self.store if store is None else self.check_store(store)
        config = self.experiment.evaluate
        scan = Loader(store.split("train"), batch_size=config.batch_size, seed=None)
        training = Training.scan(scan, store.inputs, config.item)
        return predict_split(
            self.ranker,
            Loader(store.split(split), batch_size=config.batch_size, seed=None),
            device=self.device,
            origin=self._origin(split, store),
            slices=SliceReader(store.inputs, config.slices, training),
        )

    def evaluate(self, split: str = "test", *, store: Store | None = None) -> Report:
        """Every metric of a split, with intervals and slices; also written to the run folder with the predictions."""
        store = self.store if store is None else self.check_store(store)
        predictions = self.predict(split, store=store)
        predictions.save(self.path / f"predictions-{split}.npz")
        report = evaluate(predictions, self.experiment.evaluate, names=_value_names(store))
        report.save(self.path / "report.json")
        return report

    def _origin(self, split: str, store: Store) -> Origin:
        return Origin(
            tasks=tuple(task.name for task in store.inputs.tasks),
            split=split,
            store=store.hash,
            run=self.path.name,
            system=self.experiment.name,
            config=self.experiment.hash_without_seed,
            seed=self.experiment.train.seed,
            parameters=sum(parameter.numel() for parameter in self.ranker.parameters()),
            table_parameters=sum(table.numel() for table in self.ranker.embedding.tables),
        )


def train(
    experiment: Experiment,
    store: Store | str | Path,
    out: str | Path | None = None,
    *,
    seed: int | None = None,
    resume: bool = False,
    initial: str | Path | None = None,
    ledger: Path | None = None,
    progress: bool = True,
) -> Run:
    """Train an experiment on a store into a run folder, and add a line to the ledger.

    Args:
        experiment: what to train; its `data` section must be the one that the store was prepared from.
        store: the store, or its path.
        out: the run folder; None: ``runs/<name>-<seed>``. It must be new, unless `resume`.
        seed: in place of `train.seed`.
        resume: go on with the run in `out`; the result is that of an uninterrupted run, bit for bit.
        initial: another run, whose best weights are the start weights.
        ledger: file that gets a line when training is finished; None: ``ledger.jsonl`` beside the run folder.
        progress: show a progress bar if standard error is a terminal.

    Raises ConfigError, RunError, StoreError or TrainingError; KeyboardInterrupt after an interrupt, when all is saved.
    """
    store = store if isinstance(store, Store) else Store.open(store)
    experiment = experiment if seed is None else experiment.with_seed(seed)
    folder = RunFolder(Path(out) if out is not None else Path("runs") / f"{experiment.name}-{experiment.train.seed}")
    _check_data(experiment, store)
    if resume:
        if initial is not None:
            raise ConfigError(
                "--from gives start weights to a new run; a resumed run has its own. Leave one of them out."
            )
        if _is_done(experiment, folder):
            return Run.open(folder.path)
    else:
        folder.must_be_free()
    trainer = _build_trainer(experiment, store, folder, progress=progress)
    if resume:
        folder.result.unlink(missing_ok=True)  # the budget has changed: it is no longer finished
        write_json(folder.config, experiment.model_dump(mode="json"))
    else:
        _start(trainer, experiment, store, None if initial is None else Run.open(initial))
    outcome = trainer.fit()
    if outcome.reason == "interrupted":
        raise KeyboardInterrupt(
            f"Stopped at step {outcome.steps:,}; everything is saved. Go on with the same command and --resume."
        )
    run = Run.open(folder.path)
    _finish(run, outcome)
    return run


def _check_data(experiment: Experiment, store: Store) -> None:
    """Raises ConfigError if the store was prepared from another `data` section or cannot teach anything."""
    prepared, asked = store.config.model_dump(mode="json"), experiment.data.model_dump(mode="json")
    differing = list(differing_keys(prepared, asked, "data."))
    if differing:
        raise ConfigError(
            f"An experiment's data section must be the one its store was prepared from; {store.path} differs in "
            f"{', '.join(differing[:5])}. Prepare a store from this file, or undo the change."
        )


def _is_done(experiment: Experiment, folder: RunFolder) -> bool:
    """Whether the run to be resumed has already come to this experiment's end.

    Raises RunError if there is no run, or if it is of another experiment; only the budget may differ.
    """
    if not folder.is_run:
        raise RunError(f"There is no run to resume at {folder.path}; leave --resume out to start one.")
    before = Run(folder.path).experiment.model_dump(mode="json")
    differing = list(differing_keys(before, experiment.model_dump(mode="json")))
    free = {f"train.{key}" for key in RESUMABLE_KEYS}
    fixed = [key for key in differing if key not in free]
    if fixed:
        raise RunError(
            f"A resumed run must be the same experiment; {folder.path} differs in {', '.join(fixed[:5])}. "
            f"Only {', '.join(sorted(free))} may change. Start a new run for anything else."
        )
    schedule = experiment.train.schedule
    moved = [key for key in differing if key in ("train.epochs", "train.max_steps")]
    if moved and schedule.kind != "constant" and schedule.decay_steps is None:
        raise RunError(
            f"The learning rate decays over the budget, so {moved[0]} cannot change when a run is resumed. "
            "Set train.schedule.decay_steps from the start, or start a new run."
        )
    return folder.is_finished and not differing


def _build_trainer(experiment: Experiment, store: Store, folder: RunFolder, *, progress: bool) -> Trainer:
    """All parts put together; nothing is written yet."""
    config = experiment.train
    if config.table_optimizer == "adam":
        check_memory(store.inputs, experiment.model, table_copies=DENSE_TABLE_COPIES)
    ranker = build_ranker(store.inputs, experiment.model, seed=config.seed)
    objective = build_objective(experiment.objective, store.inputs)
    return Trainer(
        Learner(ranker, objective, tables=ranker.embedding.tables),
        Loader(store.split("train"), batch_size=config.batch_size, seed=config.seed),
        config,
        folder,
        validate=_validator(ranker, store, experiment.evaluate, resolve_device(config.device)),
        identity={"store": store.hash, "experiment": experiment.hash_without_budget},
        progress=progress,
    )


def _validator(ranker: Ranker, store: Store, config: EvaluateConfig, device: torch.device) -> Validate | None:
    """Metrics of the validation split, without intervals and slices; None if it has no rows."""
    split = store.split("valid")
    if split.num_rows == 0:
        return None
    config = config.model_copy(update={"bootstrap_draws": 0})

    def validate() -> Mapping[str, float]:
        loader = Loader(split, batch_size=config.batch_size, seed=None)
        return _flat_metrics(predict_split(ranker, loader, device=device), config)

    return validate


def _flat_metrics(predictions: Predictions, config: EvaluateConfig) -> dict[str, float]:
    """Figures of the first task under their own names; of each task as ``task.metric`` where there are several."""
    found: dict[str, float] = {}
    tasks = predictions.origin.tasks
    for index, task in enumerate(tasks):
        rows = rated(predictions, index, weighted=config.weighted)
        values = {name: metric.value for name, metric in measure(rows.take(~np.isnan(rows.labels)), config).items()}
        found |= values if index == 0 else {}
        found |= {f"{task}.{name}": value for name, value in values.items()} if len(tasks) > 1 else {}
    return found


def _start(trainer: Trainer, experiment: Experiment, store: Store, initial: Run | None) -> None:
    """Give the model its start values and write the first files; config.json, written last, makes the folder a run."""
    folder, ranker = trainer.folder, trainer.learner.model
    assert isinstance(ranker, Ranker)
    for table in store.inputs.tables:
        vectors = store.pretrained(table.name)
        if vectors is not None:
            ranker.embedding.load_pretrained(table.name, vectors)
    if initial is not None:
        initial.check_store(store)
        _load_weights(ranker, initial)
    inputs = _INPUTS.dump_python(store.inputs, mode="json")
    model = {"format": FORMAT, "encoder": store.manifest.encoder_hash, "inputs": inputs}
    write_json(folder.model, {**model, "model": experiment.model.model_dump(mode="json")})
    environment = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        **describe_environment(trainer.device),
        "seed": experiment.train.seed,
        "store": {"path": portable_path(store.path, folder.path), "hash": store.hash},
        "initial": None if initial is None else {"run": initial.path.name, "sha256": _sha256(initial.folder.weights)},
    }
    write_json(folder.environment, environment)
    trainer.start()
    write_json(folder.config, experiment.model_dump(mode="json"))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load_weights(ranker: Ranker, run: Run) -> None:
    """Copy the best weights of a run into a ranker. Raises RunError if there are none, or names or shapes differ."""
    if not run.folder.weights.is_file():
        raise RunError(f"{run.path} has no weights yet: training stopped before its first validation. Use --resume.")
    weights, _ = load_tensors(run.folder.weights, torch.device("cpu"))
    own = {name: tuple(tensor.shape) for name, tensor in ranker.state_dict().items()}
    given = {name: tuple(tensor.shape) for name, tensor in weights.items()}
    differing = [name for name in dict.fromkeys((*own, *given)) if own.get(name) != given.get(name)]
    if differing:
        name = differing[0]
        raise RunError(
            f"Weights can only be read by the model they are of; {run.path} differs in {len(differing)} tensors "
            f"(first: {name}, {given.get(name, 'absent')} there, {own.get(name, 'absent')} here). Use its model."
        )
    ranker.load_state_dict(weights)


def _read_model(folder: RunFolder) -> dict[str, Any]:
    model = read_json(folder.model)
    if model.get("format") != FORMAT:
        raise RunError(f"{folder.model} has format {model.get('format')!r}; this version of hemix reads {FORMAT}.")
    return model


def _value_names(store: Store) -> Names:
    """Readable values of ids: those of vocabularies; ids of buckets and gaps keep their number."""

    def names(table: str, ids: list[int]) -> list[str]:
        vocabulary = store.encoder.vocabularies.get(table)
        if vocabulary is None:
            return [f"bucket {value - FIRST_ID}" for value in ids]
        return [str(vocabulary.values[value - FIRST_ID].as_py()) for value in ids]

    return names


def _finish(run: Run, outcome: Outcome) -> None:
    """Mark the run as finished."""
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    write_json(run.folder.result, {**outcome.to_json(), "finished": finished})
