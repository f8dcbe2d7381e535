"""Every refinement module against its equation, the published counts, and what its paper says it sees."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hemix.batch import FieldSpec, Inputs, TableSpec, TaskSpec
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.deepfm import DeepFMConfig
from hemix.models.din import DINConfig
from hemix.models.fm import FMConfig
from hemix.models.hemix import HeMixConfig
from hemix.nn.fields import Layout
from hemix.ranker import build_ranker
from hemix.refine import REFINERS, Refiner, build_refiner
from hemix.refine.frnet import FRNet
from hemix.refine.gfrl import GFRL
from refine import naive

F, D, N = 5, 4, 20
CASES: dict[str, tuple[dict[str, Any], Callable[[naive.Parameters, Tensor], Tensor]]] = {
    "fen": ({"name": "fen"}, naive.fen),
    "fen, ifm": ({"name": "fen", "logits": "linear", "scale": "num_fields"}, naive.fen_of_ifm),
    "senet": ({"name": "senet"}, naive.senet),
    "senet, mean": ({"name": "senet", "squeeze": "mean"}, lambda p, x: naive.senet(p, x, torch.mean)),
    "fwn": ({"name": "fwn"}, naive.fwn),
    "dfen": ({"name": "dfen", "num_heads": 2}, naive.dfen),
    "drm": ({"name": "drm"}, naive.drm),
    "vgate": ({"name": "vgate"}, naive.vgate),
    "bgate": ({"name": "bgate"}, naive.bgate),
    "bgate, sigmoid": ({"name": "bgate", "activation": "sigmoid"}, naive.bgate_sigmoid),
    "self_attention": ({"name": "self_attention", "num_heads": 2, "head_dim": 3}, naive.self_attention),
    "tce": ({"name": "tce"}, naive.tce),
    "pffn": ({"name": "pffn"}, naive.pffn),
    "gfrl": ({"name": "gfrl"}, naive.gfrl),
    "frnet": ({"name": "frnet", "attention_dim": 3}, naive.frnet),
    "frnet, vector": ({"name": "frnet", "attention_dim": 3, "level": "vector"}, naive.frnet_vector),
    "frnet, no bias": ({"name": "frnet", "attention_dim": 3, "attention_bias": False}, naive.frnet),
}
assert {settings["name"] for settings, _ in CASES.values()} == set(REFINERS)


def build(settings: dict[str, Any], fields: int = F, width: int = D) -> Refiner:
    """With start values, in float32."""
    config = parse_config(REFINERS[settings["name"]].config, settings, "refine")
    return build_refiner(config, Layout(names=tuple(f"f{i}" for i in range(fields)), widths=(width,) * fields))


def perturbed(settings: dict[str, Any]) -> Refiner:
    """In evaluation and float64; no parameter or statistic is at its start value."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        refiner = build(settings).double().eval()
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for name, value in [*refiner.named_parameters(), *refiner.named_buffers()]:
            if value.is_floating_point():
                noise = 0.3 * torch.randn(value.shape, generator=random, dtype=torch.float64)
                value += noise.abs() if name.endswith("running_var") else noise
    return refiner


def rows(seed: int = 2) -> Tensor:
    return torch.randn(N, F, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("name", CASES)
def test_equation(name: str) -> None:
    """Values and gradients, row by row."""
    settings, formula = CASES[name]
    refiner = perturbed(settings)
    x, y = rows().requires_grad_(), rows().requires_grad_()
    leaves = {key: value.detach().clone().requires_grad_() for key, value in refiner.named_parameters()}
    expected = torch.stack([formula({**dict(refiner.named_buffers()), **leaves}, row) for row in y])
    found = refiner(x)
    assert (found != 0).float().mean() > 0.2, "a module that is dead by ReLU shows nothing"
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    mix = rows(3)
    (found * mix).sum().backward()
    (expected * mix).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-9, atol=1e-11)
    for key, parameter in refiner.named_parameters():
        torch.testing.assert_close(parameter.grad, leaves[key].grad, rtol=1e-9, atol=1e-11, msg=key)


PUBLISHED = {
    "fen": (303_221, 176_926, 146_441),
    "senet": (1_540, 115, 10),
    "fwn": (10_608, 2_720, 816),
    "dfen": (404_800, 187_648, 151_360),
    "drm": (4_680, 330, 36),
    "vgate": (624, 160, 48),
    "bgate": (9_984, 2_560, 768),
    "self_attention": (8_576, 8_576, 8_576),
    "tce": (798_720, 56_320, 6_144),
    "pffn": (808_736, 58_912, 6_944),
    "gfrl": (350_464, 97_120, 35_968),
    "frnet": (166_820, 48_036, 19_364),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_survey(name: str) -> None:
    """Fields of width 16: Criteo has 39, Frappe 10, ML-tag 3."""
    counts = tuple(sum(p.numel() for p in build({"name": name}, fields, 16).parameters()) for fields in (39, 10, 3))
    assert counts == PUBLISHED[name]


@pytest.mark.parametrize("name", REFINERS)
def test_context_reaches_a_field_or_does_not(name: str) -> None:
    """FWN and the gates look at a field alone, all others let one field change another."""
    refiner, x = perturbed({"name": name}), rows()
    changed = x.clone()
    changed[:, 1] += 1
    others = [0, 2, 3, 4]
    assert torch.equal(refiner(x)[:, others], refiner(changed)[:, others]) == (name in ("fwn", "vgate", "bgate"))


@pytest.mark.parametrize("name", REFINERS)
def test_rows_do_not_see_each_other(name: str) -> None:
    refiner, x = perturbed({"name": name}), rows()
    torch.testing.assert_close(refiner(x)[2:3], refiner(x[2:3]))


@pytest.mark.parametrize("name", CASES)
def test_every_parameter_gets_a_gradient(name: str) -> None:
    """From the start values on."""
    torch.manual_seed(0)
    refiner = build(CASES[name][0])
    (refiner(rows().float()) * rows(3).float()).sum().backward()
    assert [key for key, p in refiner.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_frnet_between_the_field_and_its_complement() -> None:
    """A weight of one keeps x, of zero takes the complement; at vector level a field has one weight."""
    refiner, x = perturbed({"name": "frnet"}), rows()
    assert isinstance(refiner, FRNet)
    last = refiner.weigh.output
    with torch.no_grad():
        refiner.weigh.code[-2].weight.zero_()
        refiner.weigh.code[-2].bias.fill_(1.0)
        last.weight.zero_()
        last.bias.fill_(1e3)
        torch.testing.assert_close(refiner(x), x)
        last.bias.fill_(-1e3)
        torch.testing.assert_close(refiner(x), refiner.complement(x))
    vector = perturbed({"name": "frnet", "level": "vector"})
    assert isinstance(vector, FRNet)
    assert vector.kept(x).shape == (N, F, 1)


def test_gfrl_with_a_closed_gate_and_drm_without_values_change_nothing() -> None:
    gated, x = perturbed({"name": "gfrl"}), rows()
    assert isinstance(gated, GFRL)
    with torch.no_grad():
        gated.gate.maps.weight.zero_()
        gated.gate.maps.bias.fill_(-1e3)
        gated.gate.code.weight.zero_()
        gated.gate.code.bias.fill_(1.0)
        torch.testing.assert_close(gated(x), x)
        related = perturbed({"name": "drm"})
        related.value.weight.zero_()
        related.value.bias.zero_()
        torch.testing.assert_close(related(x), x)


def test_heads_are_those_of_torch() -> None:
    """Not blocks of (field, head) pairs, as a bare reshape makes them. Torch scales its queries: undo that."""
    refiner, x = perturbed({"name": "self_attention", "num_heads": 2, "head_dim": 3}), rows()
    attention = nn.MultiheadAttention(6, 2, batch_first=True).double()
    with torch.no_grad():
        attention.in_proj_weight.copy_(torch.eye(6, dtype=torch.float64).repeat(3, 1))
        attention.in_proj_bias.zero_()
        attention.out_proj.weight.copy_(torch.eye(6))
        attention.out_proj.bias.zero_()
        found, _ = attention(refiner.query(x) * 3**0.5, refiner.key(x), refiner.value(x))
        torch.testing.assert_close(refiner(x), torch.relu(refiner.output(found)))


def test_field_maps_start_as_released_or_by_field() -> None:
    """sqrt(6 / (16 (16 + 39))) = 0.0826 for 39 fields of width 16, or sqrt(6 / 32) = 0.433."""
    released, by_field = (
        build({"name": "bgate", "field_maps": how}, 39, 16).maps.weight for how in ("released", "by_field")
    )
    assert 0.082 < released.abs().max() <= 0.0826
    assert 0.43 < by_field.abs().max() <= 0.4331


def test_a_single_field_is_refused() -> None:
    with pytest.raises(ConfigError, match="refines a field by the others, and there is one: f0"):
        build({"name": "senet"}, fields=1)


APART: dict[str, Any] = {
    "refine": {"name": "senet", "wiring": "separate"},
    "global_history": None,
    "real_time_history": None,
}


def inputs(*dims: int | None) -> Inputs:
    """A request with one field, and the others of the candidate; no history."""
    names = [f"t{i}" for i in range(len(dims))]
    fields = [FieldSpec(name=name, kind="id", start=max(0, i - 1), table=name) for i, name in enumerate(names)]
    return Inputs(
        request=tuple(fields[:1]),
        candidate=tuple(fields[1:]),
        histories=(),
        tables=tuple(TableSpec(name=name, num_ids=9, dim=dim) for name, dim in zip(names, dims, strict=True)),
        tasks=(TaskSpec(name="click"),),
    )


def test_what_does_not_fit_is_refused_before_training() -> None:
    refine = {"name": "senet"}
    with pytest.raises(ConfigError, match="needs fields of one width, got t0 16, t1 8"):
        build_ranker(inputs(None, 8), DINConfig(refine=refine), seed=0)
    with pytest.raises(ConfigError, match="'fm' as configured has one stream"):
        build_ranker(inputs(None, None), FMConfig(refine={"name": "senet", "wiring": "separate"}), seed=0)
    for model in (DINConfig(refine={"name": "senet", "wiring": "separate"}), HeMixConfig(**APART)):
        with pytest.raises(ConfigError, match=f"'{model.name}' as configured has one stream"):
            build_ranker(inputs(None, None), model, seed=0)
    with pytest.raises(ConfigError, match="user_only_dynamic"):
        parse_config(HeMixConfig, {"refine": refine, "user_only_dynamic": True}, "model")
    with pytest.raises(ConfigError, match=r"refine.name: unknown 'sennet'.*senet"):
        parse_config(DeepFMConfig, {"refine": {"name": "sennet"}}, "model")
