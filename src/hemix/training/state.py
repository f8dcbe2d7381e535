"""How far a training has come: all that a checkpoint holds beside tensors and the loader's position."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Window:
    """Sums since the last logged line."""

    steps: int = 0
    rows: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    """Of the loss, its parts and the gradient norm: one value per step each."""

    def add(self, rows: int, values: dict[str, float]) -> None:
        self.steps += 1
        self.rows += rows
        for name, value in values.items():
            self.sums[name] = self.sums.get(name, 0.0) + value

    def means(self) -> dict[str, float]:
        return {name: total / self.steps for name, total in self.sums.items()}


@dataclass(slots=True)
class TrainState:
    """Counters of a training. Everything here is exact in JSON."""

    step: int = 0
    """Updates made."""
    rows: int = 0
    """Rows trained on."""
    seconds: float = 0.0
    """Time spent, over all sessions up to the last checkpoint."""
    rows_at_validation: int = 0
    best: float | None = None
    """Value of the monitored metric for the best weights."""
    best_step: int | None = None
    bad_validations: int = 0
    """Validations in a row without a better value."""
    curve: list[float] = field(default_factory=list)
    """The monitored metric at each validation."""
    window: Window = field(default_factory=Window)
    metrics_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(values: dict[str, Any]) -> "TrainState":
        return TrainState(**{**values, "window": Window(**values["window"])})
