"""A random order of n things that needs no memory: any stretch of it is computed when it is asked for."""

import numpy as np

ROUNDS = 6


class Shuffle:
    """A pseudo-random permutation of ``0 .. size - 1``: a Feistel network over the next power of four.

    Values that fall outside are sent through again until they fall inside (cycle walking), so that it stays a
    permutation for every size. Memory is constant; position i can be computed without those before it.
    """

    def __init__(self, size: int, seed: int) -> None:
        self.size = size
        self._half = max(1, (max(size - 1, 1).bit_length() + 1) // 2)
        self._keys = np.random.default_rng(seed).integers(0, 2**63, ROUNDS, dtype=np.uint64)

    def take(self, start: int, stop: int) -> np.ndarray:
        """Places ``start .. stop`` of the order (int64)."""
        values = self._scramble(np.arange(start, stop, dtype=np.uint64))
        while len(outside := np.flatnonzero(values >= self.size)):
            values[outside] = self._scramble(values[outside])
        return values.astype(np.int64)

    def _scramble(self, values: np.ndarray) -> np.ndarray:
        shift, mask = np.uint64(self._half), np.uint64(2**self._half - 1)
        left, right = values >> shift, values & mask
        for key in self._keys:
            left, right = right, left ^ (mix(right ^ key) & mask)
        return (left << shift) | right


def mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64 (Steele, Lea and Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
