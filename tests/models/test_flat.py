"""Flat models: counts by formula and as published, widths, first-order weights, one row, configuration."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch

from factories import make_batch, make_inputs
from hemix.batch import FieldSpec, Inputs, TableSpec, TaskSpec
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.dcn import DCNConfig
from hemix.models.dcnv2 import DCNv2Config
from hemix.models.deepfm import DeepFMConfig
from hemix.models.flat import Align
from hemix.models.fm import FMConfig
from hemix.models.gdcn import GDCNConfig
from hemix.models.lr import LRConfig
from hemix.nn.deep import DeepNetwork
from hemix.nn.fields import Layout
from hemix.ranker import build_ranker, count_parameters

CRITEO = (
    "49 101 126 45 223 118 84 76 95 9 30 40 75 1458 555 193949 138801 306 19 11970 634 4 42646 5178 192773 3175 27 "
    "11422 181075 11 4654 2032 5 189657 18 16 59697 86 45571"
)
"""Numbers of values of the 39 fields as published."""
CONDENSED = {
    95: "5 13 7 4 13 9 8 5 9 4 3 4 4 12 12 4 8 10 6 14 11 2 15 14 2 13 4 13 5 5 12 11 3 5 5 7 11 5 10",
    80: "2 8 3 2 7 4 3 2 3 2 2 2 2 8 8 3 5 6 4 10 6 2 10 10 2 9 3 9 4 4 8 7 2 2 4 4 8 3 6",
}
"""Published widths of the fields by the share of information kept, in percent."""


def flat_inputs(sizes: list[int], dims: list[int] | None = None) -> Inputs:
    """Single ids, none of which is special; the first field belongs to the request."""
    fields = [FieldSpec(name=f"f{i}", kind="id", start=max(0, i - 1), table=f"f{i}") for i in range(len(sizes))]
    widths = dims or [None] * len(sizes)
    return Inputs(
        request=tuple(fields[:1]),
        candidate=tuple(fields[1:]),
        histories=(),
        tables=tuple(
            TableSpec(name=f"f{i}", num_ids=n, dim=d) for i, (n, d) in enumerate(zip(sizes, widths, strict=True))
        ),
        tasks=(TaskSpec(name="click"),),
    )


def total(config: Any, dims: list[int] | None = None) -> int:
    count = count_parameters(flat_inputs([int(n) for n in CRITEO.split()], dims), config)
    return count.tables + count.dense


@pytest.mark.parametrize(
    ("config", "published"),
    [
        (DCNv2Config(structure="cross"), 18_559_585),
        (DCNv2Config(), 19_133_185),
        (GDCNConfig(structure="cross"), 19_727_713),
        (GDCNConfig(structure="cross", embedding_dim=8), 9_279_793),
        (GDCNConfig(), 20_301_313),
        (GDCNConfig(structure="stacked"), 20_300_689),
    ],
)
def test_parameters_on_criteo_are_as_published(config: Any, published: int) -> None:
    """1,086,810 values, fields of width 16 (or 8)."""
    assert total(config) == published


@pytest.mark.parametrize(("ratio", "published"), [(95, 7.00), (80, 4.54)])
def test_parameters_of_condensed_fields_are_as_published(ratio: int, published: float) -> None:
    """GCN with the widths that were learnt for each field."""
    dims = [int(d) for d in CONDENSED[ratio].split()]
    assert total(GDCNConfig(structure="cross"), dims) / 1e6 == pytest.approx(published, abs=0.005)


@pytest.mark.parametrize(
    ("width", "mean_by_value", "published"),
    [(372, 7.56, 9.04), (307, 5.92, 7.00), (253, 4.99, 5.80), (189, 3.98, 4.54), (144, 2.94, 3.32)],
)
def test_parameters_by_the_published_means(width: int, mean_by_value: float, published: float) -> None:
    """At 98, 95, 90, 80 and 70 %: width of all fields together, and mean width over all 1,086,810 values."""
    dims = [width // 39 + (i < width % 39) for i in range(39)]
    dense = count_parameters(flat_inputs([10] * 39, dims), GDCNConfig(structure="cross")).dense
    assert (dense + mean_by_value * 1_086_810) / 1e6 == pytest.approx(published, abs=0.01)


def layers(*widths: int) -> int:
    """Weights, biases and batch norm of the deep network's layers."""
    return sum(a * b + b + 2 * b for a, b in pairwise(widths))


@pytest.mark.parametrize("tasks", [1, 2])
def test_parameters_are_as_many_as_the_formula_says(tasks: int) -> None:
    """D = 200: 25 fields of width 8, histories included."""
    inputs, width = make_inputs(num_tasks=tasks), 25 * 8
    deep = {"embedding_dim": 8, "hidden": (32, 16)}
    expected: list[tuple[Any, dict[str, int]]] = [
        (LRConfig(), {"bias": tasks}),
        (FMConfig(embedding_dim=8), {"bias": tasks, **({"pairs": 8 * tasks} if tasks > 1 else {})}),
        (
            DeepFMConfig(**deep),
            {
                "deep": layers(width, 32, 16),
                "head": 17 * tasks,
                **({"pairs": 8 * tasks} if tasks > 1 else {}),
            },
        ),
        (
            DCNConfig(**deep),
            {
                "cross": 3 * 2 * width,
                "deep": layers(width, 32, 16),
                "head": (width + 16 + 1) * tasks,
            },
        ),
        (
            DCNv2Config(**deep, rank=4, num_experts=2, structure="stacked"),
            {
                "cross": 3 * (2 * width * 4 * 2 + 4 * 4 * 2 + 2 * width + width),
                "deep": layers(width, 32, 16),
                "head": 17 * tasks,
            },
        ),
        (
            GDCNConfig(embedding_dim=8, num_layers=2, structure="cross"),
            {
                "cross": 2 * (2 * width**2 + width),
                "head": (width + 1) * tasks,
            },
        ),
    ]
    for config, parts in expected:
        by_part = count_parameters(inputs, config).by_part
        assert {part: count for part, count in by_part.items() if part != "embedding"} == parts, config.name


def test_first_order_weights_are_one_per_value_and_task() -> None:
    """Tables of FM: those of width 8, and as many rows of width 2."""
    inputs = make_inputs()
    fm, cross = (
        count_parameters(inputs, FMConfig(embedding_dim=8)),
        count_parameters(inputs, DCNConfig(embedding_dim=8)),
    )
    assert fm.tables == cross.tables // 8 * (8 + 2)
    assert count_parameters(inputs, LRConfig()).tables == cross.tables // 8 * 2


def test_a_feature_with_a_width_of_its_own() -> None:
    """Models that multiply whole fields refuse it and say which; the others take it; LR's weights do not care."""
    inputs = make_inputs()
    tables = tuple(replace(table, dim=4) if table.name == "item" else table for table in inputs.tables)
    inputs, batch = replace(inputs, tables=tables), make_batch(inputs)
    for config in (LRConfig(), DCNConfig(), DCNv2Config(), GDCNConfig()):
        assert build_ranker(inputs, config, seed=0)(batch).isfinite().all()
    for config in (FMConfig(), DeepFMConfig()):
        with pytest.raises(ConfigError, match=f"'{config.name}' needs fields of one width, got .*item 4"):
            build_ranker(inputs, config, seed=0)


def test_a_batch_of_one_row_can_be_trained_on() -> None:
    deep = DeepNetwork(3, (4,))
    assert deep(torch.randn(1, 3)).isfinite().all()
    assert deep[1].running_mean.eq(0).all()
    deep(torch.randn(2, 3))
    assert not deep[1].running_mean.eq(0).all()


def test_low_rank_experts_of_full_rank_are_a_full_matrix() -> None:
    """One expert whose tanh is nearly linear: small maps."""
    inputs, config = make_inputs(num_tasks=1), {"embedding_dim": 2, "structure": "cross", "num_layers": 1}
    full = build_ranker(inputs, DCNv2Config(**config), seed=0).eval()
    low = build_ranker(inputs, DCNv2Config(**config, rank=50), seed=0).eval()
    state = {key: value for key, value in full.state_dict().items() if "cross" not in key}
    low.load_state_dict(state, strict=False)
    matrix, small = full.backbone.model.cross.layers[0].weight, 1e-3
    cross = low.backbone.model.cross
    with torch.no_grad():
        cross.down[0].weight.copy_(torch.eye(50) * small)
        cross.middle[0].weight.copy_(torch.eye(50)[None])
        cross.up[0].weight.copy_(matrix.T[None] / small)
        batch = make_batch(inputs)
        torch.testing.assert_close(low(batch), full(batch), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": "dcnv2", "num_experts": 2}, "num_experts mixes matrices of low rank; set rank"),
        ({"name": "dcnv2", "structure": "deep"}, "structure: .*cross"),
        ({"name": "dcnv2", "dropout": 1.0}, "dropout: .*less than 1"),
        ({"name": "dcnv2", "num_layers": 0}, "num_layers: .*greater than or equal to 1"),
    ],
)
def test_settings_that_make_no_sense(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(DCNv2Config, values, "model")


@pytest.mark.parametrize("config", [FMConfig(), DCNv2Config(), GDCNConfig()])
def test_a_single_field_is_refused(config: Any) -> None:
    with pytest.raises(ConfigError, match=f"'{config.name}' is a model of how fields interact, and there is one: f0"):
        build_ranker(flat_inputs([5]), config, seed=0)
    assert build_ranker(flat_inputs([5]), LRConfig(), seed=0)


def test_lr_has_no_width_and_no_module() -> None:
    for values in ({"embedding_dim": 8}, {"refine": {"name": "senet"}}):
        with pytest.raises(ConfigError, match="unknown key"):
            parse_config(LRConfig, values, "model")


def test_aligned_fields_are_mapped_one_by_one() -> None:
    """A_f x_f side by side, by hand; parameters sum of d_f times the width."""
    layout = Layout(names=("a", "b"), widths=(2, 3))
    align = Align(layout, 4)
    x = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    first, second = (part.weight for part in align.maps)
    expected = torch.stack([torch.cat([first @ row[:2], second @ row[2:]]) for row in x])
    torch.testing.assert_close(align(x), expected)
    assert align.layout.widths == (4, 4)
    assert sum(parameter.numel() for parameter in align.parameters()) == (2 + 3) * 4


def test_first_order_weights_keep_their_width_in_a_condensed_model() -> None:
    inputs = make_inputs(num_tasks=1)
    narrow = FMConfig(embedding_dim=8, table_dims={"item": 3}, align_dim=8)
    whole = count_parameters(inputs, FMConfig(embedding_dim=8)).tables
    assert whole - count_parameters(inputs, narrow).tables == 40 * (8 - 3)
    assert build_ranker(inputs, narrow, seed=0)(make_batch(inputs)).isfinite().all()
