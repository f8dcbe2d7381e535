"""The kept model of a run, ``best/``: model.json says what it is, weights.safetensors what it learnt."""

from typing import Any

import torch
from pydantic import TypeAdapter

from hemix.batch import Inputs
from hemix.data.store import Store
from hemix.errors import RunError
from hemix.models import ModelConfig
from hemix.ranker import Ranker, build_ranker
from hemix.training.checkpoint import load_module, load_tensors
from hemix.training.folder import RunFolder, read_json, write_json

FORMAT = 1
_INPUTS: TypeAdapter[Inputs] = TypeAdapter(Inputs)
_MODEL: TypeAdapter[ModelConfig] = TypeAdapter(ModelConfig)


def write_model(folder: RunFolder, config: ModelConfig, store: Store) -> None:
    """Write model.json: inputs, model config, and which encoder gives ids their meaning."""
    model = {
        "format": FORMAT,
        "encoder": store.manifest.encoder_hash,
        "inputs": _INPUTS.dump_python(store.inputs, mode="json"),
        "model": _MODEL.dump_python(config, mode="json"),
    }
    write_json(folder.model, model)


def read_model(folder: RunFolder) -> Ranker:
    """The model with its best weights, on the CPU. Raises RunError if it is incomplete or of another format."""
    model = _read(folder)
    ranker = build_ranker(_INPUTS.validate_python(model["inputs"]), _MODEL.validate_python(model["model"]), seed=0)
    load_weights(ranker, folder)
    return ranker


def check_encoder(folder: RunFolder, store: Store) -> None:
    """Raises RunError if ids of the store do not mean what they meant in training."""
    if store.manifest.encoder_hash != _read(folder)["encoder"]:
        raise RunError(
            f"A run can only read stores with the encoder it was trained with; {store.path} has another one. "
            "Give the store of the training, or train again on this one."
        )


def load_weights(ranker: Ranker, folder: RunFolder) -> None:
    """Copy the best weights of a run into a ranker. Raises RunError if there are none, or names or shapes differ."""
    if not folder.weights.is_file():
        raise RunError(f"{folder.path} has no weights yet: training stopped before its first validation. Use --resume.")
    weights, _ = load_tensors(folder.weights, torch.device("cpu"))
    load_module(ranker, weights, folder.weights)


def _read(folder: RunFolder) -> dict[str, Any]:
    model = read_json(folder.model)
    if model.get("format") != FORMAT:
        raise RunError(f"{folder.model} has format {model.get('format')!r}; this version of hemix reads {FORMAT}.")
    return model
