"""An experiment file: one value, checked whole, written and read back equal."""

import json
from pathlib import Path

import pytest

from hemix.errors import ConfigError
from hemix.experiment import Experiment, differing_keys, experiment_json_schema, load_experiment

FILE = """
data:
  tables: {shown: {path: shown.csv}}
  examples: {table: shown, user: user, time: {column: at, unit: ms}}
  labels: [{name: click}]
  features:
    request: [{kind: categorical, column: user}, {kind: timestamp}]
    candidate: [{kind: numeric, column: price, served_as: 0.5}]
  events: {shown: {table: shown, user: user, item: item, time: at}}
  histories: {recent: {events: shown, max_length: 5}}
model: {name: din, histories: [recent]}
train: {optimizer: {lr: 1e-3}, schedule: {kind: cosine, warmup_steps: 10}}
evaluate: {slices: [user]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "clicks.yaml"
    path.write_text(FILE)
    return path


def test_round_trip(file: Path, tmp_path: Path) -> None:
    experiment = load_experiment(file, ["train.epochs=3"])
    assert (experiment.name, experiment.train.epochs, experiment.train.optimizer.lr) == ("clicks", 3, 1e-3)
    again = tmp_path / "again.yaml"
    again.write_text(experiment.to_yaml())
    assert load_experiment(again) == experiment
    assert Experiment.model_validate(json.loads(experiment.model_dump_json())) == experiment


def test_a_name_in_the_file_wins(file: Path) -> None:
    assert load_experiment(file, ["name=other"]).name == "other"


def test_hashes(file: Path) -> None:
    """The hash knows all but the name; without the seed, without the budget: as they say."""
    plain = load_experiment(file)
    changes = {
        "name": load_experiment(file, ["name=other"]),
        "seed": plain.with_seed(7),
        "budget": load_experiment(file, ["train.epochs=3", "train.max_seconds=9", "train.profile_steps=1"]),
        "rate": load_experiment(file, ["train.optimizer.lr=0.5"]),
    }
    assert [name for name, other in changes.items() if other.hash == plain.hash] == ["name"]
    same_cell = [name for name, other in changes.items() if other.hash_without_seed == plain.hash_without_seed]
    assert same_cell == ["name", "seed"]
    resumable = [name for name, other in changes.items() if other.hash_without_budget == plain.hash_without_budget]
    assert resumable == ["name", "budget"]
    assert changes["seed"].train.seed == 7
    assert len(plain.hash) == 64


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.epochz=3", r"clicks\.yaml: unknown key 'train\.epochz'\. Did you mean 'epochs'\?"),
        ("train.optimizer.lrr=3", r"unknown key 'train\.optimizer\.lrr'\. Did you mean 'lr'\?"),
        ("evaluate.slicez=[]", r"unknown key 'evaluate\.slicez'\. Did you mean 'slices'\?"),
        ("data.features.request.0.dimm=3", r"unknown key 'data\.features\.request\.0\.dimm'\. Did you mean 'dim'\?"),
        ("train.optimizer.lr=-1", r"train\.optimizer\.lr: Input should be greater than 0 \(got -1\)"),
        ("train.epochs=x", r"train\.epochs: .*valid integer.*got 'x'"),
        (
            "train.schedule.kind=linaer",
            r"kind: Input should be 'constant', 'linear' or 'cosine' \(got 'linaer'\)\. Did you mean 'linear'",
        ),
        ("model.name=dinn", r"model\.name: unknown 'dinn'; available: .*\. Did you mean 'din'\?"),
        ("model={}", r"model: needs the key 'name', which says what it is"),
        ("data.features.request.0.kind=categoric", r"unknown 'categoric'; available: .*Did you mean 'categorical'"),
        ("train=3", r"train: Input should be a valid dictionary"),
        ("name=", r"name: Input should be a valid string"),
    ],
)
def test_wrong_keys_and_values(file: Path, override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_experiment(file, [override])


def test_an_unknown_model_key_lists_the_keys_of_that_model_only(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown key 'model\.historys'\. Did you mean 'histories'\?") as error:
        load_experiment(file, ["model.historys=[]"])
    assert "num_dynamic_global" not in str(error.value)


def test_all_problems_at_once(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"batch_size.*; .*seed"):
        load_experiment(file, ["train.batch_size=0", "train.seed=-1"])


def test_json_schema_describes_every_section_and_key() -> None:
    schema = experiment_json_schema()
    assert set(schema["properties"]) == {"name", "data", "model", "objective", "train", "evaluate"}
    train = schema["$defs"]["TrainConfig"]["properties"]
    assert "Rows between validations" in train["validate_every"]["description"]
    assert schema["$schema"].startswith("https://json-schema.org/")


def test_differing_keys() -> None:
    assert list(differing_keys({"a": {"b": 1}}, {"a": {"b": 1}})) == []
    assert list(differing_keys({"a": 1, "b": [1]}, {"b": [2], "c": 0}, "data.")) == ["data.a", "data.b", "data.c"]
    assert list(differing_keys({"a": {"b": 1}}, {"a": None})) == ["a"]
