"""FinalMLP against its equation, row by row; counts, cost, and settings that cannot be."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.finalmlp import FinalMLP, FinalMLPConfig
from hemix.nn.fields import Fields, Layout

LAYOUT = Layout(names=("user", "global.item", "item", "price"), widths=(3, 4, 4, 2))
ROWS = 6
SMALL: dict[str, Any] = {
    "embedding_dim": 5,
    "first_hidden": (7, 6),
    "second_hidden": (4,),
    "first_dropout": 0.0,
    "second_dropout": 0.0,
    "gate_hidden": (5,),
}
NAMED: dict[str, Any] = {"first_gate": ("user",), "second_gate": ("price", "global.item")}
SETTINGS: dict[str, dict[str, Any]] = {
    "learned": {},
    "named": NAMED,
    "one named": {"second_gate": ("item",)},
    "one head": {**NAMED, "num_heads": 1},
    "linear gates": {**NAMED, "gate_hidden": ()},
    "deep gates": {"first_gate": ("user", "item"), "gate_hidden": (5, 3)},
    "no batch norm": {**NAMED, "batch_norm": False},
    "no selection": {"feature_selection": False},
    "no selection, no batch norm": {"feature_selection": False, "batch_norm": False},
}
Parameters = dict[str, Tensor]


def config_of(setting: str) -> FinalMLPConfig:
    return FinalMLPConfig(**{**SMALL, **SETTINGS[setting]})


def fields_of(values: Tensor) -> Fields:
    return Fields(values=values, widths=LAYOUT.widths, names=LAYOUT.names)


def random_rows(seed: int, *, scale: float = 1.0, rows: int = ROWS) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return scale * torch.randn(rows, LAYOUT.width, generator=random, dtype=torch.float64)


def perturbed(config: FinalMLPConfig, num_tasks: int) -> FinalMLP:
    """In float64, in training; no parameter is at its start value."""
    torch.manual_seed(3)
    model = FinalMLP(config, LAYOUT, num_tasks).double()
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=random, dtype=torch.float64)
    return model


def linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    y = torch.stack([(weights * x).sum() for weights in p[f"{name}.weight"]])
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def batch_normed(p: Parameters, name: str, rows: list[Tensor]) -> list[Tensor]:
    mean = torch.stack(rows).sum(dim=0) / len(rows)
    variance = torch.stack([(row - mean) ** 2 for row in rows]).sum(dim=0) / len(rows)
    return [(row - mean) / torch.sqrt(variance + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"] for row in rows]


def gate_of(p: Parameters, name: str, config: FinalMLPConfig, context: tuple[str, ...] | None, row: Tensor) -> Tensor:
    if context is None:
        h = p[f"{name}.context"]
    else:
        starts = {field: sum(LAYOUT.widths[:f]) for f, field in enumerate(LAYOUT.names)}
        widths = dict(zip(LAYOUT.names, LAYOUT.widths, strict=True))
        h = torch.cat([row[starts[field] : starts[field] + widths[field]] for field in context])
    for layer in range(len(config.gate_hidden)):
        h = torch.clamp(linear(p, f"{name}.hidden.{3 * layer}", h), min=0)
    return 2 / (1 + torch.exp(-linear(p, f"{name}.output", h)))


def stream_of(p: Parameters, name: str, config: FinalMLPConfig, x: Tensor) -> list[Tensor]:
    context = config.first_gate if name == "first" else config.second_gate
    hidden = config.first_hidden if name == "first" else config.second_hidden
    rows = list(x)
    if config.feature_selection:
        rows = [gate_of(p, f"{name}.gate", config, context, row) * row for row in rows]
    for layer in range(len(hidden)):
        place = (4 if config.batch_norm else 3) * layer
        rows = [linear(p, f"{name}.deep.{place}", row) for row in rows]
        if config.batch_norm:
            rows = batch_normed(p, f"{name}.deep.{place + 1}", rows)
        rows = [torch.clamp(row, min=0) for row in rows]
    return rows


def naive(p: Parameters, config: FinalMLPConfig, num_tasks: int, first: Tensor, second: Tensor) -> Tensor:
    """Logits in training, without dropout; every product of the fusion on its own."""
    scored = []
    pairs = zip(stream_of(p, "first", config, first), stream_of(p, "second", config, second), strict=True)
    for one, other in pairs:
        a, b = len(one) // config.num_heads, len(other) // config.num_heads
        row = []
        for task in range(num_tasks):
            logit = p["fusion.first.bias"][task]
            logit = logit + p["fusion.first.weight"][task] @ one + p["fusion.second.weight"][task] @ other
            for head in range(config.num_heads):
                for i in range(a):
                    for j in range(b):
                        weight = p["fusion.pairs.weight"][head, i, task * b + j]
                        logit = logit + one[head * a + i] * weight * other[head * b + j]
            row.append(logit)
        scored.append(torch.stack(row))
    return torch.stack(scored)


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("setting", SETTINGS)
def test_equation(setting: str, num_tasks: int) -> None:
    """Values, and gradients of every parameter and of what each stream reads."""
    config = config_of(setting)
    model = perturbed(config, num_tasks)
    first, second = random_rows(1).requires_grad_(), random_rows(2).requires_grad_()
    one, other = random_rows(1).requires_grad_(), random_rows(2).requires_grad_()
    leaves = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    found = model({"first": fields_of(first), "second": fields_of(second)})
    expected = naive(leaves, config, num_tasks, one, other)
    assert found.shape == (ROWS, num_tasks)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    mix = torch.randn(found.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    (found * mix).sum().backward()
    (expected * mix).sum().backward()
    torch.testing.assert_close(first.grad, one.grad, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(second.grad, other.grad, rtol=1e-9, atol=1e-11)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, leaves[name].grad, rtol=1e-9, atol=1e-11, msg=name)


def layers(*widths: int) -> int:
    """Weights and biases of the linear maps between these widths."""
    return sum(a * b + b for a, b in pairwise(widths))


def size(model: FinalMLP) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize("num_tasks", [1, 3])
@pytest.mark.parametrize("setting", SETTINGS)
def test_parameters_are_as_many_as_the_formula_says(setting: str, num_tasks: int) -> None:
    config, width = config_of(setting), LAYOUT.width
    first, second = config.first_hidden, config.second_hidden
    streams = layers(width, *first) + layers(width, *second)
    norms = 2 * (sum(first) + sum(second)) if config.batch_norm else 0
    gates = 0
    for context in (config.first_gate, config.second_gate) if config.feature_selection else ():
        learned = config.embedding_dim if context is None else 0
        looked_at = learned or LAYOUT.select(context or ()).width
        gates += learned + layers(looked_at, *config.gate_hidden, width)
    a, b, heads = first[-1], second[-1], config.num_heads
    fusion = num_tasks * (1 + a + b + a * b // heads)
    assert size(FinalMLP(config, LAYOUT, num_tasks)) == streams + norms + gates + fusion


def test_parameters_of_the_defaults() -> None:
    """39 fields of width 16, one task: two streams, two gates of a learned vector, two heads."""
    layout = Layout(names=tuple(f"f{i}" for i in range(39)), widths=(16,) * 39)
    streams, gates = 2 * (layers(624, 400, 400, 400) + 2 * 1200), 2 * (16 + layers(16, 800, 624))
    assert size(FinalMLP(FinalMLPConfig(), layout, 1)) == streams + gates + 1 + 800 + 400 * 400 // 2


def counted(model: FinalMLP, rows: int) -> int:
    x = fields_of(random_rows(1, rows=rows))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model({"first": x, "second": x})
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("setting", SETTINGS)
def test_cost_is_what_the_counter_sees(setting: str, num_tasks: int) -> None:
    """By row; beyond that, the gate of each learned vector once, however many rows there are."""
    config = config_of(setting)
    model = perturbed(config, num_tasks).eval().requires_grad_(False)
    few, many = counted(model, 2), counted(model, 5)
    assert (many - few) / 3 == model.cost()
    contexts = (config.first_gate, config.second_gate) if config.feature_selection else ()
    gate = sum(a * b for a, b in pairwise((config.embedding_dim, *config.gate_hidden, LAYOUT.width)))
    assert few - 2 * model.cost() == contexts.count(None) * gate


def test_a_gate_looks_at_its_fields_alone() -> None:
    model, x = perturbed(config_of("named"), 1), random_rows(1)
    gate = model.second.gate
    assert gate is not None
    changed = x.clone()
    changed[:, :3] += 1
    changed[:, 7:11] += 1
    assert torch.equal(gate(fields_of(x)), gate(fields_of(changed)))
    changed[:, 12] += 1
    assert not torch.equal(gate(fields_of(x)), gate(fields_of(changed)))


def test_a_gate_lies_between_0_and_2_and_starts_near_1() -> None:
    torch.manual_seed(0)
    x = fields_of(random_rows(1, scale=0.05).float())
    for setting in ("learned", "named"):
        gate = FinalMLP(FinalMLPConfig(**SETTINGS[setting]), LAYOUT, 1).first.gate
        assert gate is not None
        torch.testing.assert_close(gate(x), torch.ones_like(gate(x)), rtol=0, atol=0.5)
        with torch.no_grad():
            gate.output.bias.fill_(-1e3)
            assert torch.equal(gate(x), torch.zeros_like(gate(x)))
            gate.output.bias.fill_(1e3)
            assert torch.equal(gate(x), torch.full_like(gate(x), 2.0))


def test_logits_start_small() -> None:
    """Through batch norm and many products: of the size of one, so that no loss is lost in the tails of the sigmoid."""
    torch.manual_seed(0)
    x = fields_of(random_rows(1, scale=0.05, rows=200).float())
    with torch.no_grad():
        logits = FinalMLP(FinalMLPConfig(**NAMED), LAYOUT, 3)({"first": x, "second": x})
    assert (logits.std(dim=0) < 2).all()


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("setting", SETTINGS)
def test_every_parameter_gets_a_gradient(setting: str, num_tasks: int) -> None:
    """From the start values on; but a bias in front of a batch norm, which takes it away."""
    torch.manual_seed(0)
    config = config_of(setting).model_copy(update={"gate_hidden": (16,) * len(config_of(setting).gate_hidden)})
    model = FinalMLP(config, LAYOUT, num_tasks).double()
    x = fields_of(random_rows(1, scale=0.05, rows=40))
    logits = model({"first": x, "second": x})
    (logits * torch.randn(logits.shape, dtype=torch.float64)).sum().backward()
    without = [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-12]
    before_norm = [] if not config.batch_norm else ["first.deep.0.bias", "first.deep.4.bias", "second.deep.0.bias"]
    assert without == before_norm


@pytest.mark.parametrize("num_heads", [3, 4, 5])
def test_heads_divide_both_streams(num_heads: int) -> None:
    message = "num_heads must divide the last widths of first_hidden and second_hidden, 6 and 4"
    with pytest.raises(ValueError, match=message):
        FinalMLPConfig(**SMALL, num_heads=num_heads)


@pytest.mark.parametrize("key", ["first_gate", "second_gate"])
def test_gates_name_fields(key: str) -> None:
    config = parse_config(FinalMLPConfig, {**SMALL, key: ["user", "prise"]}, "model")
    with pytest.raises(ConfigError, match=rf"field in model\.{key} 'prise'; available: .*Did you mean 'price'\?"):
        FinalMLP(config, LAYOUT, 1)


def test_a_field_that_is_named_twice_counts_once() -> None:
    once, twice = (FinalMLPConfig(**SMALL, first_gate=names) for names in (("user",), ("user", "user")))
    assert size(FinalMLP(once, LAYOUT, 1)) == size(FinalMLP(twice, LAYOUT, 1))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"feature_selection": False, "first_gate": ["user"]}, "look at; set it, or leave them null"),
        ({"first_gate": []}, "first_gate"),
        ({"second_hidden": []}, "second_hidden"),
        ({"first_hidden": [4, 0]}, "first_hidden"),
        ({"second_dropout": 1.0}, "second_dropout"),
        ({"num_heads": 0}, "num_heads"),
        ({"hidden": [4]}, "unknown key 'hidden'"),
    ],
)
def test_bad_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(FinalMLPConfig, values, "model")
