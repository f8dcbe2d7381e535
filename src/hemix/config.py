"""The root of all configuration, and errors that a person can act on."""

import re
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from hemix.errors import ConfigError, suggestion


class Config(BaseModel):
    """Root of all configuration: frozen, unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


def check_read(config: Config, owner: str, *keys: str) -> None:
    """Raises ValueError if one of `keys` is set, which nothing reads where `owner` has the value that it has.

    A value that equals the default counts as not set: configurations are written whole.
    """
    fields = type(config).model_fields
    for key in keys:
        value = getattr(config, key)
        if value != fields[key].default:
            raise ValueError(
                f"{key} is read by nothing where {owner} is {_shown(getattr(config, owner))}; "
                f"{key} is {_shown(value)}: leave it out, or change {owner}"
            )


def _shown(value: Any) -> str:
    """As a file has it.

    >>> _shown(()), _shown("sole")
    ('[]', "'sole'")
    """
    return repr(list(value) if isinstance(value, tuple) else value)


def is_none(value: Any) -> bool:
    """For keys that were added later: null is left out of a dump, so that older experiments keep their hash."""
    return value is None


def is_empty(value: Any) -> bool:
    """The same for keys that hold a mapping, or a number that is 0 by default."""
    return not value


ConfigT = TypeVar("ConfigT", bound=Config)


def parse_config(kind: type[ConfigT], values: Any, where: str) -> ConfigT:
    """Validate `values` as a `kind`; `where` (a file, a section) opens each message.

    Raises ConfigError that lists every problem with its key, and suggests a key for an unknown one.
    """
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        schema = kind.model_json_schema()
        problems = error.errors(include_url=False)
        unknown = [problem for problem in problems if problem["type"] == "extra_forbidden"]
        lines = [_explain(schema, problem) for problem in problems if problem not in unknown]
        raise ConfigError(f"{where}: " + "; ".join([*lines, *_unknown_keys(schema, unknown)])) from None


def _unknown_keys(schema: dict[str, Any], problems: list[Any]) -> list[str]:
    """One text for all unknown keys of sections of one kind, so that the known ones are listed once."""
    sections: dict[tuple[str, ...], list[str]] = {}
    for problem in problems:
        known = tuple(sorted(_known_keys(schema, problem["loc"])))
        path = ".".join(str(part) for part in _without_tags(schema, problem["loc"]))
        hint = suggestion(str(problem["loc"][-1]), known)
        sections.setdefault(known, []).append(f"unknown key {path!r}.{hint}")
    return [" ".join(keys) + (f" Known keys: {', '.join(known)}." if known else "") for known, keys in sections.items()]


def _explain(schema: dict[str, Any], problem: Any) -> str:
    path = ".".join(str(part) for part in _without_tags(schema, problem["loc"]))
    if problem["type"] == "union_tag_invalid":
        context = problem["ctx"]
        known = [tag.strip(" '") for tag in context["expected_tags"].split(",")]
        key, tag = context["discriminator"].strip("'"), context["tag"]
        return f"{path}.{key}: unknown {tag!r}; available: {', '.join(known)}.{suggestion(tag, known)}"
    if problem["type"] == "union_tag_not_found":
        return f"{path}: needs the key {problem['ctx']['discriminator']}, which says what it is"
    message = problem["msg"].removeprefix("Value error, ")
    shown = repr(problem["input"])
    if not path:
        return message
    hint = _near_value(problem)
    return f"{path}: {message} (got {shown if len(shown) <= 80 else shown[:77] + '...'}){hint and f'.{hint}'}"


def _near_value(problem: Any) -> str:
    """A suggestion where one of some texts is expected, and another text was given."""
    if problem["type"] != "literal_error" or not isinstance(problem["input"], str):
        return ""
    return suggestion(problem["input"], re.findall(r"'([^']+)'", problem["ctx"]["expected"]))


def _known_keys(schema: dict[str, Any], path: tuple[Any, ...]) -> set[str]:
    """Keys allowed at the place of an unknown key, found by walking the JSON schema along `path`."""
    nodes: list[dict[str, Any]] = [schema]
    for part in path[:-1]:
        nodes = _step(schema, nodes, part) or nodes
    return {key for node in nodes for found in _resolve(schema, node) for key in found.get("properties", {})}


def _without_tags(schema: dict[str, Any], path: tuple[Any, ...]) -> list[Any]:
    """`path` as a person writes it: pydantic adds the tag of the member of a union that it chose."""
    nodes: list[dict[str, Any]] = [schema]
    shown = []
    for part in path:
        if not any(_tagged(option, part) for node in nodes for option in _resolve(schema, node)):
            shown.append(part)
        nodes = _step(schema, nodes, part) or nodes
    return shown


def _step(schema: dict[str, Any], nodes: list[dict[str, Any]], part: Any) -> list[dict[str, Any]]:
    return [child for node in nodes for child in _children(schema, node, part)]


def _resolve(schema: dict[str, Any], node: dict[str, Any]) -> list[dict[str, Any]]:
    if "$ref" in node:
        return _resolve(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    options = node.get("anyOf") or node.get("oneOf") or node.get("allOf")
    return [node] if not options else [found for option in options for found in _resolve(schema, option)]


def _tagged(option: dict[str, Any], part: Any) -> bool:
    """Whether `part` is the tag by which this member of a union is chosen, and no key of it."""
    properties = option.get("properties", {})
    return part not in properties and any(properties.get(key, {}).get("const") == part for key in ("kind", "name"))


def _children(schema: dict[str, Any], node: dict[str, Any], part: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for option in _resolve(schema, node):
        if isinstance(part, int) and isinstance(option.get("items"), dict):
            found.append(option["items"])
        elif part in option.get("properties", {}):
            found.append(option["properties"][part])
        elif _tagged(option, part):
            found.append(option)
        elif isinstance(option.get("additionalProperties"), dict):
            found.append(option["additionalProperties"])
    return found
