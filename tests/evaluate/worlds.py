"""Small made-up splits, and a ranker that knows how they were made."""

import numpy as np
import torch

from hemix.batch import Batch, Columns, FieldSpec, History, HistorySpec, Inputs, Requests, TableSpec, TaskSpec
from hemix.evaluate.predictions import Origin, Predictions

INPUTS = Inputs(
    request=(FieldSpec(name="city", kind="id", start=0, table="city"),),
    candidate=(
        FieldSpec(name="item", kind="id", start=0, table="item"),
        FieldSpec(name="genres", kind="ids", start=1, width=2, table="genre"),
        FieldSpec(name="price", kind="number", start=0),
        FieldSpec(name="picture", kind="vector", start=1, width=2),
    ),
    histories=(HistorySpec(name="recent", fields=(), shared=(), max_length=12, part="all"),),
    tables=(
        TableSpec(name="city", num_ids=7),
        TableSpec(name="item", num_ids=40),
        TableSpec(name="genre", num_ids=6),
    ),
    tasks=(TaskSpec(name="click", logit_shift=-0.5), TaskSpec(name="buy")),
)


def make_batch(seed, num_requests=60):
    """Requests of 1 to 5 candidates; the second task is known after a click only."""
    random = torch.Generator().manual_seed(seed)

    def draw(low, high, *shape):
        return torch.randint(low, high, shape, generator=random, dtype=torch.int32)

    counts = draw(1, 6, num_requests)
    offsets = torch.cat([torch.zeros(1, dtype=torch.int32), counts.cumsum(0).int()])
    rows = int(offsets[-1])
    genres = torch.stack([draw(3, 6, rows), draw(0, 2, rows) * 4], dim=1)
    numbers = torch.randn(rows, 3, generator=random)
    numbers[::7, 0] = torch.nan
    labels = (torch.rand(rows, 2, generator=random) < torch.sigmoid(torch.nan_to_num(numbers[:, :1]) - 1)).float()
    labels[labels[:, 0] == 0, 1] = torch.nan
    return Batch(
        requests=Requests(
            columns=Columns(ids=draw(1, 7, num_requests, 1), numbers=torch.zeros(num_requests, 0)),
            histories={
                "recent": History(
                    events=Columns(
                        ids=torch.zeros(num_requests, 12, 0, dtype=torch.int32),
                        numbers=torch.zeros(num_requests, 12, 0),
                    ),
                    times=torch.zeros(num_requests, 12, dtype=torch.int64),
                    lengths=draw(0, 13, num_requests),
                )
            },
            users=draw(-1, 15, num_requests),
            times=torch.arange(num_requests, dtype=torch.int64) + 1000 * seed,
        ),
        candidates=Columns(ids=torch.cat([draw(1, 40, rows)[:, None], genres], dim=1), numbers=numbers),
        offsets=offsets,
        labels=labels,
        weights=torch.rand(rows, generator=random),
    )


class Oracle(torch.nn.Module):
    """Scores by the price alone, plus `noise`; both tasks alike."""

    def __init__(self, noise=0.0, seed=0):
        super().__init__()
        self.inputs = INPUTS
        self.noise, self.seed = noise, seed
        self.modes = []

    def forward(self, batch):
        self.modes.append(self.training)
        random = torch.Generator().manual_seed(self.seed + batch.num_rows)
        score = torch.nan_to_num(batch.candidates.numbers[:, 0])
        score = score + self.noise * torch.randn(batch.num_rows, generator=random)
        return torch.stack([score, score], dim=1)


def make_runs(signals, *, num_users=300, rows_per_user=6, seed=0, seeds=1, seed_noise=0.0, origin=None):
    """Predictions of systems on one split: system s sees the truth through noise of its own, by strength `signals[s]`.

    Each of its `seeds` runs has further noise of strength `seed_noise`.
    """
    random = np.random.default_rng(seed)
    users = np.repeat(np.arange(num_users), 1 + random.poisson(rows_per_user - 1, num_users))
    truth = random.normal(size=len(users)) + 0.7 * random.normal(size=num_users)[users]
    labels = (random.random(len(users)) < 1 / (1 + np.exp(1 - truth))).astype(np.float32)
    runs = []
    for system, signal in enumerate(signals):
        own = signal * truth + random.normal(size=len(users))
        for run in range(seeds):
            logits = own + seed_noise * random.normal(size=len(users)) - 1
            about = Origin(
                tasks=("click",),
                split="test",
                store="s" * 64,
                run=f"run-{system}-{run}",
                system=f"system {system}",
                config=f"config {system}",
                seed=run,
                seconds=2.0,
                parameters=1000 * (system + 1),
            )
            runs.append(
                Predictions(
                    origin=about.model_copy(update=origin or {}),
                    logits=logits.astype(np.float32)[:, None],
                    labels=labels[:, None],
                    users=users,
                    requests=np.arange(len(users)) // 3,
                    times=np.arange(len(users)),
                )
            )
    return runs
