"""Tensors and a JSON state in one file, without pickle: a checkpoint is whole, or it is the one before.

The file is safetensors; the JSON stands in its header. Written beside, synced, renamed: a process killed at any moment
leaves the last good checkpoint in place.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hemix.data.arrays import sync_folder
from hemix.errors import RunError

FORMAT = 1
_KEY = "hemix"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Replace `path` atomically by `tensors` and `state` (any JSON value).

    Raises RunError if it cannot be written; the old file is then still there.
    """
    header = {_KEY: json.dumps({"format": FORMAT, **state})}
    ready = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(ready, partial, metadata=header)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
        sync_folder(path.parent)
    except (OSError, SafetensorError) as error:
        partial.unlink(missing_ok=True)
        raise RunError(f"{path} could not be written ({error}); what it held before is unchanged.") from error


def load_tensors(path: Path, device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `save_tensors` wrote, with the tensors on `device`.

    Raises RunError if the file is missing, damaged or of another format.
    """
    try:
        with safe_open(path, framework="pt", device=str(device)) as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except FileNotFoundError:
        raise RunError(f"There is no file {path}.") from None
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} is damaged: {error}.") from error
    state = json.loads(header.get(_KEY, "{}"))
    if state.get("format") != FORMAT:
        raise RunError(f"{path} has format {state.get('format')!r}; this version of hemix reads format {FORMAT}.")
    return tensors, state


def load_module(module: nn.Module, tensors: Mapping[str, Tensor], source: Path) -> None:
    """Copy `tensors`, read from `source`, into a module. Raises RunError if names or shapes differ."""
    own, given = _shapes(module.state_dict()), _shapes(tensors)
    differing = [name for name in dict.fromkeys((*own, *given)) if own.get(name) != given.get(name)]
    if differing:
        name = differing[0]
        raise RunError(
            f"Weights can only be read by the model they are of; {source} differs in {len(differing)} tensors (first: "
            f"{name}, {given.get(name, 'absent')} there, {own.get(name, 'absent')} here). Use its model section and "
            "the version of hemix that wrote it."
        )
    module.load_state_dict(tensors)


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """States of the random generators that training on `device` draws from, as uint8 tensors."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def set_rng_state(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put back what `rng_state` returned."""
    torch.set_rng_state(states["cpu"].cpu())
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"].cpu(), device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"].cpu())


def select(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose name begins with ``prefix``, without it.

    >>> sorted(select({"rng/cpu": torch.zeros(1), "weights/a": torch.zeros(1)}, "rng/"))
    ['cpu']
    """
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
