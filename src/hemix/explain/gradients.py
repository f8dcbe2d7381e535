"""Integrated gradients: how much of a score each field and each event explains (arXiv 1703.01365).

    c_i = (x_i - b_i) * integral over a in [0, 1] of  d logit / d x_i  at  b + a (x - b)

x are the vectors of the request, its candidate and its events, b their means in training. The c_i add up to logit(x) -
logit(b). The integral is cut into panels of Gauss-Legendre nodes. Each panel's sum is known beforehand, the difference
of the logits at its two ends, so that its error is known exactly; panels with a large error are halved until all errors
together are small. Kinks (ReLU) and steep places (norms of small vectors) thus get the steps that they need.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from hemix.explain.baseline import Baseline
from hemix.explain.probe import Probe, Variants
from hemix.nn.fields import Fields

NODES = 3
"""Per panel: few, since in a network it is kinks that cost accuracy, and they are found by halving."""
TOLERANCE = 0.005
"""Of the residual as a share of what is to be explained, and of all errors as a share of all contributions."""
ROUNDING = 1e-5
"""Errors of a logit in float32 that no number of steps removes."""
MAX_STEPS = 1200


@dataclass(frozen=True, kw_only=True, slots=True)
class Contributions:
    """What each field adds to the logit; all of them add up to `logit` - `baseline`, but for `residual`."""

    request: Float[np.ndarray, " F"]
    """In the order of the embedded fields."""
    candidate: Float[np.ndarray, " G"]
    events: dict[str, Float[np.ndarray, "_ _"]]
    """(T, F) of each history."""
    logit: float
    baseline: float
    """The logit where every field has its mean vector."""
    residual: float
    steps: int
    """Gradients that were taken."""

    @property
    def total(self) -> float:
        return float(self.request.sum() + self.candidate.sum() + sum(part.sum() for part in self.events.values()))


@dataclass(frozen=True, slots=True, eq=False)
class _Panel:
    start: float
    stop: float
    sums: list[Tensor]
    """Of the request, the candidate and each history: contributions by field (and event)."""
    error: float
    """Difference of the logits at its ends, less these."""


class _Path:
    """The straight line from the mean vectors to those of the row."""

    def __init__(self, probe: Probe, baseline: Baseline) -> None:
        x = probe.x
        self._probe = probe
        self.names = list(x.histories)
        self._fields: list[Fields] = [x.request, x.candidate, *(events for events, _ in x.histories.values())]
        self._ends = [side.values.detach() for side in self._fields]
        means = [baseline.request, baseline.candidate, *(baseline.histories[name] for name in self.names)]
        self._starts = [mean.expand_as(end).detach() for mean, end in zip(means, self._ends, strict=True)]
        self._logits: dict[float, float] = {}
        self.steps = 0

    def _at(self, places: Tensor) -> list[Tensor]:
        return [
            start + places.view(-1, *[1] * (start.dim() - 1)) * (end - start)
            for start, end in zip(self._starts, self._ends, strict=True)
        ]

    def _variants(self, sides: list[Tensor]) -> Variants:
        return Variants(request=sides[0], candidate=sides[1], events=dict(zip(self.names, sides[2:], strict=True)))

    def logit(self, place: float) -> float:
        """The logit at a place between 0 and 1."""
        self._evaluate([place])
        return self._logits[place]

    def _evaluate(self, places: Sequence[float]) -> None:
        new = sorted(set(places) - self._logits.keys())
        if new:
            found = self._probe.logits(self._variants(self._at(self._ends[0].new_tensor(new))))
            self._logits.update(zip(new, found.tolist(), strict=True))

    def panels(self, bounds: list[tuple[float, float]]) -> list[_Panel]:
        """Integrate over some panels, as many nodes at a time as memory allows."""
        self._evaluate([end for pair in bounds for end in pair])
        nodes, weights = np.polynomial.legendre.leggauss(NODES)
        lows, highs = np.array(bounds).T
        half = (highs - lows) / 2
        places = (lows + half)[:, None] + half[:, None] * nodes
        sums = self._gradients(places.ravel(), (half[:, None] * weights).ravel())
        found = []
        for index, (start, stop) in enumerate(bounds):
            own = [side[index * NODES : (index + 1) * NODES].sum(dim=0) for side in sums]
            gained = sum(float(side.double().sum()) for side in own)
            found.append(_Panel(start, stop, own, self.logit(stop) - self.logit(start) - gained))
        return found

    def size(self, panels: Sequence[_Panel]) -> float:
        """Sum of the sizes of all contributions so far."""
        sides = zip(*(panel.sums for panel in panels), strict=True)
        return sum(float(torch.stack(parts).sum(dim=0).abs().sum()) for parts in sides)

    def _gradients(self, places: np.ndarray, weights: np.ndarray) -> list[Tensor]:
        """Of each side: weighted contributions by field at each place (S, F) or (S, T, F)."""
        found: list[list[Tensor]] = [[] for _ in self._fields]
        like = self._ends[0]
        for start in range(0, len(places), self._probe.chunk):
            part = slice(start, start + self._probe.chunk)
            sides = [side.requires_grad_() for side in self._at(like.new_tensor(places[part]))]
            with torch.enable_grad():
                total = self._probe.score(self._variants(sides)).sum()
            gradients = torch.autograd.grad(total, sides, materialize_grads=True)
            self.steps += len(sides[0])
            weight = like.new_tensor(weights[part])
            for kept, gradient, fields, begin, end in zip(
                found, gradients, self._fields, self._starts, self._ends, strict=True
            ):
                moved = gradient * (end - begin) * weight.view(-1, *[1] * (end.dim() - 1))
                kept.append(_by_field(moved, fields.widths))
        return [torch.cat(parts) for parts in found]


def _by_field(values: Float[Tensor, "*rows W"], widths: tuple[int, ...]) -> Float[Tensor, "*rows F"]:
    """Sums over the columns of each field."""
    parts = [part.sum(dim=-1) for part in values.split(list(widths), dim=-1)] if widths else []
    return torch.stack(parts, dim=-1) if parts else values[..., :0]


def integrated_gradients(
    probe: Probe, baseline: Baseline, *, tolerance: float = TOLERANCE, max_steps: int = MAX_STEPS
) -> Contributions:
    """Contributions of all fields and events to the probe's logit against the mean vectors.

    Steps are added until the residual is below `tolerance` of the difference to be explained, and the errors of all
    panels together below `tolerance` of all contributions, or until `max_steps` gradients are taken; `residual` says
    what is left either way.
    """
    path = _Path(probe, baseline)
    gap = path.logit(1.0) - path.logit(0.0)
    panels = path.panels([(0.0, 0.25), (0.25, 0.5), (0.5, 0.75), (0.75, 1.0)])
    while path.steps < max_steps:
        errors = [abs(panel.error) for panel in panels]
        allowed = tolerance * max(abs(gap), path.size(panels)) + ROUNDING
        if sum(errors) <= allowed and abs(sum(panel.error for panel in panels)) <= tolerance * abs(gap) + ROUNDING:
            break
        bound = min(allowed, sum(errors)) / (2 * len(panels))
        split = [panel for panel in panels if abs(panel.error) > bound]
        middles = [(panel.start + panel.stop) / 2 for panel in split]
        halves = [(p.start, m) for p, m in zip(split, middles, strict=True)]
        halves += [(m, p.stop) for p, m in zip(split, middles, strict=True)]
        panels = [panel for panel in panels if panel not in split] + path.panels(halves)
    sides = [torch.stack(parts).double().sum(dim=0) for parts in zip(*(panel.sums for panel in panels), strict=True)]
    request, candidate, *events = [side.cpu().numpy() for side in sides]
    gained = sum(float(side.sum()) for side in sides)
    return Contributions(
        request=request,
        candidate=candidate,
        events=dict(zip(path.names, events, strict=True)),
        logit=path.logit(1.0),
        baseline=path.logit(0.0),
        residual=path.logit(1.0) - path.logit(0.0) - gained,
        steps=path.steps,
    )
