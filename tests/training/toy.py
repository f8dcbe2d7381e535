"""A small learner and loader for the trainer's tests: a click model over two tables, dropout included."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from hemix.objectives import Loss
from hemix.training.config import TrainConfig
from hemix.training.folder import RunFolder
from hemix.training.learner import Learner
from hemix.training.trainer import Trainer

NUM_IDS, DIM = 40, 4


@dataclass(frozen=True)
class ToyBatch:
    ids: torch.Tensor
    labels: torch.Tensor

    @property
    def num_rows(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> "ToyBatch":
        return ToyBatch(self.ids.to(device), self.labels.to(device))


class ToyModel(nn.Module):
    def __init__(self, seed: int = 0, *, sparse: bool = True) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.table = nn.Embedding(NUM_IDS, DIM, sparse=sparse)
            self.hidden = nn.Linear(2 * DIM, 8)
            self.dropout = nn.Dropout(0.2)
            self.out = nn.Linear(8, 1)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.out(self.dropout(self.hidden(self.table(ids).flatten(1)).relu()))[:, 0]


class ToyObjective(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, model: nn.Module, batch: ToyBatch) -> Loss:
        click = F.binary_cross_entropy_with_logits(self.scale * model(batch.ids), batch.labels)
        return Loss(total=click, parts={"click": click.detach()})


class ToyLoader:
    """Shuffles each epoch by (seed, epoch); its position counts the batches handed out."""

    def __init__(self, num_rows: int = 100, batch_size: int = 8, seed: int = 3) -> None:
        rng = np.random.default_rng(7)
        self.ids = torch.as_tensor(rng.integers(0, NUM_IDS, (num_rows, 2)))
        self.labels = ((self.ids.sum(1) % 3) == 0).float()
        self.batch_size, self.seed = batch_size, seed
        self.epoch = self.position = 0

    @property
    def num_rows(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[ToyBatch]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_rows)
        while self.position < self.num_rows:
            rows = torch.as_tensor(order[self.position : self.position + self.batch_size])
            self.position += len(rows)
            yield ToyBatch(self.ids[rows], self.labels[rows])
        self.epoch, self.position = self.epoch + 1, 0

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


def toy_learner(seed: int = 0) -> Learner:
    model = ToyModel(seed)
    return Learner(model, ToyObjective(), tables=[model.table.weight])


def toy_trainer(folder: RunFolder, config: TrainConfig, *, loader: ToyLoader | None = None) -> Trainer:
    """A trainer whose validation is the loss on all rows, as `log_loss`, and its negative, as `auc`."""
    learner = toy_learner(config.seed)
    whole = ToyLoader()

    def validate() -> dict[str, float]:
        with torch.no_grad():
            loss = float(learner(ToyBatch(whole.ids, whole.labels)).total)
        return {"log_loss": loss, "auc": -loss, "gauc": float("nan")}

    source = loader or ToyLoader(batch_size=config.batch_size)
    return Trainer(learner, source, config, folder, validate=validate, identity={"store": "s"}, progress=False)


def toy_config(**values: object) -> TrainConfig:
    return TrainConfig.model_validate({"batch_size": 8, "epochs": 3, "monitor": "log_loss", "log_steps": 4, **values})
