"""Explicit matches of candidate and history, as one more feature of the candidate.

    x_(s,f) = <c_f, mean_t s_(t,f)>        for each field f that the candidate shares with the events of history s

Layers find an inner product of two vectors from many rows only (Rendle et al. 2020, arXiv 2005.09683); here it is
given. Not of HeMix's paper, whose inputs hold crosses that are not public: docs/models/hemix.md.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from hemix.batch import HistorySpec
from hemix.errors import ConfigError
from hemix.nn.fields import Fields, Layout, State
from hemix.nn.ragged import Ragged

CROSSES = "history_crosses"
"""Name of the feature, among those of the candidate."""


class HistoryCrosses:
    """One number per history and shared field, 0 where there are no events; no parameters.

    Raises ConfigError for a history that shares no field with the candidate.
    """

    def __init__(self, histories: Sequence[HistorySpec]) -> None:
        self._shared = {history.name: history.shared for history in histories}
        for name, shared in self._shared.items():
            if not shared:
                raise ConfigError(
                    f"model.history_crosses multiplies fields that event and candidate share; history {name!r} shares "
                    f"none. Add item_features to data.histories.{name}, or set it to false."
                )
        self._width = sum(map(len, self._shared.values()))

    def beside(self, candidate: Layout) -> Layout:
        """The candidate's fields with this one behind them."""
        return Layout(names=(*candidate.names, CROSSES), widths=(*candidate.widths, self._width))

    def mean(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> Float[Tensor, "R W"]:
        """What a history adds to the state of a request: the mean of its shared fields."""
        values, kept = events.select(self._shared[name]).values, attended[:, :, None]
        return values.masked_fill(~kept, 0.0).sum(dim=1) / kept.sum(dim=1).clamp(min=1)

    def add(self, candidate: Fields, state: State, ragged: Ragged) -> Fields:
        """The candidate's fields with their products behind them; `state` has a ``<history>.mean`` for each."""
        found = [candidate.values]
        for name, shared in self._shared.items():
            own = candidate.select(shared)
            products = own.values * ragged.spread(state[f"{name}.mean"])
            found += [part.sum(dim=1, keepdim=True) for part in products.split(own.widths, dim=1)]
        layout = self.beside(Layout(names=candidate.names, widths=candidate.widths))
        return Fields(values=torch.cat(found, dim=1), widths=layout.widths, names=layout.names)
