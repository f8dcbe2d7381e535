"""Random numbers that are a pure function of a seed, a name and keys, so that one can be asked for without the others.

The bits are those of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014), applied
once per key. The drift of a user on a day, say, is the same whether the log or a live request asks for it.
"""

import hashlib

import numpy as np
from jaxtyping import Float, Shaped

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_INTO_UNIT = 2.0**-53

Keys = Shaped[np.ndarray, "..."] | int


def uniform(seed: int, name: str, *keys: Keys) -> Float[np.ndarray, "..."]:
    """Numbers in (0, 1), float64, of the shape that the keys broadcast to."""
    return ((_bits(seed, name, keys) >> np.uint64(11)).astype(np.float64) + 0.5) * _INTO_UNIT


def normal(seed: int, name: str, *keys: Keys) -> Float[np.ndarray, "..."]:
    """Standard normal numbers, float64, by Box and Muller."""
    bits = _bits(seed, name, keys)
    radius = ((bits >> np.uint64(32)).astype(np.float64) + 0.5) * 2.0**-32
    angle = (bits & np.uint64(0xFFFFFFFF)).astype(np.float64) * (2.0**-32 * 2 * np.pi)
    return np.sqrt(-2 * np.log(radius)) * np.cos(angle)


def _bits(seed: int, name: str, keys: tuple[Keys, ...]) -> np.ndarray:
    start = int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "little")
    state = np.full((1,), start, np.uint64)
    for key in keys:
        state = _mix(state + np.asarray(key).astype(np.uint64, copy=False) * _GOLDEN + _GOLDEN)
    shape = np.broadcast_shapes(*(np.shape(key) for key in keys))
    return np.broadcast_to(state, np.broadcast_shapes(shape, (1,))).reshape(shape)


def _mix(bits: np.ndarray) -> np.ndarray:
    bits = (bits ^ (bits >> np.uint64(30))) * _FIRST
    bits = (bits ^ (bits >> np.uint64(27))) * _SECOND
    return bits ^ (bits >> np.uint64(31))
