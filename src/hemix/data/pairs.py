"""Features of a request with items that were drawn for it: the numbers that SQL computes for rows of a table.

They are computed for logged rows, too, so that no last bit tells the two apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hemix.data.drawing import Read
from hemix.data.expressions import EARTH_DIAMETER_KM
from hemix.features import Distance, WindowCount
from hemix.schema import DataConfig

MICROS = 1_000_000
DAY = 86_400 * MICROS


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """N rows: requests (user, time, places of origin) and the item of each row."""

    users: np.ndarray
    times: np.ndarray
    points: np.ndarray
    """(R, 2 per distance) degrees; NaN where not known."""
    request_of_row: np.ndarray
    items: np.ndarray


class CountReader:
    """Counts of events by item, or by user and item, from sorted keys."""

    def __init__(self, feature: WindowCount, index: int, delay: int, num_items: int, read: Read) -> None:
        self._by_user = feature.by == "user_item"
        self._num_items = num_items
        self._bounds = round(feature.days * DAY), delay
        self._clock = read(f"window{index}_clock")
        self._keys = read(f"window{index}_keys")
        self._order = read(f"window{index}_order")

    def read(self, pairs: Pairs) -> np.ndarray:
        """Events (N,) from `days` before each request until its delay begins, both strictly."""
        keys = pairs.items.astype(np.int64)
        if self._by_user:
            keys = keys + pairs.users[pairs.request_of_row] * self._num_items
        if not len(self._keys):
            return np.zeros(len(keys))
        place = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        start = place * (len(self._clock) + 1)
        first, last = (
            np.searchsorted(self._order, start + np.searchsorted(self._clock, pairs.times - back)[pairs.request_of_row])
            for back in self._bounds
        )
        return np.where(self._keys[place] == keys, np.maximum(last - first, 0), 0).astype(np.float64)


class DistanceReader:
    """Great-circle distances from a place of the request to the item's."""

    def __init__(self, origin: int, target: int, read: Read) -> None:
        self._origin = slice(2 * origin, 2 * origin + 2)
        self._target = slice(2 * target, 2 * target + 2)
        self._points = read("points")

    def read(self, pairs: Pairs) -> np.ndarray:
        """Kilometres (N,); NaN where a place is not known."""
        origin = np.radians(pairs.points[:, self._origin])
        lat_a, lon_a = (origin[:, axis][pairs.request_of_row] for axis in (0, 1))
        lat_b, lon_b = np.radians(self._points[pairs.items, self._target]).T
        cosine = np.cos(origin[:, 0])[pairs.request_of_row]
        inner = np.sin((lat_b - lat_a) / 2) ** 2 + cosine * np.cos(lat_b) * np.sin((lon_b - lon_a) / 2) ** 2
        return EARTH_DIAMETER_KM * np.arcsin(np.sqrt(np.minimum(inner, 1.0)))


def targets(config: DataConfig) -> list[str]:
    """The candidate's places that distances are measured to."""
    return list(dict.fromkeys(f.target for f in config.features.pair if isinstance(f, Distance)))


class PairReader:
    """The numbers of the block `row` that depend on the item, by feature."""

    def __init__(self, config: DataConfig, read: Read) -> None:
        features = (*config.features.request, *config.features.candidate, *config.features.pair)
        windows = [feature for feature in features if isinstance(feature, WindowCount)]
        delay = round(config.history_delay * MICROS)
        num_items = len(read("cells"))
        self._readers: dict[str, CountReader | DistanceReader] = {
            feature.name: CountReader(feature, index, delay, num_items, read)
            for index, feature in enumerate(windows)
            if feature.by != "user"
        }
        distances = [feature for feature in config.features.pair if isinstance(feature, Distance)]
        for number, feature in enumerate(distances):
            self._readers[feature.name] = DistanceReader(number, targets(config).index(feature.target), read)

    @property
    def names(self) -> Sequence[str]:
        return list(self._readers)

    def column(self, name: str, pairs: Pairs) -> np.ndarray:
        """Values (N,) of a feature before they are scaled; NaN where not known."""
        return self._readers[name].read(pairs)
