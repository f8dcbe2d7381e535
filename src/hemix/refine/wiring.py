"""Which stream of a model gets fields refined by which module: none, one for all streams, or one for each."""

from collections.abc import Sequence
from dataclasses import replace

from jaxtyping import Float
from torch import Tensor, nn

from hemix.errors import ConfigError
from hemix.nn.fields import Fields, Layout
from hemix.refine.refiner import Refiner, RefinerConfig
from hemix.refine.registry import build_refiner


class Wiring(nn.Module):
    """The fields of a row to those of each stream. Without a config all streams get the fields as they are.

    Raises ConfigError for `separate` modules where there is one stream, and for what `build_refiner` refuses.
    """

    def __init__(self, config: RefinerConfig | None, layout: Layout, streams: Sequence[str], model: str) -> None:
        super().__init__()
        self.streams = tuple(streams)
        if config is not None and config.wiring == "separate" and len(streams) < 2:
            raise ConfigError(
                f"model.refine.wiring 'separate' gives each stream of a model its own module; {model} as configured "
                "has one stream. Set it to 'shared'."
            )
        count = 0 if config is None else len(streams) if config.wiring == "separate" else 1
        self._refiners = [build_refiner(config, layout) for _ in range(count) if config is not None]
        self.refiners = nn.ModuleList(self._refiners)

    def forward(self, fields: Fields) -> dict[str, Fields]:
        if not self._refiners:
            return dict.fromkeys(self.streams, fields)
        refined = [_refined(refiner, fields) for refiner in self._refiners]
        return dict(zip(self.streams, refined if len(refined) > 1 else refined * len(self.streams), strict=True))

    def kept(self, fields: Fields) -> dict[str, Float[Tensor, "N F"]]:
        """By module, what it leaves of each field as it is, on average over its numbers; empty: no module has gates."""
        streams = self.streams if len(self._refiners) > 1 else ("fields",) * len(self._refiners)
        found = {
            f"refined {name}": refiner.kept(fields.tokens())
            for name, refiner in zip(streams, self._refiners, strict=True)
        }
        return {name: kept.mean(dim=2) for name, kept in found.items() if kept is not None}

    def cost(self) -> int:
        """Multiply-adds per row."""
        return sum(refiner.cost() for refiner in self._refiners)


def _refined(refiner: Refiner, fields: Fields) -> Fields:
    return replace(fields, values=refiner(fields.tokens()).flatten(1))
