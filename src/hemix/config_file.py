"""Reading an experiment file: YAML without surprises, and `a.b=c` overrides.

Imports no model and no torch, so that `hemix prepare` reads the `data` section quickly.
"""

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from hemix.config import parse_config
from hemix.errors import ConfigError, suggestion
from hemix.schema import DataConfig

SECTIONS = ("name", "data", "model", "objective", "train", "evaluate")


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML values only; a key that stands twice in one mapping is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if isinstance(key, Hashable) and key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} stands twice, in lines {seen[key]} and {line}; keep one", None
                )
            if isinstance(key, Hashable):
                seen[key] = line
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, where: str) -> Any:
    """The value of a YAML text. Raises ConfigError that names `where` and the line."""
    try:
        loader = _StrictLoader(text)
        return loader.get_single_data()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark is not None else ""
        raise ConfigError(f"{where}:{line} {getattr(error, 'problem', None) or error}") from None


def read_experiment_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """The sections of an experiment file as plain values, with `overrides` put in; not validated yet.

    Raises ConfigError that names the file if it is missing, not UTF-8, not YAML or not a mapping of known sections.
    """
    values = read_mapping(path, "experiment file", SECTIONS, f"; `hemix init FILES... --out {path}` drafts it")
    for override in overrides:
        apply_override(values, override)
    for section in values:
        if section not in SECTIONS:
            known = ", ".join(SECTIONS)
            raise ConfigError(
                f"{path}: unknown section {section!r}.{suggestion(str(section), SECTIONS)} Known: {known}"
            )
    return {section: {} if value is None and section != "name" else value for section, value in values.items()}


def read_mapping(path: Path, kind: str, keys: Sequence[str], advice: str = "") -> dict[str, Any]:
    """The mapping in a YAML file of some kind; its keys are not looked at yet.

    Raises ConfigError that names the file if it is missing (with `advice`), not UTF-8, not YAML or not a mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"No {kind} {path}{advice}.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as UTF-8 text: {error}.") from None
    values = parse_yaml(text, str(path))
    if not isinstance(values, dict):
        found = "is empty" if values is None else f"holds a {type(values).__name__}"
        article = "an" if kind[0] in "aeiou" else "a"
        raise ConfigError(f"{path}: {article} {kind} is a mapping of {', '.join(keys)}; this one {found}.")
    return values


def load_data_config(path: Path, overrides: Sequence[str] = ()) -> DataConfig:
    """The validated `data` section of an experiment file; the other sections are not looked at.

    Raises ConfigError that names the file and the key.
    """
    values = read_experiment_values(path, overrides)
    if "data" not in values:
        raise ConfigError(f"{path}: the section 'data' is missing; it says what the tables and their columns mean.")
    return parse_config(DataConfig, values["data"], f"{path}, data")


def apply_override(values: dict[str, Any], override: str) -> None:
    """Set one key in place: ``train.epochs=3``, ``data.features.request.0.dim=4``; the right side is read as YAML.

    A mapping that is not there yet is made; a list is never made longer.

    >>> values = {"train": {"epochs": 1}}
    >>> apply_override(values, "train.optimizer.lr=0.01")
    >>> values
    {'train': {'epochs': 1, 'optimizer': {'lr': 0.01}}}
    """
    path, equals, text = override.partition("=")
    if not equals or not all(path.strip().split(".")):
        raise ConfigError(f"An override reads key.key=value; got {override!r}.")
    set_key(values, path.strip(), parse_yaml(text, f"override {override!r}"), f"override {override!r}")


def set_key(values: dict[str, Any], path: str, value: Any, where: str) -> None:
    """Put `value` at a dotted path, in place; `where` opens each message.

    Raises ConfigError for a path that is no path, or that leads through something that has no keys.
    """
    keys = path.split(".")
    if not all(keys):
        raise ConfigError(f"{where}: a key reads key.key; got {path!r}.")
    place: Any = values
    for key in keys[:-1]:
        place = _step_into(place, key, where)
    if isinstance(place, list):
        place[_index(place, keys[-1], where)] = value
    else:
        place[keys[-1]] = value


def _step_into(place: Any, key: str, where: str) -> Any:
    if isinstance(place, list):
        found = place[_index(place, key, where)]
    else:
        if place.get(key) is None:
            place[key] = {}
        found = place[key]
    if not isinstance(found, dict | list):
        raise ConfigError(f"{where}: {key!r} is {found!r}, which has no keys of its own.")
    return found


def _index(items: list[Any], key: str, where: str) -> int:
    if not key.isdecimal() or int(key) >= len(items):
        raise ConfigError(f"{where}: {key!r} must be a position 0..{len(items) - 1} of a list.")
    return int(key)
