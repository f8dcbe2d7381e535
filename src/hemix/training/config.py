"""The `train` section of an experiment: budget, optimizers, schedule, validation and checkpoints."""

from typing import Literal

from pydantic import Field, field_validator, model_validator

from hemix.config import Config, is_empty
from hemix.errors import suggestion
from hemix.search_space import Draw

HIGHER_IS_BETTER = ("auc", "gauc", "pr_auc", "ndcg")
REGRESSION_METRICS = ("rmse", "mae")
LOWER_IS_BETTER = ("log_loss", "ne", "brier", "ece", *REGRESSION_METRICS)
BUDGET_KEYS = ("epochs", "max_steps", "max_seconds")
RESUMABLE_KEYS = (*BUDGET_KEYS, "profile_steps")
"""What may be changed when a run is resumed."""


def higher_is_better(metric: str) -> bool:
    """Direction of a metric of the validation report; a task (`click.auc`) or a depth (`ndcg@10`) may stand with it.

    Raises ValueError for a metric that has no better end (COPC is best at 1, counts have none).
    """
    name = metric.rpartition(".")[2].partition("@")[0]
    if name in HIGHER_IS_BETTER:
        return True
    if name in LOWER_IS_BETTER:
        return False
    known = (*HIGHER_IS_BETTER, *LOWER_IS_BETTER)
    raise ValueError(f"no metric to choose weights by; known: {', '.join(known)}.{suggestion(name, known)}")


class OptimizerConfig(Config):
    """AdamW (Loshchilov & Hutter 2019) for all parameters but the embedding tables."""

    lr: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    """Decoupled; on the matrices of maps only, not on biases, norms, learned vectors or tables."""
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)

    @field_validator("betas")
    @classmethod
    def _betas_in_range(cls, betas: tuple[float, float]) -> tuple[float, float]:
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError("both must lie in [0, 1)")
        return betas


class ScheduleConfig(Config):
    """Learning rates over steps: a linear warm-up, then constant, or falling to `floor` along a line or a cosine."""

    kind: Literal["constant", "linear", "cosine"] = "constant"
    warmup_steps: int = Field(default=0, ge=0)
    decay_steps: int | None = Field(default=None, ge=1)
    """Step at which `floor` is reached, warm-up included; None: the number of steps in the budget."""
    floor: float = Field(default=0.0, ge=0, le=1)
    """Share of the learning rate at the end of the decay."""

    @model_validator(mode="after")
    def _decay_where_there_is_one(self) -> "ScheduleConfig":
        if self.kind == "constant" and (self.decay_steps is not None or self.floor):
            raise ValueError("decay_steps and floor need kind 'linear' or 'cosine'; this schedule is constant")
        if self.decay_steps is not None and self.decay_steps <= self.warmup_steps:
            raise ValueError(f"decay_steps {self.decay_steps} must be above warmup_steps {self.warmup_steps}")
        return self


class TrainConfig(Config):
    """How to train. The budget is whichever of `epochs`, `max_steps` and `max_seconds` is used up first."""

    batch_size: int = Field(default=1024, ge=1)
    """Candidate rows per step; requests are never cut in two."""
    seed: int = Field(default=0, ge=0)
    """Of start weights, shuffling and dropout."""
    user_share: float = Field(default=1.0, gt=0, le=1)
    """Share of the users that are trained and validated on, chosen by a hash: for trials. Evaluation reads all."""
    device: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    """`auto`: cuda where there is one, else cpu."""
    deterministic: bool = True
    """Use deterministic kernels where torch has them: slower on a GPU."""
    epochs: int | None = Field(default=10, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    max_seconds: float | None = Field(default=None, gt=0)
    """Validation included; a resumed run goes on counting."""
    optimizer: OptimizerConfig = OptimizerConfig()
    table_optimizer: Literal["rowwise_adagrad", "adam"] = "rowwise_adagrad"
    """`rowwise_adagrad` touches only the rows in the batch; `adam` is exact dense Adam and walks the whole tables."""
    table_lr: float | None = Field(default=None, gt=0)
    """Of the embedding tables; None: 0.02 for row-wise Adagrad, `optimizer.lr` for Adam."""
    table_weight_decay: float = Field(default=0.0, ge=0, exclude_if=is_empty)
    """L2 of the embedding tables, in their gradient (coupled): of all rows under Adam, of those in the batch under
    row-wise Adagrad."""
    schedule: ScheduleConfig = ScheduleConfig()
    clip_norm: float | None = Field(default=10.0, gt=0)
    """Greatest norm of the whole gradient; None: not clipped."""
    validate_every: int | None = Field(default=None, ge=1)
    """Rows between validations; None: at the end of each epoch."""
    monitor: str = "auc"
    """Metric of the validation report that chooses the best weights; `task.metric` where there are several tasks."""
    patience: int | None = Field(default=2, ge=1)
    """Validations in a row without a better `monitor` after which training stops; None: never."""
    checkpoint_seconds: float = Field(default=300.0, gt=0)
    """Longest time between checkpoints; each validation writes one too."""
    checkpoint_steps: int | None = Field(default=None, ge=1)
    log_steps: int = Field(default=50, ge=1)
    """Steps between lines in metrics.jsonl."""
    profile_steps: int = Field(default=0, ge=0)
    """Measure that many steps and write profile.txt; 0: none."""

    @property
    def search_space(self) -> dict[str, Draw]:
        """What a search tries of this section. The rate of tables is their optimizer's own: Adam has `optimizer.lr`."""
        rates = {
            "optimizer.lr": Draw(log_uniform=(3e-4, 1e-2)),
            "optimizer.weight_decay": Draw(log_uniform=(1e-3, 0.3)),
        }
        if self.table_optimizer == "adam":
            return {**rates, "table_weight_decay": Draw(log_uniform=(1e-6, 1e-3))}
        return {**rates, "table_lr": Draw(log_uniform=(0.005, 0.2))}

    @field_validator("monitor")
    @classmethod
    def _monitor_has_a_direction(cls, monitor: str) -> str:
        higher_is_better(monitor)
        return monitor

    @model_validator(mode="after")
    def _has_an_end(self) -> "TrainConfig":
        if self.epochs is None and self.max_steps is None and self.max_seconds is None:
            raise ValueError(f"training needs an end: set one of {', '.join(BUDGET_KEYS)}")
        fixed_end = self.epochs or self.max_steps or self.schedule.decay_steps
        if self.schedule.kind != "constant" and not fixed_end:
            raise ValueError("a schedule that decays needs schedule.decay_steps where only max_seconds ends training")
        return self
