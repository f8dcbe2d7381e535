"""Items drawn for requests: a function of seed, epoch and request number alone, so that nothing has to be kept.

Two lists are drawn from. *Known* has every item once, by the time at which anyone first met it; *met* has every
meeting of a user with an item, by time. What lies strictly before a request is the beginning of either list, so that
no draw can know the future. Both are also kept by cell (areas of growing size; the last one holds every item): the
known part of a cell is a stretch, found by binary search.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hemix.data.shuffle import mix
from hemix.negatives import Drawn, NearbyNegatives, PopularNegatives

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
STEPS = np.arange(8, dtype=np.uint64) * GOLDEN
LOW = np.uint64(32)
NOTHING = -1
POPULAR_TRIES = 2
"""Draws by popularity for each item wanted; what repeats is filled up from the known items."""

Read = Callable[[str], np.ndarray]
"""Opens an array of the drawing by name."""


@dataclass(frozen=True, slots=True)
class Areas:
    """A list in the order of time, cut into cells: ``keys = cell * (size + 1) + place in the list``, sorted."""

    times: np.ndarray
    keys: np.ndarray
    items: np.ndarray

    def before(self, cells: np.ndarray, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """First place and number of the entries of each cell that lie strictly before each moment."""
        places = np.searchsorted(self.times, moments)
        first = cells.astype(np.int64) * (len(self.times) + 1)
        start = np.searchsorted(self.keys, first)
        return start, np.searchsorted(self.keys, first + places) - start


class Drawer:
    """Draws `num` different items for each request; `read` opens what `write_drawing` wrote."""

    def __init__(self, negatives: Drawn, delay: int, read: Read) -> None:
        self.num = negatives.num
        self._seed = negatives.seed
        self._delay = delay
        self._cells = read("cells")
        self._known = Areas(read("known_time"), read("known_keys"), read("known_items"))
        share = popular_share(negatives)
        self._num_popular = round(share * negatives.num)
        self._met = Areas(read("met_time"), read("met_keys"), read("met_items")) if share else None

    def draw(self, taken: np.ndarray, times: np.ndarray, numbers: np.ndarray, stream: int) -> np.ndarray:
        """Items (R, num) for requests at `times`, none of them among `taken` (R, P), filled up with -1.

        The area is that of the first item taken. `numbers` (R,) tell requests apart, `stream` splits and epochs.
        """
        moments = times - self._delay
        cells, start, count = self._area(taken, moments)
        keys = request_keys(self._seed, stream, numbers)
        width = self.num + taken.shape[1]
        places = permuted(count, keys, width)
        drawn = self._known.items[start[:, None] + np.minimum(places, count[:, None] - 1)].astype(np.int64)
        drawn[places >= count[:, None]] = NOTHING
        if self._met is None:
            return first_new(drawn, taken, self.num)
        start, count = self._met.before(cells, moments)
        columns = np.arange(1, POPULAR_TRIES * self._num_popular + 1, dtype=np.uint64)
        dice = mix(keys[:, None] ^ (columns * GOLDEN)) >> LOW
        places = ((dice * count[:, None].astype(np.uint64)) >> LOW).astype(np.int64)
        popular = first_new(self._met.items[start[:, None] + places].astype(np.int64), taken, self._num_popular)
        rest = first_new(drawn, np.concatenate([taken, popular], axis=1), self.num)
        return first_new(np.concatenate([popular, rest], axis=1), taken, self.num)

    def _area(self, taken: np.ndarray, moments: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cell of each request, and its known items: the smallest cell that has enough of them, else all."""
        needed = self.num + (taken >= 0).sum(axis=1)
        cells = self._cells[taken[:, 0]].T
        chosen = cells[-1].copy()
        start, count = self._known.before(chosen, moments)
        open_ = np.arange(len(taken))
        for level in cells[:-1]:
            found, known = self._known.before(level[open_], moments[open_])
            enough = known >= needed[open_]
            rows = open_[enough]
            chosen[rows], start[rows], count[rows] = level[rows], found[enough], known[enough]
            open_ = open_[~enough]
        return chosen, start, count


def popular_share(negatives: Drawn) -> float:
    """Share of the draws that goes by popularity."""
    if isinstance(negatives, NearbyNegatives):
        return negatives.popular
    return float(isinstance(negatives, PopularNegatives))


def request_keys(seed: int, stream: int, numbers: np.ndarray) -> np.ndarray:
    """A random word (uint64) for each request."""
    word = np.random.SeedSequence([seed, stream]).generate_state(1, np.uint64)
    return mix(word ^ mix(numbers.astype(np.uint64) * GOLDEN))


def permuted(sizes: np.ndarray, keys: np.ndarray, width: int) -> np.ndarray:
    """The first `width` places (R, width) of a random order of ``0 .. size - 1`` for each request.

    Places from the `size`-th on are `size` or more. A Feistel network over the least rectangle a x b that holds the
    size: each half is shifted by a function of the other one, which can be undone; values outside go through again.
    """
    sizes = np.maximum(sizes, 1)
    a = np.ceil(np.sqrt(sizes)).astype(np.uint64)
    b = -(-sizes.astype(np.int64) // a.astype(np.int64))
    rows = np.repeat(np.arange(len(sizes)), width)
    slots = np.tile(np.arange(width), len(sizes))
    values = slots.copy()
    active = np.flatnonzero(slots < sizes[rows])
    shape = (a, b.astype(np.uint64), keys)
    while len(active):
        of = rows[active]
        values[active] = _scramble(values[active].astype(np.uint64), *(column[of] for column in shape))
        active = active[values[active] >= sizes[of]]
    return values.reshape(len(sizes), width)


def _scramble(values: np.ndarray, a: np.ndarray, b: np.ndarray, keys: np.ndarray) -> np.ndarray:
    left, right = values // b, values % b
    for step, constant in enumerate(STEPS):
        if step % 2:
            right = _shifted(right, left, keys + constant, b)
        else:
            left = _shifted(left, right, keys + constant, a)
    return (left * b + right).astype(np.int64)


def _shifted(half: np.ndarray, other: np.ndarray, word: np.ndarray, size: np.ndarray) -> np.ndarray:
    """`half` moved on by a random step below `size`, around the end."""
    moved = half + (((mix(word ^ (other * GOLDEN)) >> LOW) * size) >> LOW)
    return np.where(moved >= size, moved - size, moved)


def first_new(drawn: np.ndarray, taken: np.ndarray, num: int) -> np.ndarray:
    """The first `num` entries (R, num) of each row that are not -1, not among `taken` and not repeated; then -1."""
    both = np.concatenate([taken, drawn], axis=1)
    order = np.argsort(both, axis=1, kind="stable")
    ranked = np.take_along_axis(both, order, axis=1)
    again = np.zeros(both.shape, bool)
    np.put_along_axis(again[:, :], order[:, 1:], ranked[:, 1:] == ranked[:, :-1], axis=1)
    new = ~again[:, taken.shape[1] :] & (drawn >= 0)
    place = np.cumsum(new, axis=1) - 1
    new &= place < num
    found = np.full((len(drawn), num), NOTHING, drawn.dtype)
    rows, columns = np.nonzero(new)
    found[rows, place[rows, columns]] = drawn[rows, columns]
    return found
