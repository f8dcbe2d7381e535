"""Batches of whole requests in a seeded order, gathered ahead by a thread; the position is a single number."""

from collections.abc import Iterator

import numpy as np

from hemix.batch import Batch
from hemix.data.ahead import ahead
from hemix.data.shuffle import Shuffle
from hemix.data.store import SplitView
from hemix.data.user_sample import UserSample
from hemix.errors import ConfigError

LOOK_AHEAD = 4096


class Loader:
    """Iterates over a split in batches of about `batch_size` candidates; requests are never cut.

    A batch is closed by the request that fills it, so that it may exceed `batch_size` by less than one request. With
    a `seed` each epoch has its own order of requests; None reads them in order. Iterating goes from the current
    position to the end of the epoch; afterwards the next epoch begins. Memory does not grow with the split.
    """

    def __init__(self, split: SplitView | UserSample, *, batch_size: int, seed: int | None, prefetch: int = 2) -> None:
        if batch_size < 1 or prefetch < 0:
            raise ConfigError(f"A loader needs batch_size >= 1 and prefetch >= 0, got {batch_size} and {prefetch}.")
        self.split = split
        self.batch_size = batch_size
        self.seed = seed
        self.prefetch = prefetch
        self.epoch = 0
        self._position = 0

    @property
    def num_rows(self) -> int:
        return self.split.num_rows

    def state_dict(self) -> dict[str, int]:
        """Epoch and number of requests handed out in it."""
        return {"epoch": self.epoch, "position": self._position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.epoch, self._position = state["epoch"], state["position"]

    def __iter__(self) -> Iterator[Batch]:
        source = self._batches()
        for batch, position in ahead(source, self.prefetch) if self.prefetch else source:
            # The position moves before the batch is used: whoever saves it after a step has seen this batch.
            self._position = position
            yield batch
        self.epoch += 1
        self._position = 0

    def plan(self) -> Iterator[np.ndarray]:
        """The request numbers of each batch from the current position on."""
        size = self.split.num_requests
        shuffle = None if self.seed is None else Shuffle(size, hash_seed(self.seed, self.epoch))
        position = self._position
        while position < size:
            stop = min(size, position + max(LOOK_AHEAD, self.batch_size))
            requests = np.arange(position, stop) if shuffle is None else shuffle.take(position, stop)
            ends = np.cumsum(self.split.counts(requests))
            start = 0
            while start < len(requests):
                before = ends[start - 1] if start else 0
                end = int(np.searchsorted(ends, before + self.batch_size)) + 1
                if end > len(requests) and stop < size:
                    break
                yield requests[start:end]
                start = min(end, len(requests))
            if not start:
                raise AssertionError("a stretch of requests holds at least one batch")
            position += start

    def _batches(self) -> Iterator[tuple[Batch, int]]:
        position = self._position
        draw = 0 if self.seed is None else hash_seed(self.seed, self.epoch)
        for requests in self.plan():
            position += len(requests)
            yield self.split.batch(requests, draw), position


def hash_seed(seed: int, epoch: int) -> int:
    """One seed for each pair of seed and epoch."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0])
