"""Candidates of a batch with those that were drawn: logged rows first in each request, then the drawn ones."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from hemix.data.drawing import NOTHING, Drawer, Read
from hemix.data.encode import Scaler
from hemix.data.pairs import PairReader, Pairs
from hemix.schema import DataConfig

MICROS = 1_000_000
FIXED = 0
"""The draw of evaluation, and of passes over the training split that are not training."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rows:
    """Candidates of R requests with the features of the block `row`; `offsets` (R + 1,)."""

    offsets: np.ndarray
    items: np.ndarray
    ids: np.ndarray
    numbers: np.ndarray
    labels: np.ndarray
    weights: np.ndarray

    @property
    def request_of_row(self) -> np.ndarray:
        return np.repeat(np.arange(len(self.offsets) - 1), np.diff(self.offsets))


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """The requests that items are drawn for: numbers within the split, users, times, places of origin."""

    numbers: np.ndarray
    users: np.ndarray
    times: np.ndarray
    points: np.ndarray


class DrawnRows:
    """Adds drawn rows to logged ones; `columns` says where a feature's number stands, with its scaler."""

    def __init__(self, config: DataConfig, columns: Mapping[str, tuple[int, Scaler]], read: Read) -> None:
        assert config.negatives is not None
        self._drawer = Drawer(config.negatives, round(config.history_delay * MICROS), read)
        self._pairs = PairReader(config, read)
        self._columns = columns
        self.negatives = config.negatives

    def add(self, logged: Rows, asked: Asked, *, split: str, draw: int) -> Rows:
        """Logged rows and the drawn ones of each request, label 0, with the weight of its first logged row."""
        counts, request = np.diff(logged.offsets), logged.request_of_row
        slots = np.arange(len(request)) - logged.offsets[request]
        taken = np.full((len(counts), int(counts.max(initial=1))), NOTHING, np.int64)
        taken[request, slots] = logged.items
        stream = (draw << 32) | zlib.crc32(split.encode())
        drawn = self._drawer.draw(taken, asked.times, asked.numbers, stream)
        num = self.negatives.count(split)
        # drawn by popularity first, then uniformly: evenly spaced ones keep the shares
        drawn = drawn[:, np.arange(num) * drawn.shape[1] // num]

        offsets = logged.offsets + num * np.arange(len(logged.offsets))
        first = np.repeat(logged.offsets[:-1], counts + num)
        mine = offsets[request] + slots
        items = np.empty(int(offsets[-1]), logged.items.dtype)
        items[offsets[1:, None] - num + np.arange(num)] = drawn
        items[mine] = logged.items
        labels = np.zeros((len(items), logged.labels.shape[1]), logged.labels.dtype)
        labels[mine] = logged.labels
        weights = logged.weights[first]
        weights[mine] = logged.weights
        rows = Rows(
            offsets=offsets, items=items, ids=logged.ids[first], numbers=logged.numbers[first], labels=labels,
            weights=weights,
        )  # fmt: skip
        self._fill(rows, asked)
        return rows

    def _fill(self, rows: Rows, asked: Asked) -> None:
        """Put in the numbers that depend on the item; all others are those of the request."""
        pairs = Pairs(
            users=asked.users, times=asked.times, points=asked.points, request_of_row=rows.request_of_row,
            items=rows.items,
        )  # fmt: skip
        for name in self._pairs.names:
            column, scaler = self._columns[name]
            rows.numbers[:, column] = scaler.apply(self._pairs.column(name, pairs))
