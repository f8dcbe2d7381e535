"""What the trainer trains: a model, the objective that judges it, and which parameters are embedding tables."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from hemix.objectives import Loss


@runtime_checkable
class TrainBatch(Protocol):
    """What the trainer knows of a batch."""

    @property
    def num_rows(self) -> int: ...

    def to(self, device: torch.device) -> "TrainBatch": ...


@runtime_checkable
class BatchSource(Protocol):
    """A loader whose position can be saved: iterating goes from there to the end of the epoch."""

    @property
    def epoch(self) -> int: ...

    @property
    def num_rows(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def state_dict(self) -> dict[str, int]: ...

    def load_state_dict(self, state: dict[str, int]) -> None: ...


class Learner(nn.Module):
    """``objective(model, batch) -> Loss``. Both modules are trained and checkpointed; only the model is kept as best.

    Args:
        model: what is trained.
        objective: module that is called with the model and a batch; may have parameters of its own.
        tables: parameters of the model that are embedding tables.
    """

    def __init__(self, model: nn.Module, objective: nn.Module, tables: Iterable[nn.Parameter] = ()) -> None:
        super().__init__()
        self.model = model
        self.objective = objective
        wanted = {id(table) for table in tables}
        self.table_names = tuple(name for name, parameter in self.named_parameters() if id(parameter) in wanted)

    def forward(self, batch: Any) -> Loss:
        return self.objective(self.model, batch)

    def undecayed(self) -> set[str]:
        """Names of parameters that weight decay leaves alone, though they may have two axes: see `no_decay`."""
        return {
            f"{prefix}.{name}" if prefix else name
            for prefix, module in self.named_modules()
            for name in getattr(module, "no_decay", ())
        }

    def trainable(self) -> dict[str, nn.Parameter]:
        """Every parameter that gradients flow to, by name."""
        return {name: parameter for name, parameter in self.named_parameters() if parameter.requires_grad}
