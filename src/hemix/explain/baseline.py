"""What a prediction is compared with: the mean vector that each field has in training."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hemix.batch import Batch
from hemix.data.store import SplitView, Store
from hemix.ranker import Ranker

MAX_REQUESTS = 4096
MAX_ROWS = 65_536
MAX_EVENTS = 200_000
"""Per history; more would not move a mean that anyone can see, but take seconds."""
CHUNK_EVENTS = 50_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Baseline:
    """Mean vectors of the fields of each side, over requests, candidate rows and events of the training split."""

    request: Float[Tensor, " I"]
    candidate: Float[Tensor, " J"]
    histories: dict[str, Float[Tensor, " _"]]
    """Zero for a history without an event in training."""
    requests: int
    """Training requests that were looked at."""


@torch.no_grad()
def training_mean(ranker: Ranker, store: Store, *, seed: int = 0) -> Baseline:
    """The mean over the training split, or over a random sample of it where it is large."""
    order = np.random.default_rng(seed).permutation(store.split("train", histories=False).num_requests)
    view = store.split("train", serving=True, histories=False)
    requests = order[:MAX_REQUESTS]
    within = int(np.searchsorted(np.cumsum(view.counts(requests)), MAX_ROWS)) + 1
    requests = np.sort(requests[:within])
    batch = view.batch(requests).to(_device(ranker))
    return Baseline(
        request=ranker.embedding.request(batch.requests.columns).values.mean(dim=0),
        candidate=ranker.embedding.candidate(batch.candidates).values.mean(dim=0),
        histories=_event_means(ranker, store.split("train", serving=True), order),
        requests=len(requests),
    )


def _event_means(ranker: Ranker, view: SplitView, order: np.ndarray) -> dict[str, Tensor]:
    """Mean over all events that the chosen requests see, an event as often as it is seen."""
    longest = max((spec.max_length for spec in view.store.inputs.histories), default=1)
    requests = order[: max(1, min(MAX_REQUESTS, MAX_EVENTS // longest))]
    chunk = max(1, CHUNK_EVENTS // longest)
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}
    for start in range(0, len(requests), chunk):
        batch = view.batch(np.sort(requests[start : start + chunk])).to(_device(ranker))
        for name, total, count in _sums(ranker, batch):
            sums[name] = sums[name] + total if name in sums else total
            counts[name] = counts.get(name, 0) + count
    return {name: total / max(1, counts[name]) for name, total in sums.items()}


def _sums(ranker: Ranker, batch: Batch) -> list[tuple[str, Tensor, int]]:
    found = []
    for name in ranker.embedding.layouts.histories:
        events, attended = ranker.embedding.history(name, batch.requests.histories[name])
        found.append((name, events.values[attended].sum(dim=0), int(attended.sum())))
    return found


def _device(ranker: Ranker) -> torch.device:
    return next(ranker.parameters()).device
