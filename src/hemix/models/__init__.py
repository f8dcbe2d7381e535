"""The models by name. A paper is one file; to add one, write the file and list it here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from hemix.batch import Inputs
from hemix.models.afn import AFN, AFNConfig
from hemix.models.autoint import AutoInt, AutoIntConfig
from hemix.models.backbone import Attentive, Backbone, Gated, Residual
from hemix.models.dcn import DCN, DCNConfig
from hemix.models.dcnv2 import DCNv2, DCNv2Config
from hemix.models.deepfm import DeepFM, DeepFMConfig
from hemix.models.din import DIN, DINConfig
from hemix.models.dlrm import DLRM, DLRMConfig
from hemix.models.finalmlp import FinalMLP, FinalMLPConfig
from hemix.models.flat import FieldModel, flat
from hemix.models.fm import FM, FMConfig
from hemix.models.gdcn import GDCN, GDCNConfig
from hemix.models.hemix import PRESETS, HeMix, HeMixConfig
from hemix.models.lr import LR, LRConfig
from hemix.models.masknet import MaskNet, MaskNetConfig
from hemix.models.wukong import Wukong, WukongConfig
from hemix.models.xdeepfm import XDeepFM, XDeepFMConfig
from hemix.nn.embedding import NumberForm
from hemix.nn.fields import Layout, Layouts

AnyModelConfig = (
    HeMixConfig
    | DLRMConfig
    | DINConfig
    | LRConfig
    | FMConfig
    | DeepFMConfig
    | DCNConfig
    | DCNv2Config
    | GDCNConfig
    | XDeepFMConfig
    | AutoIntConfig
    | AFNConfig
    | MaskNetConfig
    | FinalMLPConfig
    | WukongConfig
)
ModelConfig = Annotated[AnyModelConfig, Field(discriminator="name")]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelKind:
    """One entry of `MODELS`: how to build the model, and what to print about it."""

    config: type[AnyModelConfig]
    build: Callable[[Any, Inputs, Layouts], Backbone]
    paper: str
    histories: Literal["read", "averaged"]
    """Whether it reads the events of a history, or their mean."""
    numbers: NumberForm = "embedded"
    """How it wants the number fields of request and candidate."""
    first_order: Literal["beside", "alone"] | None = None
    """Whether every value has a weight of its own beside its vector, or in its place."""


def _flat(
    config: type[AnyModelConfig],
    model: Callable[[Any, Layout, int], FieldModel],
    paper: str,
    *,
    first_order: Literal["beside", "alone"] | None = None,
) -> ModelKind:
    build = flat(model, first_order=first_order == "beside")
    return ModelKind(config=config, build=build, paper=paper, histories="averaged", first_order=first_order)


MODELS: dict[str, ModelKind] = {
    "afn": _flat(AFNConfig, AFN, "arXiv 1909.03276", first_order="beside"),
    "autoint": _flat(AutoIntConfig, AutoInt, "arXiv 1810.11921", first_order="beside"),
    "dcn": _flat(DCNConfig, DCN, "arXiv 1708.05123"),
    "dcnv2": _flat(DCNv2Config, DCNv2, "arXiv 2008.13535"),
    "deepfm": _flat(DeepFMConfig, DeepFM, "arXiv 1703.04247", first_order="beside"),
    "din": ModelKind(config=DINConfig, build=DIN, paper="arXiv 1706.06978", histories="read"),
    "dlrm": ModelKind(config=DLRMConfig, build=DLRM, paper="arXiv 1906.00091", histories="read", numbers="raw"),
    "finalmlp": _flat(FinalMLPConfig, FinalMLP, "arXiv 2304.00902"),
    "fm": _flat(FMConfig, FM, "doi 10.1109/ICDM.2010.127", first_order="beside"),
    "gdcn": _flat(GDCNConfig, GDCN, "arXiv 2311.04635"),
    "hemix": ModelKind(config=HeMixConfig, build=HeMix, paper="arXiv 2602.09387", histories="read"),
    "lr": _flat(LRConfig, LR, "doi 10.1145/1242572.1242643", first_order="alone"),
    "masknet": _flat(MaskNetConfig, MaskNet, "arXiv 2102.07619"),
    "wukong": _flat(WukongConfig, Wukong, "arXiv 2403.02545"),
    "xdeepfm": _flat(XDeepFMConfig, XDeepFM, "arXiv 1803.05170", first_order="beside"),
}

__all__ = [
    "AFN",
    "DCN",
    "DIN",
    "DLRM",
    "FM",
    "GDCN",
    "LR",
    "MODELS",
    "PRESETS",
    "AFNConfig",
    "Attentive",
    "AutoInt",
    "AutoIntConfig",
    "Backbone",
    "DCNConfig",
    "DCNv2",
    "DCNv2Config",
    "DINConfig",
    "DLRMConfig",
    "DeepFM",
    "DeepFMConfig",
    "FMConfig",
    "FinalMLP",
    "FinalMLPConfig",
    "GDCNConfig",
    "Gated",
    "HeMix",
    "HeMixConfig",
    "LRConfig",
    "MaskNet",
    "MaskNetConfig",
    "ModelConfig",
    "ModelKind",
    "Residual",
    "Wukong",
    "WukongConfig",
    "XDeepFM",
    "XDeepFMConfig",
]
