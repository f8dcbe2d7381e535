"""The refinement modules by name. A paper is one file; to add one, write the file and list it here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import Field

from hemix.errors import ConfigError
from hemix.nn.fields import Layout, common_width
from hemix.refine.contextnet import PFFN, TCE, PFFNConfig, TCEConfig
from hemix.refine.dfen import DFEN, DFENConfig
from hemix.refine.drm import DRM, DRMConfig
from hemix.refine.fen import FEN, FENConfig
from hemix.refine.frnet import FRNet, FRNetConfig
from hemix.refine.fwn import FWN, FWNConfig
from hemix.refine.gatenet import BGateConfig, Gate, VGateConfig
from hemix.refine.gfrl import GFRL, GFRLConfig
from hemix.refine.refiner import Refiner, RefinerConfig
from hemix.refine.self_attention import SelfAtt, SelfAttConfig
from hemix.refine.senet import SENET, SENETConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class RefinerKind:
    """One entry of `REFINERS`: how to build the module from its config, the number of fields and their width."""

    config: type[RefinerConfig]
    build: Callable[[Any, int, int], Refiner]
    paper: str


REFINERS: dict[str, RefinerKind] = {
    "bgate": RefinerKind(config=BGateConfig, build=Gate, paper="arXiv 2007.03519"),
    "dfen": RefinerKind(config=DFENConfig, build=DFEN, paper="doi 10.24963/ijcai.2020/434"),
    "drm": RefinerKind(config=DRMConfig, build=DRM, paper="doi 10.1145/3340531.3412108"),
    "fen": RefinerKind(config=FENConfig, build=FEN, paper="doi 10.24963/ijcai.2019/203"),
    "frnet": RefinerKind(config=FRNetConfig, build=FRNet, paper="arXiv 2204.08758"),
    "fwn": RefinerKind(config=FWNConfig, build=FWN, paper="arXiv 2005.10114"),
    "gfrl": RefinerKind(config=GFRLConfig, build=GFRL, paper="doi 10.1007/978-3-031-00126-0_28"),
    "pffn": RefinerKind(config=PFFNConfig, build=PFFN, paper="arXiv 2107.12025"),
    "self_attention": RefinerKind(config=SelfAttConfig, build=SelfAtt, paper="doi 10.1145/3336191.3371785"),
    "senet": RefinerKind(config=SENETConfig, build=SENET, paper="arXiv 1905.09433"),
    "tce": RefinerKind(config=TCEConfig, build=TCE, paper="arXiv 2107.12025"),
    "vgate": RefinerKind(config=VGateConfig, build=Gate, paper="arXiv 2007.03519"),
}

if TYPE_CHECKING:
    RefineConfig = RefinerConfig
else:
    RefineConfig = Annotated[
        Union[tuple(kind.config for kind in REFINERS.values())],
        Field(discriminator="name"),
    ]
"""The key `model.refine`: the settings of the module that its `name` says."""


def build_refiner(config: RefinerConfig, layout: Layout) -> Refiner:
    """A module for fields of this layout. Raises ConfigError for a single field, and for fields of different widths."""
    name = next(name for name, kind in REFINERS.items() if isinstance(config, kind.config))
    if len(layout.names) < 2:
        raise ConfigError(
            f"model.refine {name!r} refines a field by the others, and there is "
            f"{'one: ' + layout.names[0] if layout.names else 'none'}. Declare more under data.features, or remove "
            "model.refine."
        )
    return REFINERS[name].build(config, len(layout.names), common_width(layout, f"model.refine {name!r}"))
