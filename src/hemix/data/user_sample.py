"""A share of the users of a split, for searching settings on less data than will be trained on."""

import numpy as np

from hemix.batch import Batch
from hemix.data.shuffle import mix
from hemix.data.store import SplitView
from hemix.errors import InputError

CHUNK = 1 << 20


class UserSample:
    """The requests of a split that belong to some of its users; read like the split itself.

    A user is in or out by a hash of their number in the store: the same share of one store always has the same users,
    in every split, and a larger share has all users of a smaller one. Requests without a user are drawn one by one.
    Memory is 8 bytes for each chosen request.

    Raises InputError if nobody is chosen.
    """

    def __init__(self, split: SplitView, share: float) -> None:
        self.split = split
        limit = np.uint64(min(int(share * 2**64), 2**64 - 1))
        chosen, rows = [], 0
        for start in range(0, split.num_requests, CHUNK):
            requests = np.arange(start, min(start + CHUNK, split.num_requests))
            users = split.users(requests)
            # requests without a user have odd keys, users even ones
            keys = np.where(users < 0, 2 * requests + 1, 2 * users).astype(np.uint64)
            taken = requests[mix(keys) <= limit]
            chosen.append(taken)
            rows += int(split.counts(taken).sum())
        self._requests = np.concatenate(chosen) if chosen else np.zeros(0, np.int64)
        self.num_requests = len(self._requests)
        self.num_rows = rows
        if split.num_requests and not self.num_requests:
            raise InputError(
                f"A share of the users must hold one; {share:g} of those of the {split.name} split is nobody. "
                "Take a larger share."
            )

    def counts(self, requests: np.ndarray) -> np.ndarray:
        """Candidates of each request."""
        return self.split.counts(self._requests[requests])

    def batch(self, requests: np.ndarray, draw: int) -> Batch:
        """Gather requests by their number in the sample; `draw` as in `SplitView.batch`."""
        return self.split.batch(self._requests[requests], draw)
