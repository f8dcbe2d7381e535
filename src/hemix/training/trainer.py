"""The training loop: steps, validation, early stopping, checkpoints, and a stop that can be taken up again.

A run is a pure function of (start weights, config, loader): interrupted or killed and resumed any number of times, it
ends with the same bits in its weights and the same lines in metrics.jsonl, timings aside.
"""

import math
import time
import warnings
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch

from hemix.errors import ConfigError, RunError, TrainingError, suggestion
from hemix.training.checkpoint import load_module, load_tensors, rng_state, save_tensors, select, set_rng_state
from hemix.training.config import TrainConfig, higher_is_better
from hemix.training.diagnose import gradient_error, loss_error
from hemix.training.folder import RunFolder
from hemix.training.gradients import clip_gradients, merge_sparse_gradients
from hemix.training.interrupts import interrupts_noted
from hemix.training.learner import BatchSource, Learner
from hemix.training.optimizers import Optimizers
from hemix.training.profile import StepProfile
from hemix.training.progress import TrainProgress
from hemix.training.schedules import planned_steps, rate_factor
from hemix.training.state import TrainState, Window

StopReason = Literal["epochs", "max_steps", "max_seconds", "early_stopping", "pruned", "interrupted"]
Validate = Callable[[], Mapping[str, float]]
Prune = Callable[[Sequence[float]], bool]
"""Told of the monitored metric at every validation so far; whether to go no further."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a training ended."""

    reason: StopReason
    steps: int
    rows: int
    seconds: float
    best_step: int | None
    """Update after which the kept weights were taken; None: interrupted before the first validation."""
    best: float | None
    """Their value of the monitored metric; None without validation."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def resolve_device(name: str) -> torch.device:
    """The device behind `train.device`. Raises ConfigError if this machine has none of that kind."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not found.get(name, False):
        there = ", ".join(kind for kind, present in found.items() if present)
        raise ConfigError(f"train.device is {name!r}, which this machine does not have; it has: {there}. Use auto.")
    return torch.device(name)


@contextmanager
def _deterministic_kernels(wanted: bool) -> Iterator[None]:
    """Within it torch prefers deterministic kernels; where there is none, it goes on with the other."""
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    switch: Any = torch.utils.deterministic
    fill = switch.fill_uninitialized_memory
    try:
        torch.use_deterministic_algorithms(wanted or before[0], warn_only=True)
        switch.fill_uninitialized_memory = False  # it finds reads of unset memory, and costs a pass over every buffer
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        switch.fill_uninitialized_memory = fill


class Trainer:
    """Trains a `Learner` on batches of a loader, into a run folder.

    Args:
        learner: model and objective; moved to `train.device`.
        loader: where batches come from; its position is part of every checkpoint.
        config: the `train` section.
        folder: where checkpoints, best weights and metrics go.
        validate: metrics of the validation split for the model as it is; None: the last weights are kept.
        identity: what a checkpoint must agree with to be resumed (hashes of the store and of the experiment).
        progress: draw a progress bar if standard error is a terminal.
    """

    def __init__(
        self,
        learner: Learner,
        loader: BatchSource,
        config: TrainConfig,
        folder: RunFolder,
        *,
        validate: Validate | None = None,
        identity: Mapping[str, str] | None = None,
        progress: bool = True,
    ) -> None:
        if config.patience is not None and validate is None:
            raise ConfigError(
                f"Early stopping (train.patience {config.patience}) needs validation rows, and there are none. "
                "Change data.split, or set train.patience: null."
            )
        if loader.num_rows == 0:
            raise TrainingError("Training needs rows; the training split has none. Look at data.split.")
        self.config = config
        self.folder = folder
        self.loader = loader
        self.device = resolve_device(config.device)
        self.learner = learner.to(self.device)
        self.optimizers = Optimizers(learner.trainable(), learner.table_names, config, learner.undecayed())
        self.state = TrainState()
        self._validate = validate
        self._prune: Prune | None = None
        self._pruned = False
        self._identity = dict(identity or {})
        self._total_steps = planned_steps(config, loader.num_rows)
        self._profile = StepProfile(config.profile_steps, folder.profile, self.device)
        self._progress = TrainProgress(_budget_rows(config, loader.num_rows), enabled=progress)
        self._interrupted: Callable[[], bool] = lambda: False
        self._clock = self._saved_at = self._logged_at = time.perf_counter()

    def start(self) -> None:
        """Write the checkpoint of step 0, from which a run killed early starts again."""
        self.folder.path.mkdir(parents=True, exist_ok=True)
        self.folder.truncate_metrics(0)
        with torch.random.fork_rng(devices=self._rng_devices()):
            torch.manual_seed(self.config.seed)
            self._save()

    def fit(self, prune: Prune | None = None) -> Outcome:
        """Train from the checkpoint in the run folder until the budget is used up; the model then has its best weights.

        `prune` is asked after each validation whether to stop before that; None: never.

        Raises TrainingError if loss or gradients stop being finite, RunError if the checkpoint does not fit. After an
        interrupt the reason is ``interrupted``: everything is saved, and the model has its latest weights.
        """
        with ExitStack() as stack:
            stack.enter_context(torch.random.fork_rng(devices=self._rng_devices()))
            stack.enter_context(_deterministic_kernels(self.config.deterministic))
            self._load()
            self._prune = prune
            self._pruned = self._is_behind()
            self._interrupted = stack.enter_context(interrupts_noted())
            stack.enter_context(self._progress)
            self._clock = self._saved_at = self._logged_at = time.perf_counter()
            self._progress.start_at(self.state.rows)
            self.learner.train()
            reason = self._stop_reason()
            while reason is None:
                reason = self._epoch()
            return self._end(reason)

    def _epoch(self) -> StopReason | None:
        """Train to the end of the epoch, or until there is a reason to stop."""
        with closing(self._batches()) as batches:
            for batch in batches:
                self._step(batch)
                if self.state.step % self.config.log_steps == 0:
                    self._log_window()
                every = self.config.validate_every
                if every is not None and self.state.rows - self.state.rows_at_validation >= every:
                    self._validation()
                elif self._checkpoint_due():
                    self._save()
                self._profile.step_done()
                if (reason := self._stop_reason()) is not None:
                    return reason
        if self.config.validate_every is None:
            self._validation()
        return self._stop_reason()

    def _batches(self) -> Generator[Any, None, None]:
        batches = iter(self.loader)
        while True:
            with self._profile.phase("loader"):
                batch = next(batches, None)
            if batch is None:
                return
            yield batch.to(self.device)

    def _step(self, batch: Any) -> None:
        """One update. Raises TrainingError before anything that is not finite reaches the weights."""
        state, learner, optimizers = self.state, self.learner, self.optimizers
        factor = rate_factor(self.config.schedule, state.step, self._total_steps)
        with self._profile.phase("forward"):
            loss = learner(batch)
            total = loss.total.item()
        if not math.isfinite(total):
            raise loss_error(learner, batch, loss, state.step + 1)
        with self._profile.phase("backward"):
            optimizers.zero_grad()
            loss.total.backward()
        with self._profile.phase("optimizer"):
            parameters = learner.trainable().values()
            merge_sparse_gradients(parameters)
            norm = clip_gradients(parameters, self.config.clip_norm)
            if not math.isfinite(norm):
                raise gradient_error(learner, batch, norm, state.step + 1)
            optimizers.set_rate_factor(factor)
            optimizers.step()
        state.step += 1
        state.rows += batch.num_rows
        parts = {name: part.item() for name, part in loss.parts.items()}
        state.window.add(batch.num_rows, {"loss": total, **parts, "grad_norm": norm})
        self._progress.update(state.rows, self.loader.epoch, total)

    def _stop_reason(self) -> StopReason | None:
        config, state = self.config, self.state
        if self._interrupted():
            return "interrupted"
        if config.patience is not None and state.bad_validations >= config.patience:
            return "early_stopping"
        if config.max_steps is not None and state.step >= config.max_steps:
            return "max_steps"
        if config.max_seconds is not None and self._seconds() >= config.max_seconds:
            return "max_seconds"
        if config.epochs is not None and self.loader.epoch >= config.epochs:
            return "epochs"
        return "pruned" if self._pruned else None

    def _seconds(self) -> float:
        return self.state.seconds + time.perf_counter() - self._clock

    def _checkpoint_due(self) -> bool:
        every = self.config.checkpoint_steps
        if every is not None and self.state.step % every == 0:
            return True
        return time.perf_counter() - self._saved_at >= self.config.checkpoint_seconds

    def _log_window(self) -> None:
        """Write the means since the last line. Timings stand under the keys `TIMINGS`, all else is reproducible."""
        state, window = self.state, self.state.window
        if window.steps == 0:
            return
        now = time.perf_counter()
        self.folder.log(
            {
                "kind": "train",
                **self._place(),
                **window.means(),
                "rate_factor": rate_factor(self.config.schedule, state.step - 1, self._total_steps),
                "seconds": self._seconds(),
                "rows_per_second": window.rows / (now - self._logged_at),
            }
        )
        state.window, self._logged_at = Window(), now

    def _place(self) -> dict[str, int]:
        return {"step": self.state.step, "epoch": self.loader.epoch, "rows": self.state.rows}

    def _validation(self) -> None:
        """Measure the model, keep its weights if they are the best so far, and write a checkpoint."""
        if self._validate is None:
            return
        self.learner.eval()
        start = time.perf_counter()
        metrics = dict(self._validate())
        self._logged_at += time.perf_counter() - start
        self.learner.train()
        value = self._monitored(metrics)
        finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
        self.folder.log({"kind": "valid", **self._place(), **finite, "seconds": self._seconds()})
        self._progress.validated(self.state.step, self.config.monitor, value)
        state = self.state
        state.rows_at_validation = state.rows
        state.curve.append(value)
        self._pruned = self._is_behind()
        sign = 1.0 if higher_is_better(self.config.monitor) else -1.0
        if state.best is None or sign * value > sign * state.best:
            state.best, state.bad_validations = value, 0
            self._keep_weights()
        else:
            state.bad_validations += 1
        self._save()

    def _is_behind(self) -> bool:
        return self._prune is not None and bool(self.state.curve) and self._prune(self.state.curve)

    def _monitored(self, metrics: Mapping[str, float]) -> float:
        name = self.config.monitor
        if name not in metrics:
            known = ", ".join(sorted(metrics))
            raise ConfigError(f"train.monitor {name!r} is not reported; there are: {known}.{suggestion(name, metrics)}")
        if not math.isfinite(metrics[name]):
            raise TrainingError(
                f"The metric that chooses weights must be defined on the validation rows; {name} is {metrics[name]} "
                "(one class only, or no user with both). Choose another train.monitor (log_loss), or change data.split."
            )
        return metrics[name]

    def _keep_weights(self) -> None:
        self.state.best_step = self.state.step
        note = {"step": self.state.step, "monitor": self.config.monitor, "value": self.state.best}
        save_tensors(self.folder.weights, self.learner.model.state_dict(), note)

    def _end(self, reason: StopReason) -> Outcome:
        """Validate what is not yet validated, save, and give the model its best weights."""
        self._profile.finish()
        state = self.state
        if reason != "interrupted":
            self._log_window()
            if state.best is None or state.rows != state.rows_at_validation:
                self._validation()
            if self._validate is None:
                self._keep_weights()
        self._save()
        if reason != "interrupted":
            self._restore_best()
        return Outcome(
            reason=reason,
            steps=state.step,
            rows=state.rows,
            seconds=state.seconds,
            best_step=state.best_step,
            best=state.best,
        )

    def _restore_best(self) -> None:
        weights, note = load_tensors(self.folder.weights, self.device)
        if note["step"] != self.state.best_step:
            raise RunError(
                f"{self.folder.weights} is of step {note['step']}, the checkpoint counts step {self.state.best_step} "
                "as best; the folder mixes two trainings. Train again into a new one."
            )
        load_module(self.learner.model, weights, self.folder.weights)
        self.learner.eval()

    def _rng_devices(self) -> list[torch.device]:
        return [self.device] if self.device.type == "cuda" else []

    def _save(self) -> None:
        """Write the checkpoint: all that the next step depends on."""
        state = self.state
        state.seconds, self._clock = self._seconds(), time.perf_counter()
        state.metrics_bytes = self.folder.sync_metrics()
        tensors = {f"weights/{name}": tensor for name, tensor in self.learner.state_dict().items()}
        tensors |= {f"optimizer/{name}": tensor for name, tensor in self.optimizers.state_dict().items()}
        tensors |= {f"rng/{name}": tensor for name, tensor in rng_state(self.device).items()}
        note = {
            "identity": self._identity,
            "threads": torch.get_num_threads(),
            "train": state.to_json(),
            "loader": self.loader.state_dict(),
        }
        save_tensors(self.folder.checkpoint, tensors, note)
        self._saved_at = time.perf_counter()

    def _load(self) -> None:
        """Take up the checkpoint of the run folder."""
        tensors, note = load_tensors(self.folder.checkpoint, self.device)
        differ = [key for key, value in self._identity.items() if note["identity"].get(key) != value]
        if differ:
            raise RunError(
                f"A checkpoint can only be resumed by the training that wrote it; {self.folder.checkpoint} has another "
                f"{' and '.join(differ)}. Start a new run."
            )
        if note["threads"] != torch.get_num_threads():
            warnings.warn(
                f"It was written with {note['threads']} threads, this session has {torch.get_num_threads()}; "
                "sums may round differently, so the result may not equal that of an uninterrupted run bit for bit.",
                stacklevel=2,
            )
        load_module(self.learner, select(tensors, "weights/"), self.folder.checkpoint)
        self.optimizers.load_state_dict(select(tensors, "optimizer/"))
        set_rng_state(select(tensors, "rng/"), self.device)
        self.loader.load_state_dict(note["loader"])
        self.state = TrainState.from_json(note["train"])
        self.folder.truncate_metrics(self.state.metrics_bytes)


def _budget_rows(config: TrainConfig, num_rows: int) -> int | None:
    """Rows that the budget allows for at most; None if only time ends it."""
    limits = [config.epochs * num_rows] if config.epochs is not None else []
    if config.max_steps is not None:
        limits.append(config.max_steps * config.batch_size)
    return min(limits, default=None)
