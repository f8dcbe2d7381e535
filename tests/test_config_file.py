"""Reading YAML without surprises, and overrides."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemix.config_file import apply_override, load_data_config, parse_yaml, read_experiment_values
from hemix.errors import ConfigError

DATA = """
data:
  tables: {shown: {path: shown.csv}}
  examples: {table: shown}
  labels: [{name: click}]
  features:
    request: [{kind: categorical, column: user}]
  split: {by: random}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "experiment.yaml"
    path.write_text(DATA)
    return path


def test_a_key_that_stands_twice_is_refused_with_its_lines() -> None:
    with pytest.raises(ConfigError, match=r"x\.yaml: key 'lr' stands twice, in lines 2 and 4; keep one"):
        parse_yaml("train:\n  lr: 1\n  epochs: 2\n  lr: 3\n", "x.yaml")
    assert parse_yaml("{a: {x: 1}, b: {x: 2}}", "x.yaml") == {"a": {"x": 1}, "b": {"x": 2}}


def test_anchors_and_merges_work() -> None:
    text = "base: &base {dim: 4}\nown: {<<: *base, kind: id}\n"
    assert parse_yaml(text, "x.yaml")["own"] == {"dim": 4, "kind": "id"}
    assert parse_yaml(text + "two: {<<: *base, dim: 5}\nthree: *base\n", "x.yaml")["two"] == {"dim": 5}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"a: [1, 2\nb: 3\n", r"experiment\.yaml: line 2: "),
        (b"a: !!python/object/apply:os.system [ls]\n", r"line 1: could not determine a constructor"),
        (b"\xff\xfe\x00", r"cannot be read as UTF-8 text"),
        (b"", r"is a mapping of name, data, .*; this one is empty"),
        (b"- 1\n", r"this one holds a list"),
        (b"trian: {}\n", r"unknown section 'trian'\. Did you mean 'train'\?"),
    ],
)
def test_files_that_are_no_experiment(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "experiment.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_experiment_values(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"No experiment file .*absent\.yaml.*hemix init"):
        read_experiment_values(tmp_path / "absent.yaml")


def test_an_empty_section_is_an_empty_mapping(file: Path) -> None:
    file.write_text(DATA + "train:\n")
    assert read_experiment_values(file)["train"] == {}
    assert read_experiment_values(file, ["train.epochs=2"])["train"] == {"epochs": 2}


def test_data_alone_can_be_read(file: Path) -> None:
    """What is wrong elsewhere does not matter to `prepare`."""
    file.write_text(DATA + "train: {epochs: none of your business}\n")
    config = load_data_config(file, ["data.features.request.0.dim=4", "data.split.fractions=[0.5, 0.5, 0]"])
    assert config.features.request[0].dim == 4
    assert config.split.fractions == (0.5, 0.5, 0)
    file.write_text("train: {}\n")
    with pytest.raises(ConfigError, match=r"experiment\.yaml: the section 'data' is missing"):
        load_data_config(file)


def test_a_wrong_key_in_data_names_file_key_and_suggestion(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"experiment\.yaml, data: unknown key 'timezon'\. Did you mean 'timezone'\?"):
        load_data_config(file, ["data.timezon=UTC"])


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a.b=3", {"a": {"b": 3, "c": [1, {"d": 2}]}}),
        ("a.c.0=9", {"a": {"b": 1, "c": [9, {"d": 2}]}}),
        ("a.c.1.d=x", {"a": {"b": 1, "c": [1, {"d": "x"}]}}),
        ("a.c=[]", {"a": {"b": 1, "c": []}}),
        ("a.b=", {"a": {"b": None, "c": [1, {"d": 2}]}}),
        ("n.m.k=x=y", {"a": {"b": 1, "c": [1, {"d": 2}]}, "n": {"m": {"k": "x=y"}}}),
    ],
)
def test_overrides(override: str, expected: object) -> None:
    values = {"a": {"b": 1, "c": [1, {"d": 2}]}}
    apply_override(values, override)
    assert values == expected


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("a.b", "reads key.key=value"),
        ("=3", "reads key.key=value"),
        ("a..b=3", "reads key.key=value"),
        ("a.c.7=3", r"'7' must be a position 0\.\.1 of a list"),
        ("a.c.x.d=3", "'x' must be a position"),
        ("a.b.c=3", "'b' is 1, which has no keys of its own"),
        ("a.b=[1", r"override 'a\.b=\[1':"),
    ],
)
def test_impossible_overrides(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        apply_override({"a": {"b": 1, "c": [1, {"d": 2}]}}, override)


@given(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.integers())
def test_an_override_is_what_is_then_there(keys: list[str], value: int) -> None:
    values: dict[str, object] = {}
    apply_override(values, f"{'.'.join(keys)}={value}")
    found: object = values
    for key in keys:
        found = found[key]
    assert found == value
