"""The models by name. A paper is one file; to add one, write the file and list it here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from hemix.batch import Inputs
from hemix.models.backbone import Attentive, Backbone, Residual
from hemix.models.dcn import DCN, DCNConfig
from hemix.models.dcnv2 import DCNv2, DCNv2Config
from hemix.models.deepfm import DeepFM, DeepFMConfig
from hemix.models.din import DIN, DINConfig
from hemix.models.dlrm import DLRM, DLRMConfig
from hemix.models.flat import flat
from hemix.models.fm import FM, FMConfig
from hemix.models.gdcn import GDCN, GDCNConfig
from hemix.models.hemix import PRESETS, HeMix, HeMixConfig
from hemix.models.lr import LR, LRConfig
from hemix.nn.embedding import NumberForm
from hemix.nn.fields import Layouts

AnyModelConfig = (
    HeMixConfig | DLRMConfig | DINConfig | LRConfig | FMConfig | DeepFMConfig | DCNConfig | DCNv2Config | GDCNConfig
)
ModelConfig = Annotated[AnyModelConfig, Field(discriminator="name")]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelKind:
    """One entry of `MODELS`: how to build the model, and what to print about it."""

    config: type[AnyModelConfig]
    build: Callable[[Any, Inputs, Layouts], Backbone]
    paper: str
    reads_histories: bool
    numbers: NumberForm = "embedded"
    """How it wants the number fields of request and candidate."""
    first_order: Literal["beside", "alone"] | None = None
    """Whether every value has a weight of its own beside its vector, or in its place."""


MODELS: dict[str, ModelKind] = {
    "dcn": ModelKind(config=DCNConfig, build=flat(DCN), paper="arXiv 1708.05123", reads_histories=True),
    "dcnv2": ModelKind(config=DCNv2Config, build=flat(DCNv2), paper="arXiv 2008.13535", reads_histories=True),
    "deepfm": ModelKind(
        config=DeepFMConfig,
        build=flat(DeepFM, first_order=True),
        paper="arXiv 1703.04247",
        reads_histories=True,
        first_order="beside",
    ),
    "din": ModelKind(config=DINConfig, build=DIN, paper="arXiv 1706.06978", reads_histories=True),
    "dlrm": ModelKind(config=DLRMConfig, build=DLRM, paper="arXiv 1906.00091", reads_histories=True, numbers="raw"),
    "fm": ModelKind(
        config=FMConfig,
        build=flat(FM, first_order=True),
        paper="doi 10.1109/ICDM.2010.127",
        reads_histories=True,
        first_order="beside",
    ),
    "gdcn": ModelKind(config=GDCNConfig, build=flat(GDCN), paper="arXiv 2311.04635", reads_histories=True),
    "hemix": ModelKind(config=HeMixConfig, build=HeMix, paper="arXiv 2602.09387", reads_histories=True),
    "lr": ModelKind(
        config=LRConfig,
        build=flat(LR),
        paper="doi 10.1145/1242572.1242643",
        reads_histories=True,
        first_order="alone",
    ),
}

__all__ = [
    "DCN",
    "DIN",
    "DLRM",
    "FM",
    "GDCN",
    "LR",
    "MODELS",
    "PRESETS",
    "Attentive",
    "Backbone",
    "DCNConfig",
    "DCNv2",
    "DCNv2Config",
    "DINConfig",
    "DLRMConfig",
    "DeepFM",
    "DeepFMConfig",
    "FMConfig",
    "GDCNConfig",
    "HeMix",
    "HeMixConfig",
    "LRConfig",
    "ModelConfig",
    "ModelKind",
    "Residual",
]
