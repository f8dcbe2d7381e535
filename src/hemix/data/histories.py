"""Histories as pointers: the events of a user strictly before a moment, found by binary search in sorted columns."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hemix.batch import FIRST_ID
from hemix.data.expressions import NUM_GAP_BUCKETS
from hemix.schema import History

MICROS = 1_000_000
DAY = 86_400 * MICROS


@dataclass(frozen=True, slots=True)
class EventLog:
    """The events of one segment that a history takes: positions sorted by (user, time) with offsets by user."""

    times: np.ndarray
    """(E,) microseconds, of all events of the log."""
    offsets: np.ndarray
    """(users + 1,) into `taken`, or into the events if all are taken."""
    taken: np.ndarray | None
    """Positions of the events that the history takes; None: all."""

    def bounds(self, users: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First and last (exclusive) place of each user; empty for a user that the segment does not know."""
        known = (users >= 0) & (users < len(self.offsets) - 1)
        safe = np.where(known, users, 0)
        if len(self.offsets) < 2:
            nothing = np.zeros(len(users), np.int64)
            return nothing, nothing.copy()
        first = np.where(known, self.offsets[safe], 0)
        return first, np.where(known, self.offsets[safe + 1], first)

    def positions(self, places: np.ndarray) -> np.ndarray:
        return places if self.taken is None else self.taken[places]

    def lower_bound(self, first: np.ndarray, last: np.ndarray, times: np.ndarray) -> np.ndarray:
        """The first place in ``first .. last`` whose event is not before `times`; all searches step together."""
        low, high = first.copy(), last.copy()
        while True:
            active = low < high
            if not active.any():
                return low
            middle = (low + high) // 2
            probe = self.positions(np.where(active, middle, 0)) if len(self.times) else middle
            before = active & (self.times[probe] < times)
            low = np.where(before, middle + 1, low)
            high = np.where(active & ~before, middle, high)


@dataclass(frozen=True, slots=True)
class Found:
    """The events of R histories, one after the other, oldest first within each."""

    segments: np.ndarray
    """(E,) segment of each event."""
    positions: np.ndarray
    """(E,) its position in that segment's log."""
    lengths: np.ndarray
    """(R,) events per request."""


def find_events(
    logs: Sequence[EventLog], history: History, users: np.ndarray, times: np.ndarray, midnights: np.ndarray, delay: int
) -> Found:
    """The part of each user's history that `history` keeps: strictly before `times` minus `delay` microseconds."""
    needed = history.max_length + (history.k if history.cut == "last_k" and history.part == "older" else 0)
    if history.cut == "last_k" and history.part == "recent":
        needed = min(needed, history.k)
    ranges: list[tuple[np.ndarray, np.ndarray]] = []
    for log in logs:
        first, last = log.bounds(users)
        end = log.lower_bound(first, last, times - delay)
        if history.cut == "same_day":
            middle = log.lower_bound(first, end, midnights)
            first, end = (first, middle) if history.part == "older" else (middle, end)
        ranges.append((np.maximum(first, end - needed), end))
    if len(logs) == 1:
        return _from_one(logs[0], history, *ranges[0], needed)
    return _merged(logs, history, ranges, needed)


def _kept(history: History, lengths: np.ndarray) -> np.ndarray:
    """How many of the newest `lengths` events remain after the younger side of a `last_k` cut is dropped."""
    if history.cut == "last_k" and history.part == "older":
        return np.maximum(lengths - history.k, 0)
    return lengths


def _from_one(log: EventLog, history: History, first: np.ndarray, end: np.ndarray, needed: int) -> Found:
    lengths = np.minimum(_kept(history, end - first), history.max_length)
    stop = first + _kept(history, end - first)
    places = _ranges(stop - lengths, lengths)
    return Found(segments=np.zeros(len(places), np.int64), positions=log.positions(places), lengths=lengths)


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Concatenation of ``start .. start + length``."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - (ends - lengths), lengths)


def _merged(
    logs: Sequence[EventLog], history: History, ranges: Sequence[tuple[np.ndarray, np.ndarray]], needed: int
) -> Found:
    """Join the slices of several segments by time; equal times keep the order of segments."""
    rows, segments, positions, times = [], [], [], []
    for number, (log, (first, end)) in enumerate(zip(logs, ranges, strict=True)):
        found = log.positions(_ranges(first, end - first))
        rows.append(np.repeat(np.arange(len(first)), end - first))
        segments.append(np.full(len(found), number, np.int64))
        positions.append(found)
        times.append(log.times[found])
    row, segment, position = np.concatenate(rows), np.concatenate(segments), np.concatenate(positions)
    order = np.lexsort((np.arange(len(row)), np.concatenate(times), row))
    row, segment, position = row[order], segment[order], position[order]
    totals = np.bincount(row, minlength=len(ranges[0][0]))
    from_end = np.repeat(np.cumsum(totals), totals) - np.arange(len(row)) - 1
    dropped = history.k if history.cut == "last_k" and history.part == "older" else 0
    limit = dropped + history.max_length if dropped else needed
    kept = (from_end >= dropped) & (from_end < limit)
    return Found(
        segments=segment[kept], positions=position[kept], lengths=np.bincount(row[kept], minlength=len(totals))
    )


def gap_ids(history: History, event_times: np.ndarray, times: np.ndarray, midnights: np.ndarray) -> np.ndarray:
    """Id of each event's distance in time; all arguments are per event, in microseconds.

    The older side of a cut counts whole days to the request's local midnight, so that it stays the same all day;
    elsewhere it is the base-2 logarithm of the seconds to the request.
    """
    if history.part == "older":
        days = np.maximum(midnights - event_times + DAY - 1, 0) // DAY
        buckets = np.floor(np.log2(1 + days))
    else:
        buckets = np.floor(np.log2(1 + np.maximum(times - event_times, 0) / MICROS))
    return (FIRST_ID + np.minimum(buckets, NUM_GAP_BUCKETS - 1)).astype(np.int32)
