"""AFN: values and gradients against its equation, counts, cost, and what large and zero fields do."""

import math
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.afn import AFN, AFNConfig
from hemix.nn.fields import Fields, Layout
from parity.naive_flat import deep_network, mapped

N, F, D = 7, 4, 3
SMALL: dict[str, Any] = {"num_logarithmic": 5, "afn_hidden": (6, 5), "hidden": (4, 3), "dropout": 0.0}
CONFIGS: dict[str, AFNConfig] = {
    "afn+": AFNConfig(**SMALL),
    "afn": AFNConfig(**{**SMALL, "hidden": ()}),
    "afn+, log": AFNConfig(**SMALL, transform="log"),
    "afn, log": AFNConfig(**{**SMALL, "hidden": ()}, transform="log"),
    "afn+, no batch norm": AFNConfig(**SMALL, batch_norm=False),
    "afn, no network": AFNConfig(**{**SMALL, "hidden": (), "afn_hidden": ()}),
    "afn+, log, no network": AFNConfig(**{**SMALL, "afn_hidden": ()}, transform="log"),
}


def layout(num_fields: int = F, width: int = D) -> Layout:
    return Layout(names=tuple(f"f{i}" for i in range(num_fields)), widths=(width,) * num_fields)


def build(config: AFNConfig, num_tasks: int = 1, num_fields: int = F, width: int = D) -> AFN:
    torch.manual_seed(0)
    return AFN(config, layout(num_fields, width), num_tasks)


def perturbed(config: AFNConfig, num_tasks: int) -> AFN:
    """In training and float64; no parameter is at its start value."""
    model = build(config, num_tasks).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, dtype=torch.float64)
    return model


def streams(model: AFN, *values: Tensor) -> dict[str, Fields]:
    """One tensor of (N, F, D) for each stream, or one for all."""
    fields = []
    for x in values:
        like = layout(x.shape[1], x.shape[2])
        fields.append(Fields(values=x.flatten(1), widths=like.widths, names=like.names))
    return dict(zip(model.streams, fields * (len(model.streams) // len(fields)), strict=True))


def rows(seed: int, count: int = N, num_fields: int = F, width: int = D) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(count, num_fields, width, generator=random, dtype=torch.float64)


def normed(p: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """Batch norm of (N, C, D), number by number: each channel over rows and dimensions."""
    channels = []
    for c in range(x.shape[1]):
        flat = [x[n, c, d] for n in range(x.shape[0]) for d in range(x.shape[2])]
        mean = torch.stack(flat).sum() / len(flat)
        variance = torch.stack([(value - mean) ** 2 for value in flat]).sum() / len(flat)
        scaled = [(value - mean) / torch.sqrt(variance + 1e-5) for value in flat]
        shifted = [value * p[f"{name}.weight"][c] + p[f"{name}.bias"][c] for value in scaled]
        channels.append(torch.stack(shifted).reshape(x.shape[0], x.shape[2]))
    return torch.stack(channels, dim=1)


def summed(orders: Tensor, logs: Tensor) -> Tensor:
    """(F, D) of one row to (L, D), neuron by neuron and field by field."""
    return torch.stack([torch.stack([w[f] * logs[f] for f in range(len(logs))]).sum(dim=0) for w in orders])


def neurons(p: dict[str, Tensor], config: AFNConfig, x: Tensor) -> Tensor:
    """Neuron after neuron, side by side."""
    orders = p["powers.orders.weight"]
    if config.transform == "log1p":
        exponents = torch.stack([summed(orders, torch.log(1 + abs(row) + 1e-7)) for row in x])
        return torch.clamp(torch.exp(exponents) - 1, min=0).flatten(1)
    logs = normed(p, "powers.field_norm", torch.log(torch.where(abs(x) > 1e-7, abs(x), torch.full_like(x, 1e-7))))
    exponents = torch.stack([summed(orders, row) for row in logs])
    return normed(p, "powers.neuron_norm", torch.exp(exponents)).flatten(1)


def naive(p: dict[str, Tensor], config: AFNConfig, cross: Tensor, deep: Tensor) -> Tensor:
    own = config.model_copy(update={"hidden": config.afn_hidden})
    logits = mapped(p, "head", deep_network(p, own, "crossed", neurons(p, config, cross)))
    if not config.hidden:
        return logits
    return logits + mapped(p, "deep.1", deep_network(p, config, "deep.0", deep.flatten(1)))


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("name", CONFIGS)
def test_equation(name: str, num_tasks: int) -> None:
    """Values, and gradients of every parameter and of both inputs."""
    config = CONFIGS[name]
    model = perturbed(config, num_tasks)
    cross, deep = rows(1).requires_grad_(), rows(2).requires_grad_()
    p = {key: value.detach().clone().requires_grad_() for key, value in model.named_parameters()}
    own_cross, own_deep = (x.detach().clone().requires_grad_() for x in (cross, deep))
    found = model(streams(model, *((cross, deep) if config.hidden else (cross,))))
    expected = naive(p, config, own_cross, own_deep)
    assert found.shape == (N, num_tasks)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    mix = torch.randn(N, num_tasks, dtype=torch.float64)
    (found * mix).sum().backward()
    (expected * mix).sum().backward()
    assert cross.grad is not None
    assert cross.grad.abs().sum() > 0
    torch.testing.assert_close(cross.grad, own_cross.grad, rtol=1e-8, atol=1e-11)
    if config.hidden:
        torch.testing.assert_close(deep.grad, own_deep.grad, rtol=1e-8, atol=1e-11)
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, p[key].grad, rtol=1e-8, atol=1e-11, msg=key)


def test_orders_are_the_powers_of_a_product() -> None:
    """x_1 x_2^2 of 1 + |x|, less one, whatever the signs; a product below one is cut off."""
    model = build(AFNConfig(**SMALL)).double()
    with torch.no_grad():
        model.powers.orders.weight[:2] = torch.tensor([[1.0, 2.0, 0.0, 0.0], [-1.0, 0.0, 0.0, 0.0]])
        found = model.powers(rows(1)).unflatten(1, (5, D))
    x = rows(1).abs() + 1e-7
    torch.testing.assert_close(found[:, 0], (1 + x[:, 0]) * (1 + x[:, 1]) ** 2 - 1)
    assert torch.equal(found[:, 1], torch.zeros(N, D, dtype=torch.float64))


def layers(widths: list[int], *, batch_norm: bool) -> int:
    return sum(a * b + b + (2 * b if batch_norm else 0) for a, b in pairwise(widths))


@pytest.mark.parametrize("num_tasks", [1, 3])
@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_as_many_as_the_formula_says(name: str, num_tasks: int) -> None:
    config = CONFIGS[name]
    neurons = config.num_logarithmic
    expected = neurons * F + (2 * (F + neurons) if config.transform == "log" else 0)
    networks = [[neurons * D, *config.afn_hidden], *([[F * D, *config.hidden]] if config.hidden else [])]
    for widths in networks:
        expected += layers(widths, batch_norm=config.batch_norm) + widths[-1] * num_tasks + num_tasks
    assert sum(p.numel() for p in build(config, num_tasks).parameters()) == expected


def test_parameters_for_39_fields_of_width_16() -> None:
    """As Criteo has them, without embeddings: AFN+, AFN, and 98 more for two batch norms."""
    configs = (AFNConfig(), AFNConfig(hidden=()), AFNConfig(transform="log"))
    counts = [sum(p.numel() for p in build(config, 1, 39, 16).parameters()) for config in configs]
    assert counts == [961_992, 388_391, 962_090]


@pytest.mark.parametrize("name", CONFIGS)
def test_cost_agrees_with_the_counter(name: str) -> None:
    model = build(CONFIGS[name], 2).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(streams(model, rows(1).float()))
    assert counter.get_total_flops() // 2 == N * model.cost()


@pytest.mark.parametrize("name", CONFIGS)
def test_start_values(name: str) -> None:
    """Orders in U(-1/sqrt(F), 1/sqrt(F)), and every parameter learns, but shifts that a batch norm takes away again."""
    config = CONFIGS[name]
    model = build(config).double()
    assert 0.8 * F**-0.5 < model.powers.orders.weight.abs().max() <= F**-0.5
    x = 0.05 * rows(1, 256)
    (model(streams(model, x)) * rows(2, 256, 1, 1)[:, 0]).mean().backward()
    gradients = {key: p.grad.abs().max() for key, p in model.named_parameters() if p.grad is not None}
    assert gradients.keys() == dict(model.named_parameters()).keys()
    taken = config.transform == "log" and config.batch_norm and config.afn_hidden
    shifts = {"powers.neuron_norm.bias"} if taken else set()
    if config.batch_norm:
        networks = [("crossed", config.afn_hidden), ("deep.0", config.hidden)]
        shifts |= {f"{network}.{4 * layer}.bias" for network, hidden in networks for layer in range(len(hidden))}
    assert {key for key, gradient in gradients.items() if gradient < 1e-12} == shifts


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", ["large", "zero", "large and zero", "one row of zeros", "signs"])
@pytest.mark.parametrize("transform", ["log1p", "log"])
def test_large_and_zero_fields_are_finite(transform: str, name: str, training: bool) -> None:
    """From start values, for 39 fields of width 16 and values up to 10: logits and gradients."""
    model = build(parse_config(AFNConfig, {"transform": transform, "num_logarithmic": 100}, "model"), 1, 39, 16)
    shape = (64, 39, 16)
    x = {
        "large": torch.full(shape, 10.0),
        "zero": torch.zeros(shape),
        "large and zero": 10.0 * (torch.arange(64) % 2)[:, None, None].expand(shape),
        "one row of zeros": 0.05 * rows(1, *shape).float() * (torch.arange(64) > 0)[:, None, None],
        "signs": 10.0 * rows(1, *shape).float().sign(),
    }[name].requires_grad_()
    logits = model.train(training)(streams(model, x))
    logits.sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in [x, *model.parameters()])


@pytest.mark.parametrize("transform", ["log1p", "log"])
@pytest.mark.parametrize("width", [1, 4])
def test_a_row_alone_in_training(width: int, transform: str) -> None:
    model = build(parse_config(AFNConfig, {**SMALL, "transform": transform}, "model"), 2, F, width)
    logits = model(streams(model, rows(1, 1, F, width).float()))
    logits.sum().backward()
    assert logits.isfinite().all()


def test_start_exponents_stay_below_their_bound() -> None:
    model, x = build(AFNConfig(num_logarithmic=1000), 1, 39, 16), torch.full((1, 39, 16), 10.0)
    exponents = torch.log1p(model.powers(x))
    assert exponents.max() < math.sqrt(39) * math.log1p(10.0 + 1e-6) < 15


def test_streams() -> None:
    assert build(AFNConfig(**SMALL)).streams == ("cross", "deep")
    assert build(AFNConfig(**{**SMALL, "hidden": ()})).streams == ("fields",)
    assert AFN.streams == ("fields",)


def test_fields_of_one_width() -> None:
    for widths, message in (((4, 3), "fields of one width, got a 4, b 3"), ((), "fields with a vector, got none")):
        with pytest.raises(ConfigError, match=rf"model\.name 'afn' needs {message}"):
            AFN(AFNConfig(), Layout(names=("a", "b")[: len(widths)], widths=widths), 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_logarithmic": 0}, "num_logarithmic"),
        ({"afn_hidden": [400, 0]}, "afn_hidden"),
        ({"transform": "sqrt"}, "transform"),
        ({"dropout": 1.0}, "dropout"),
        ({"afn_hiden": [400]}, "afn_hidden"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(AFNConfig, settings, "model")
