"""The models by name. A paper is one file; to add one, write the file and list it here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field

from hemix.batch import Inputs
from hemix.models.backbone import Attentive, Backbone, Residual
from hemix.models.din import DIN, DINConfig
from hemix.models.dlrm import DLRM, DLRMConfig
from hemix.models.hemix import PRESETS, HeMix, HeMixConfig
from hemix.nn.embedding import NumberForm
from hemix.nn.fields import Layouts

ModelConfig = Annotated[HeMixConfig | DLRMConfig | DINConfig, Field(discriminator="name")]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelKind:
    """One entry of `MODELS`: how to build the model, and what to print about it."""

    config: type[HeMixConfig] | type[DLRMConfig] | type[DINConfig]
    build: Callable[[Any, Inputs, Layouts], Backbone]
    paper: str
    reads_histories: bool
    numbers: NumberForm = "embedded"
    """How it wants the number fields of request and candidate."""


MODELS: dict[str, ModelKind] = {
    "din": ModelKind(config=DINConfig, build=DIN, paper="arXiv 1706.06978", reads_histories=True),
    "dlrm": ModelKind(config=DLRMConfig, build=DLRM, paper="arXiv 1906.00091", reads_histories=True, numbers="raw"),
    "hemix": ModelKind(config=HeMixConfig, build=HeMix, paper="arXiv 2602.09387", reads_histories=True),
}

__all__ = [
    "DIN",
    "DLRM",
    "MODELS",
    "PRESETS",
    "Attentive",
    "Backbone",
    "DINConfig",
    "DLRMConfig",
    "HeMix",
    "HeMixConfig",
    "ModelConfig",
    "ModelKind",
    "Residual",
]
