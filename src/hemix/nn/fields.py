"""Embedded fields side by side, and where each of them stands."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from hemix.errors import ConfigError

State = dict[str, Tensor]
"""What is known of R requests before a candidate is seen; every tensor has the leading axis R."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """Names and widths of the fields of one side, in the order in which their vectors stand."""

    names: tuple[str, ...]
    widths: tuple[int, ...]

    @property
    def width(self) -> int:
        """Width of all fields side by side."""
        return sum(self.widths)

    def __add__(self, other: "Layout") -> "Layout":
        """These fields, then the others."""
        return Layout(names=self.names + other.names, widths=self.widths + other.widths)

    def select(self, names: Sequence[str]) -> "Layout":
        """The named fields, in that order."""
        known = dict(zip(self.names, self.widths, strict=True))
        return Layout(names=tuple(names), widths=tuple(known[name] for name in names))


@dataclass(frozen=True, kw_only=True, slots=True)
class Layouts:
    """What a model is built from: the fields of each side."""

    request: Layout
    candidate: Layout
    histories: dict[str, Layout]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fields:
    """Embedded fields side by side: field f takes ``widths[f]`` columns of `values`."""

    values: Float[Tensor, "*rows W"]
    widths: tuple[int, ...]
    names: tuple[str, ...]
    times: Int[Tensor, "*rows"] | None = None
    """Of requests and events: microseconds since 1970, UTC. A candidate has none."""
    ids: Int[Tensor, "*rows I"] | None = None
    """What was embedded: all id columns of the side, for models that compare ids. `FieldSpec` says which is which."""

    def tokens(self) -> Float[Tensor, "*rows F D"]:
        """One token per field. Raises ConfigError if the fields differ in width, or if there are none."""
        width = common_width(Layout(names=self.names, widths=self.widths), "a model that reads one token per field")
        return self.values.unflatten(-1, (len(self.widths), width))

    def select(self, names: Sequence[str]) -> "Fields":
        """The named fields, in that order."""
        names = tuple(names)
        if names == self.names:
            return self
        pieces = dict(zip(self.names, self.values.split(self.widths, dim=-1), strict=True))
        chosen = [pieces[name] for name in names]
        values = torch.cat(chosen, dim=-1) if chosen else self.values[..., :0]
        return replace(self, values=values, widths=tuple(piece.shape[-1] for piece in chosen), names=names)


def common_width(layout: Layout, user: str) -> int:
    """The one width that all fields have; `user` says who needs it. Raises ConfigError if there is none."""
    if not layout.names:
        raise ConfigError(
            f"{user} needs fields with a vector, got none. Declare one under data.features, such as a categorical one "
            "or a numeric one with transform: quantile."
        )
    if len(set(layout.widths)) != 1:
        pairs = [f"{name} {width}" for name, width in zip(layout.names, layout.widths, strict=True)]
        raise ConfigError(
            f"{user} needs fields of one width, got {', '.join(pairs)}; give every feature the same 'dim', or none."
        )
    return layout.widths[0]
