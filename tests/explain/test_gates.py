"""Gates and products of fields: what is shown is what the layers do."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from explain.planted import experiment
from factories import make_batch, make_inputs
from hemix.data.store import Store
from hemix.explain import explain_model, explain_request
from hemix.explain.inside import field_gates, field_pairs
from hemix.explain.page import write_page
from hemix.models.dcnv2 import DCNv2Config
from hemix.models.din import DINConfig
from hemix.models.flat import Flat
from hemix.models.fm import FMConfig
from hemix.models.gdcn import GDCNConfig
from hemix.ranker import Ranker, build_ranker
from hemix.refine import RefineConfig
from hemix.refine.frnet import FRNet, FRNetConfig
from hemix.refine.gatenet import VGateConfig
from hemix.refine.gfrl import GFRL, GFRLConfig
from hemix.refine.senet import SENETConfig
from hemix.run import Run, train

INPUTS = make_inputs(histories=(), num_tasks=1)
COUNTS = (1, 3, 2)


def values_of(ranker: Ranker) -> tuple[Tensor, list[slice], list[str]]:
    """All fields of every row side by side, and where each stands."""
    x = ranker.embed(make_batch(INPUTS, counts=COUNTS))
    each = torch.repeat_interleave(torch.tensor(COUNTS))
    widths, names = (*x.request.widths, *x.candidate.widths), (*x.request.names, *x.candidate.names)
    ends = torch.tensor(widths).cumsum(0).tolist()
    places = [slice(end - width, end) for width, end in zip(widths, ends, strict=True)]
    return torch.cat([x.request.values[each], x.candidate.values], dim=1), places, list(names)


@torch.no_grad()
def test_gates_are_means_over_the_numbers_of_a_field() -> None:
    """By hand for two layers: sigmoid(G c), c from the equation; a table of its own width among them."""
    config = GDCNConfig(embedding_dim=4, num_layers=2, structure="cross", table_dims={"item": 2})
    ranker = build_ranker(INPUTS, config, seed=0).eval()
    x, places, names = values_of(ranker)
    assert isinstance(ranker.backbone, Flat)
    cross = ranker.backbone.model.cross
    crossed = x
    found = field_gates(ranker, [ranker.embed(make_batch(INPUTS, counts=COUNTS))])
    assert [gate.name for gate in found] == ["layer 1", "layer 2"]
    for layer, shown in enumerate(found):
        gate = torch.sigmoid(crossed @ cross.gates[layer].weight.T)
        expected = {name: float(gate[:, place].mean()) for name, place in zip(names, places, strict=True)}
        assert shown.fields == pytest.approx(expected, abs=1e-6)
        crossed = x * (crossed @ cross.products[layer].weight.T + cross.bias[layer]) * gate + crossed


@pytest.mark.parametrize("config", [GDCNConfig(embedding_dim=4), DCNv2Config(embedding_dim=4)])
@torch.no_grad()
def test_products_of_fields_are_norms_of_blocks(config: GDCNConfig | DCNv2Config) -> None:
    ranker = build_ranker(INPUTS, config, seed=0)
    _, places, names = values_of(ranker)
    found = field_pairs(ranker)
    assert [pair.name for pair in found] == ["layer 1", "layer 2", "layer 3"]
    assert isinstance(ranker.backbone, Flat)
    cross = ranker.backbone.model.cross
    matrix = (cross.products if isinstance(config, GDCNConfig) else cross.layers)[1].weight
    for row, of_row in enumerate(places):
        for column, of_column in enumerate(places):
            expected = float(matrix[of_row, of_column].square().sum().sqrt())
            assert found[1].norms[row][column] == pytest.approx(expected, abs=1e-5)
    assert found[1].fields == tuple(names)


def test_a_model_without_gates_shows_none() -> None:
    for config in (FMConfig(embedding_dim=4), DCNv2Config(embedding_dim=4, rank=2)):
        ranker = build_ranker(INPUTS, config, seed=0)
        assert field_gates(ranker, [ranker.embed(make_batch(INPUTS, counts=COUNTS))]) == ()
        assert field_pairs(ranker) == ()


@pytest.fixture(scope="module")
def gated(shop: Store, tmp_path_factory: pytest.TempPathFactory) -> Run:
    asked = experiment("dlrm", epochs=1)
    model = GDCNConfig(embedding_dim=8, num_layers=2, hidden=(16,))
    return train(
        asked.model_copy(update={"model": model}), shop, tmp_path_factory.mktemp("gdcn") / "run", progress=False
    )


def test_reports_and_pages_show_them(gated: Run, tmp_path: Path) -> None:
    """Of a model: means, products, and that it has neither queries nor blocks. Of a row: its own gates."""
    pytest.importorskip("matplotlib")
    model = explain_model(gated, rows=500)
    assert [gate.name for gate in model.gates] == [pair.name for pair in model.crossings] == ["layer 1", "layer 2"]
    assert all(0 < value < 1 for gate in model.gates for value in gate.fields.values())
    assert model.notes == ("gdcn has no queries that could be alike.", "gdcn has no residual blocks.")
    write_page(tmp_path / "model.html", model)
    page = (tmp_path / "model.html").read_text(encoding="utf-8")
    assert "<h2>Gates</h2>" in page
    assert "<h2>Products of fields</h2>" in page
    row = explain_request(gated, "row=3")
    (explained,) = row.explained
    assert explained.gates[0].fields.keys() == model.gates[0].fields.keys()
    assert explained.gates != model.gates
    write_page(tmp_path / "row.html", row)
    assert f"<h2>Gates of {explained.item}</h2>" in (tmp_path / "row.html").read_text(encoding="utf-8")


@torch.no_grad()
@pytest.mark.parametrize("wiring", ["shared", "separate"])
def test_what_a_refinement_module_keeps(wiring: str) -> None:
    """FRNet in front of a model of two streams: its own S, for each module; then the gates of the model itself."""
    refine = FRNetConfig.model_validate({"wiring": wiring, "hidden": (8,)})
    config = GDCNConfig(embedding_dim=4, num_layers=1, hidden=(4,), refine=refine)
    ranker = build_ranker(INPUTS, config, seed=0).eval()
    x, _, names = values_of(ranker)
    found = field_gates(ranker, [ranker.embed(make_batch(INPUTS, counts=COUNTS))])
    assert isinstance(ranker.backbone, Flat)
    modules = list(ranker.backbone.refine.refiners)
    titles = ["refined fields"] if wiring == "shared" else ["refined cross", "refined deep"]
    assert [gate.name for gate in found] == [*titles, "layer 1"]
    for shown, module in zip(found, modules, strict=False):
        assert isinstance(module, FRNet)
        tokens = x.unflatten(1, (-1, 4))
        expected = torch.sigmoid(module.weigh(tokens)).mean(dim=(0, 2)).tolist()
        assert shown.fields == pytest.approx(dict(zip(names, expected, strict=True)), abs=1e-6)


@torch.no_grad()
@pytest.mark.parametrize(
    ("refine", "shown"),
    [
        (FRNetConfig(level="vector"), True),
        (GFRLConfig(), True),
        (VGateConfig(activation="sigmoid"), True),
        (VGateConfig(), False),
        (SENETConfig(), False),
    ],
)
def test_only_shares_are_gates(refine: RefineConfig, shown: bool) -> None:
    """Also in front of a model on histories. The module's output lies between what it keeps and what it puts there."""
    ranker = build_ranker(make_inputs(num_tasks=1), DINConfig(refine=refine), seed=0).eval()
    inputs = ranker.inputs
    found = field_gates(ranker, [ranker.embed(make_batch(inputs, counts=COUNTS))])
    assert [gate.name for gate in found] == (["refined fields"] if shown else [])
    for gate in found:
        assert set(gate.fields) == {field.name for field in (*inputs.request, *inputs.candidate)}
        assert all(0 < value < 1 for value in gate.fields.values())
    assert field_pairs(ranker) == ()


@torch.no_grad()
def test_gfrl_keeps_what_its_gate_leaves() -> None:
    module = GFRL(GFRLConfig(), 3, 4).eval()
    x = torch.randn(5, 3, 4)
    kept = module.kept(x)
    torch.testing.assert_close(module(x), kept * x + (1 - kept) * module.refine(x))
