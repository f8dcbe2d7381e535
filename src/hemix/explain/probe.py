"""One candidate of one request as vectors, to be scored in many variants at once.

Variants (V of them) differ in the vectors of the request, of the candidate, or of the events of a history. What a
variant does not touch is computed once and shared.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from hemix.models import Backbone
from hemix.nn.fields import Fields, State
from hemix.nn.ragged import Ragged
from hemix.ranker import Embedded

CHUNK = 2**21
"""Event numbers (variants x events x width) that are worked on at a time: some hundred MB inside a wide model."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Variants:
    """V variants (events (V, T, E), attended (V, T)); None or a missing history: as it is."""

    request: Float[Tensor, "V I"] | None = None
    candidate: Float[Tensor, "V J"] | None = None
    events: Mapping[str, Float[Tensor, "_ _ _"]] = field(default_factory=dict)
    attended: Mapping[str, Bool[Tensor, "_ _"]] = field(default_factory=dict)

    def __len__(self) -> int:
        sides = [self.request, self.candidate, *self.events.values(), *self.attended.values()]
        return next(len(side) for side in sides if side is not None)

    def chunk(self, start: int, stop: int) -> "Variants":
        """The variants ``start .. stop``."""
        return Variants(
            request=None if self.request is None else self.request[start:stop],
            candidate=None if self.candidate is None else self.candidate[start:stop],
            events={name: values[start:stop] for name, values in self.events.items()},
            attended={name: values[start:stop] for name, values in self.attended.items()},
        )


class Probe:
    """A batch of one row, and the logit of one task as a function of its vectors."""

    def __init__(self, backbone: Backbone, x: Embedded, task: int) -> None:
        self.x = x
        self._backbone = backbone
        self._task = task
        with torch.no_grad():
            self._encoded = {
                name: backbone.encode_history(name, events, attended)
                for name, (events, attended) in x.histories.items()
            }

    @property
    def chunk(self) -> int:
        """Variants that are worked on at a time."""
        largest = max((events.values.numel() for events, _ in self.x.histories.values()), default=0)
        return max(4, CHUNK // max(1, largest))

    @torch.no_grad()
    def logits(self, variants: Variants) -> Float[Tensor, " V"]:
        """The logit of each variant."""
        size = self.chunk if variants.events or variants.attended else 4096
        parts = [self.score(variants.chunk(i, i + size)) for i in range(0, len(variants), size)]
        return torch.cat(parts) if parts else self.x.candidate.values.new_zeros(0)

    def score(self, variants: Variants) -> Float[Tensor, " V"]:
        """The same in one piece, differentiable in the variants."""
        count, x = len(variants), self.x
        histories: State = {}
        for name, (events, attended) in x.histories.items():
            if name in variants.events or name in variants.attended:
                own = _with(events, variants.events.get(name), count)
                seen = variants.attended.get(name, attended.expand(count, -1))
                histories |= self._backbone.encode_history(name, own, seen)
            else:
                histories |= {key: v.expand(count, *v.shape[1:]) for key, v in self._encoded[name].items()}
        request = _with(x.request, variants.request, count)
        state = {**histories, **self._backbone.encode_request(request, histories)}
        offsets = torch.arange(count + 1, device=x.offsets.device)
        scores = self._backbone.score(state, _with(x.candidate, variants.candidate, count), Ragged(offsets, count))
        return scores[:, self._task]


def _with(fields: Fields, values: Tensor | None, count: int) -> Fields:
    """V rows of these values, or of its own; when they were, and their ids, stay as they are."""
    values = fields.values.expand(count, *fields.values.shape[1:]) if values is None else values
    return replace(fields, values=values, times=_repeated(fields.times, count), ids=_repeated(fields.ids, count))


def _repeated(known: Int[Tensor, "1 *axes"] | None, count: int) -> Int[Tensor, "V *axes"] | None:
    return None if known is None else known.expand(count, *known.shape[1:])
