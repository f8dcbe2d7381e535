"""The models by name. A paper is one file that ends with its `MODEL`; to add one, write the file and name it here."""

from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Union

from pydantic import Field

from hemix.models.backbone import (
    Attentive,
    Backbone,
    Gated,
    ModelKind,
    ModelSettings,
    Penalised,
    Residual,
    Searching,
    Sequential,
)

NAMES = (
    "afn",
    "autoint",
    "bst",
    "dcn",
    "dcnv2",
    "deepfm",
    "dien",
    "din",
    "dlrm",
    "finalmlp",
    "fm",
    "gdcn",
    "hemix",
    "hiformer",
    "hstu",
    "interformer",
    "longer",
    "lr",
    "masknet",
    "onetrans",
    "rankmixer",
    "sim",
    "wukong",
    "xdeepfm",
)
"""Files, or packages, of this folder: each is a model."""

MODELS: dict[str, ModelKind] = {name: import_module(f"hemix.models.{name}").MODEL for name in NAMES}

if TYPE_CHECKING:
    ModelConfig = ModelSettings
else:
    ModelConfig = Annotated[
        Union[tuple(kind.config for kind in MODELS.values())],
        Field(discriminator="name"),
    ]
"""The section `model` of an experiment: the settings of the model that its `name` says."""

__all__ = [
    "MODELS",
    "NAMES",
    "Attentive",
    "Backbone",
    "Gated",
    "ModelConfig",
    "ModelKind",
    "ModelSettings",
    "Penalised",
    "Residual",
    "Searching",
    "Sequential",
]
