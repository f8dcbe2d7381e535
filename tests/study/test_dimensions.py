"""FDO: widths by hand, on tables of known rank, and from a trained run to the condensed experiment."""

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from factories import make_inputs
from hemix.cli import app
from hemix.errors import ConfigError
from hemix.experiment import load_experiment
from hemix.models import ModelConfig
from hemix.models.din import DINConfig
from hemix.models.fm import FMConfig
from hemix.models.gdcn import GDCNConfig
from hemix.models.lr import LRConfig
from hemix.ranker import build_ranker, count_parameters
from hemix.study.dimensions import condense, condensed_experiment, cumulative_shares, kept_dims
from run.clicks import experiment, make_store


def rank(values: int, width: int, directions: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(values, directions, generator=random) @ torch.randn(directions, width, generator=random)


def test_shares_by_pencil() -> None:
    """Rows +-(3, 0), +-(0, 2), +-(0, 1) and their mean zero: squares 18 and 10 of 28; sizes sqrt(18), sqrt(10)."""
    table = torch.tensor([[3.0, 0], [-3, 0], [0, 2], [0, -2], [0, 1], [0, -1]])
    assert cumulative_shares(table, "variance") == pytest.approx([18 / 28, 1.0])
    assert cumulative_shares(table, "magnitude") == pytest.approx([18**0.5 / (18**0.5 + 10**0.5), 1.0])
    assert kept_dims([18 / 28, 1.0], 6, 0.6) == 1
    assert kept_dims([18 / 28, 1.0], 6, 0.7) == 2


def test_a_mean_is_no_information() -> None:
    """All rows far from zero and nearly equal: what counts is how they differ."""
    table = rank(50, 4, 1) + 1000
    assert kept_dims(cumulative_shares(table, "variance"), 50, 0.99) == 1
    assert cumulative_shares(torch.ones(5, 3), "variance") == [1.0] * 3


@settings(max_examples=30)
@given(values=st.integers(1, 40), directions=st.integers(1, 6), rule=st.sampled_from(["variance", "magnitude"]))
def test_kept_widths_are_at_most_the_rank_and_rise_with_the_share(values: int, directions: int, rule: str) -> None:
    table = rank(values, 8, directions)
    shares = cumulative_shares(table, rule)  # pyright: ignore[reportArgumentType]
    kept = [kept_dims(shares, values, ratio) for ratio in (0.3, 0.6, 0.9, 0.99)]
    assert kept == sorted(kept)
    assert kept[0] >= 1
    assert kept[-1] <= max(1, min(directions, values - 1))


def test_the_magnitude_rule_keeps_more() -> None:
    table = rank(100, 16, 16) * torch.linspace(1, 0.05, 16)
    kept = [kept_dims(cumulative_shares(table, rule), 100, 0.9) for rule in ("variance", "magnitude")]
    assert kept[0] < kept[1]


@pytest.mark.parametrize("model", [GDCNConfig(embedding_dim=8, hidden=(4,)), FMConfig(embedding_dim=8)])
def test_tables_of_a_ranker(model: ModelConfig) -> None:
    """The vectors, not the first-order weights; values without padding, unknown and null."""
    inputs = make_inputs(num_tasks=1)
    found = condense(build_ranker(inputs, model, seed=0), 0.95)
    assert [table.table for table in found] == [table.name for table in inputs.tables]
    assert [table.values for table in found] == [table.num_ids - 3 for table in inputs.tables]
    assert {table.width for table in found} == {8}
    assert all(len(table.shares) == 8 and table.kept <= min(8, table.values - 1) for table in found)


def test_what_cannot_be_condensed() -> None:
    inputs = make_inputs(num_tasks=1)
    for model in (LRConfig(), DINConfig()):
        with pytest.raises(ConfigError, match="for flat models with vectors"):
            condense(build_ranker(inputs, model, seed=0), 0.95)
    for ratio in (0.0, 1.0, 95.0):
        with pytest.raises(ConfigError, match=f"between 0 and 1, both excluded; got {ratio:g}"):
            condense(build_ranker(inputs, FMConfig(), seed=0), ratio)
    with pytest.raises(ConfigError, match=r"Unknown table in model.table_dims 'itm'; .*Did you mean 'item'"):
        build_ranker(inputs, GDCNConfig(table_dims={"itm": 3}), seed=0)


def test_a_model_of_one_width_gets_maps_to_it(tmp_path: Path) -> None:
    """FM refuses fields of several widths; behind matrices of their own it takes them."""
    store = make_store(tmp_path)
    asked = experiment(model={"name": "fm", "embedding_dim": 8})
    tables = condense(build_ranker(store.inputs, asked.model, seed=0), 0.6)
    narrow = condensed_experiment(asked, store.inputs, tables)
    assert isinstance(narrow.model, FMConfig)
    assert narrow.model.align_dim == 8
    widths = {table.table: table.kept for table in tables}
    assert narrow.model.table_dims == widths
    before, after = (count_parameters(store.inputs, each.model) for each in (asked, narrow))
    values = {table.name: table.num_ids for table in store.inputs.tables}
    assert before.tables - after.tables == sum(values[name] * (8 - width) for name, width in widths.items())
    crossed = experiment(model={"name": "gdcn", "embedding_dim": 8, "hidden": [4]})
    free = condensed_experiment(crossed, store.inputs, tables).model
    assert isinstance(free, GDCNConfig)
    assert free.align_dim is None


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_from_a_run_to_a_condensed_one(tmp_path: Path) -> None:
    """As a user does it: train, condense, train again on the same store."""
    store = make_store(tmp_path)
    asked = experiment(model={"name": "gdcn", "embedding_dim": 8, "structure": "cross"}, train={"epochs": 2})
    config = tmp_path / "gcn.yaml"
    config.write_text(asked.to_yaml())
    trained = call("train", config, "--data", store.path, "--out", tmp_path / "full")
    assert trained.exit_code == 0, trained.stderr
    out = tmp_path / "narrow.yaml"
    words = ("condense", tmp_path / "full", "--ratio", 0.7, "--out", out, "--json", tmp_path / "widths.json")
    condensed = call(*words, "--picture", tmp_path / "widths.png")
    assert condensed.exit_code == 0, condensed.stderr
    assert (tmp_path / "widths.png").read_bytes().startswith(b"\x89PNG")
    figures = json.loads((tmp_path / "widths.json").read_text())
    model = load_experiment(out).model
    assert isinstance(model, GDCNConfig)
    assert model.table_dims == {table["table"]: table["kept"] for table in figures["tables"]}
    assert figures["parameters"]["after"] < figures["parameters"]["before"]
    again = call("train", out, "--data", store.path, "--out", tmp_path / "narrow")
    assert again.exit_code == 0, again.stderr
    result = json.loads((tmp_path / "narrow" / "result.json").read_text())
    assert result["parameters"] == figures["parameters"]["after"]
    refused = call(*words)
    assert refused.exit_code == 2
    assert "is there already" in refused.stderr
