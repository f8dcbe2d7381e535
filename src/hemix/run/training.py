"""`train`: from an experiment and a store to a finished run."""

import hashlib
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import nn

from hemix.data.loader import Loader
from hemix.data.store import SplitView, Store
from hemix.data.user_sample import UserSample
from hemix.errors import ConfigError, RunError
from hemix.evaluate.evaluator import EvaluateConfig, measure, predict_split, rated
from hemix.evaluate.predictions import Predictions
from hemix.evaluate.report import named_figures
from hemix.experiment import Experiment, differing_keys
from hemix.ledger import append
from hemix.models import MODELS
from hemix.objectives import build_objective
from hemix.ranker import Ranker, build_ranker
from hemix.run.model_file import check_encoder, load_weights, write_model
from hemix.run.run import Run
from hemix.training.config import RESUMABLE_KEYS, TrainConfig
from hemix.training.environment import describe_environment, portable_path
from hemix.training.folder import TIMINGS, RunFolder, write_json
from hemix.training.learner import Learner
from hemix.training.trainer import Outcome, Prune, Trainer, Validate, resolve_device


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
    return train_into(
        folder, experiment, store, resume=resume, initial=initial, ledger=ledger, progress=progress, prune=None
    )


def train_into(
    folder: RunFolder,
    experiment: Experiment,
    store: Store,
    *,
    resume: bool,
    initial: str | Path | None,
    ledger: Path | None,
    progress: bool,
    prune: Prune | None,
) -> Run:
    """What `train` does, for a caller that may want to end a run early: `prune` is asked after each validation."""
    _check_data(experiment, store)
    if resume and initial is not None:
        raise ConfigError("--from gives start weights to a new run; a resumed run has its own. Leave one of them out.")
    if resume and _is_done(experiment, store, folder):
        return Run.open(folder.path)
    if not resume:
        folder.must_be_free()
    trainer = _build_trainer(experiment, store, folder, progress=progress)
    if resume:
        folder.result.unlink(missing_ok=True)  # the budget has changed: it is no longer finished
        write_json(folder.config, experiment.model_dump(mode="json"))
    else:
        _start(trainer, experiment, store, None if initial is None else Run.open(initial))
    outcome = trainer.fit(prune)
    if outcome.reason == "interrupted":
        raise KeyboardInterrupt(
            f"Stopped at step {outcome.steps:,}; everything is saved. Go on with the same command and --resume."
        )
    run = Run.open(folder.path)
    _finish(run, outcome, trainer.learner.model, ledger or run.default_ledger)
    return run


def _check_data(experiment: Experiment, store: Store) -> None:
    """Raises ConfigError if the store was prepared from another `data` section."""
    prepared, asked = store.config.model_dump(mode="json"), experiment.data.model_dump(mode="json")
    differing = list(differing_keys(prepared, asked, "data."))
    if differing:
        raise ConfigError(
            f"An experiment's data section must be the one its store was prepared from; {store.path} differs in "
            f"{', '.join(differing[:5])}. Prepare a store from this file, or undo the change."
        )


def _is_done(experiment: Experiment, store: Store, folder: RunFolder) -> bool:
    """Whether the run to be resumed has already come to this experiment's end.

    Raises RunError if there is no run, or if it is of another experiment or store; only the budget may differ.
    """
    if not folder.is_run:
        raise RunError(f"There is no run to resume at {folder.path}; leave --resume out to start one.")
    run = Run(folder.path)
    if run.environment["store"]["hash"] != store.hash:
        raise RunError(
            f"A run can only be resumed on its own store; {store.path} is not the one that {folder.path} began with, "
            "or has been appended to. Start a new run."
        )
    before = run.experiment.model_dump(mode="json")
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
    ranker = build_ranker(store.inputs, experiment.model, seed=config.seed, table_optimizer=config.table_optimizer)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        objective = build_objective(experiment.objective, ranker)
    return Trainer(
        Learner(ranker, objective, tables=ranker.embedding.tables),
        Loader(_shared(store.split("train"), config), batch_size=config.batch_size, seed=config.seed),
        config,
        folder,
        validate=_validator(ranker, _shared(store.split("valid"), config), experiment.evaluate, config.device),
        identity={"store": store.hash, "experiment": experiment.hash_without_budget},
        progress=progress,
    )


def _shared(split: SplitView, config: TrainConfig) -> SplitView | UserSample:
    """The part of a split that a training sees."""
    return split if config.user_share == 1 else UserSample(split, config.user_share)


def _validator(ranker: Ranker, split: SplitView | UserSample, config: EvaluateConfig, device: str) -> Validate | None:
    """Metrics of the validation split, without intervals and slices; None if it has no rows."""
    if split.num_rows == 0:
        return None
    config = config.model_copy(update={"bootstrap_draws": 0})

    def validate() -> Mapping[str, float]:
        loader = Loader(split, batch_size=config.batch_size, seed=None)
        return _flat_metrics(predict_split(ranker, loader, device=resolve_device(device)), config)

    return validate


def _flat_metrics(predictions: Predictions, config: EvaluateConfig) -> dict[str, float]:
    """Figures of the first label under their own names; of each as ``label.metric`` where there are several."""
    found: dict[str, dict[str, float]] = {}
    for index, task in enumerate(predictions.origin.tasks):
        rows = rated(predictions, index, weighted=config.weighted)
        known = rows.take(~np.isnan(rows.labels))
        found[task] = {name: metric.value for name, metric in measure(known, config).items()}
    return named_figures(found)


def _start(trainer: Trainer, experiment: Experiment, store: Store, initial: Run | None) -> None:
    """Give the model its start values and write the first files; config.json, written last, makes the folder a run."""
    folder, ranker = trainer.folder, trainer.learner.model
    assert isinstance(ranker, Ranker)
    has_vectors = MODELS[experiment.model.name].first_order != "alone"
    for table in store.inputs.tables:
        vectors = store.pretrained(table.name)
        if vectors is not None and has_vectors:
            ranker.embedding.load_pretrained(table.name, vectors)
    if initial is not None:
        _check_model(initial, experiment)
        check_encoder(initial.folder, store)
        load_weights(ranker, initial.folder)
    write_model(folder, experiment.model, store)
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


def _check_model(initial: Run, experiment: Experiment) -> None:
    """Raises RunError if weights were trained in another model; another dropout is no other model."""
    before, asked = (each.model_dump(mode="json")["model"] for each in (initial.experiment, experiment))
    differing = [key for key in differing_keys(before, asked, "model.") if "dropout" not in key]
    if differing:
        raise RunError(
            f"Weights fit the model section they were trained in, dropout aside; {initial.folder.path} differs in "
            f"{', '.join(differing[:5])}. Take over its settings, or start without --from."
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _finish(run: Run, outcome: Outcome, ranker: nn.Module, ledger: Path) -> None:
    """Add the validation figures of the best weights to the ledger, then mark the run as finished."""
    assert isinstance(ranker, Ranker)
    tables = sum(table.numel() for table in ranker.embedding.tables)
    count = sum(parameter.numel() for parameter in ranker.parameters())
    finished = datetime.now(UTC).isoformat(timespec="seconds")
    result = {**outcome.to_json(), "parameters": count, "table_parameters": tables, "finished": finished}
    run.result = result
    validations = [line for line in run.metrics if line["kind"] == "valid" and line["step"] == outcome.best_step]
    store_hash = run.environment["store"]["hash"]
    not_figures = {"kind", "step", "epoch", "rows", *TIMINGS}
    figures = {name: value for line in validations[-1:] for name, value in line.items() if name not in not_figures}
    figures = {name: math.nan if value is None else value for name, value in figures.items()}
    entry = run.ledger_entry(ledger, "valid" if validations else "train", store_hash, figures)
    monitor = run.experiment.train.monitor
    curve = tuple(line[monitor] for line in run.metrics if line["kind"] == "valid")
    append(ledger, entry.model_copy(update={"curve": curve, "pruned": outcome.reason == "pruned"}))
    write_json(run.folder.result, result)
