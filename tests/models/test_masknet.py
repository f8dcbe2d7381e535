"""MaskNet: values and gradients against its equation, counts, cost, and what large and zero fields do."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.flat import DeepConfig
from hemix.models.masknet import MaskNet, MaskNetConfig
from hemix.nn.fields import Fields, Layout
from parity.naive import linear
from parity.naive_flat import deep_network, mapped

N = 7
WIDTHS = {"same": (3, 3, 3), "different": (2, 5, 3, 1)}
SERIAL: dict[str, Any] = {"block_dim": 4, "dropout": 0.0}
SMALL: dict[str, Any] = {**SERIAL, "hidden": (6, 5)}
CONFIGS: dict[str, MaskNetConfig] = {
    "parallel": MaskNetConfig(**SMALL),
    "serial": MaskNetConfig(**SERIAL, structure="serial"),
    "parallel, one block": MaskNetConfig(**SMALL, num_blocks=1, reduction=0.5),
    "serial, one block": MaskNetConfig(**SERIAL, structure="serial", num_blocks=1),
    "serial, narrow masks": MaskNetConfig(**SERIAL, structure="serial", reduction=0.7),
    "parallel, no network": MaskNetConfig(**{**SMALL, "hidden": ()}, num_blocks=2, reduction=1.5),
}


def build(config: MaskNetConfig, widths: tuple[int, ...], num_tasks: int = 1) -> MaskNet:
    torch.manual_seed(0)
    return MaskNet(config, layout(widths), num_tasks)


def layout(widths: tuple[int, ...]) -> Layout:
    return Layout(names=tuple(f"f{i}" for i in range(len(widths))), widths=widths)


def perturbed(config: MaskNetConfig, widths: tuple[int, ...], num_tasks: int) -> MaskNet:
    """In float64; no parameter is at its start value."""
    model = build(config, widths, num_tasks).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, dtype=torch.float64)
    return model


def stream(x: Tensor, widths: tuple[int, ...]) -> dict[str, Fields]:
    return {"fields": Fields(values=x, widths=widths, names=layout(widths).names)}


def rows(seed: int, width: int, count: int = N) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def standardised(x: Tensor) -> Tensor:
    mean = x.sum() / len(x)
    return (x - mean) / torch.sqrt(((x - mean) ** 2).sum() / len(x) + 1e-5)


def block(p: dict[str, Tensor], i: int, x: Tensor, hidden: Tensor) -> Tensor:
    mask = linear(p, f"blocks.{i}.mask.2", torch.clamp(linear(p, f"blocks.{i}.mask.0", x), min=0))
    found = standardised(p[f"blocks.{i}.map.weight"] @ (hidden * mask))
    return torch.clamp(found * p[f"blocks.{i}.norm.weight"] + p[f"blocks.{i}.norm.bias"], min=0)


def row_of(p: dict[str, Tensor], config: MaskNetConfig, widths: tuple[int, ...], x: Tensor) -> Tensor:
    """What stands in front of the network or the head."""
    fields, start = [], 0
    for width in widths:
        own = slice(start, start + width)
        fields.append(standardised(x[own]) * p["norm.weight"][own] + p["norm.bias"][own])
        start += width
    hidden = torch.cat(fields)
    if config.structure == "parallel":
        return torch.cat([block(p, i, x, hidden) for i in range(config.num_blocks)])
    for i in range(config.num_blocks):
        hidden = block(p, i, x, hidden)
    return hidden


def naive(p: dict[str, Tensor], config: MaskNetConfig, widths: tuple[int, ...], x: Tensor) -> Tensor:
    found = torch.stack([row_of(p, config, widths, row) for row in x])
    if config.structure == "parallel":
        found = deep_network(p, DeepConfig(hidden=config.hidden, batch_norm=False), "deep", found)
    return mapped(p, "head", found)


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", CONFIGS)
def test_equation(name: str, widths: tuple[int, ...], num_tasks: int) -> None:
    """Values, and gradients of every parameter and of the input."""
    config = CONFIGS[name]
    model, x = perturbed(config, widths, num_tasks), rows(1, sum(widths)).requires_grad_()
    p = {key: value.detach().clone().requires_grad_() for key, value in model.named_parameters()}
    own = x.detach().clone().requires_grad_()
    found, expected = model(stream(x, widths)), naive(p, config, widths, own)
    assert found.shape == (N, num_tasks)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    mix = torch.randn(N, num_tasks, dtype=torch.float64)
    (found * mix).sum().backward()
    (expected * mix).sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().sum(dim=1) > 0).all()
    torch.testing.assert_close(x.grad, own.grad, rtol=1e-8, atol=1e-11)
    for key, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, p[key].grad, rtol=1e-8, atol=1e-11, msg=key)


def expected_parameters(config: MaskNetConfig, total: int, num_tasks: int) -> int:
    masked = [total] * config.num_blocks
    if config.structure == "serial":
        masked[1:] = [config.block_dim] * (config.num_blocks - 1)
    count, last = 2 * total, config.block_dim
    for z in masked:
        t = int(config.reduction * z)
        count += total * t + t + t * z + z + z * config.block_dim + 2 * config.block_dim
    if config.structure == "parallel":
        sizes = [config.num_blocks * config.block_dim, *config.hidden]
        count, last = count + sum(a * b + b for a, b in pairwise(sizes)), sizes[-1]
    return count + last * num_tasks + num_tasks


@pytest.mark.parametrize("num_tasks", [1, 3])
@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", CONFIGS)
def test_parameters_are_as_many_as_the_formula_says(name: str, widths: tuple[int, ...], num_tasks: int) -> None:
    config = CONFIGS[name]
    count = sum(p.numel() for p in build(config, widths, num_tasks).parameters())
    assert count == expected_parameters(config, sum(widths), num_tasks)


def test_parameters_for_39_fields_of_width_16() -> None:
    """As Criteo has them, without embeddings."""
    configs = (MaskNetConfig(), MaskNetConfig(structure="serial"))
    counts = [sum(p.numel() for p in build(config, (16,) * 39).parameters()) for config in configs]
    assert counts == [5_037_569, 1_785_713]


@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", CONFIGS)
def test_cost_agrees_with_the_counter(name: str, widths: tuple[int, ...]) -> None:
    model = build(CONFIGS[name], widths, 2).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(stream(rows(1, sum(widths)).float(), widths))
    assert counter.get_total_flops() // 2 == N * model.cost()


@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
@pytest.mark.parametrize("name", CONFIGS)
def test_every_parameter_gets_a_gradient(name: str, widths: tuple[int, ...]) -> None:
    """From the start values on."""
    model, x = build(CONFIGS[name], widths), 0.05 * rows(1, sum(widths), 256).float()
    (model(stream(x, widths)) * torch.randn(256, 1)).mean().backward()
    assert [key for key, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-7] == []


@pytest.mark.parametrize("scale", [0.0, 10.0, 1e4])
@pytest.mark.parametrize("widths", [(16,) * 39, (4, 1, 8)], ids=["same", "different"])
@pytest.mark.parametrize("structure", ["serial", "parallel"])
def test_large_and_zero_fields_are_finite(structure: str, widths: tuple[int, ...], scale: float) -> None:
    """Constant fields too, whose norm has no variance."""
    model = build(parse_config(MaskNetConfig, {"structure": structure, "reduction": 2}, "model"), widths)
    random = rows(1, sum(widths), 16).float()
    for x in (scale * random, scale * torch.ones_like(random), scale * (random > 0)):
        x = x.clone().requires_grad_()
        logits = model(stream(x, widths))
        logits.sum().backward()
        assert logits.isfinite().all()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in [x, *model.parameters()])


def test_both_ways_of_norming_fields_agree() -> None:
    """Fields of one width in one step, others one by one: a field more of another width changes nothing."""
    x = rows(1, 9)
    same, different = (build(CONFIGS["serial"], widths).double().norm for widths in ((3, 3, 3), (3, 3, 3, 2)))
    torch.testing.assert_close(same(x), different(torch.cat([x, rows(2, 2)], dim=1))[:, :9])


def test_rows_do_not_see_each_other() -> None:
    for config in CONFIGS.values():
        model, x = perturbed(config, WIDTHS["different"], 1), rows(1, 11)
        whole, alone = (model(stream(values, WIDTHS["different"])) for values in (x, x[2:3]))
        torch.testing.assert_close(whole[2:3], alone)


def test_dropout_is_in_either_structure() -> None:
    for structure in ("serial", "parallel"):
        config = parse_config(MaskNetConfig, {**SERIAL, "structure": structure, "dropout": 0.5}, "model")
        model, x = build(config, WIDTHS["same"]), rows(1, 9).float()
        once, again = (model(stream(x, WIDTHS["same"])) for _ in range(2))
        assert not torch.equal(once, again)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"structure": "stacked"}, "structure"),
        ({"num_blocks": 0}, "num_blocks"),
        ({"block_dim": 0}, "block_dim"),
        ({"reduction": 0}, "reduction"),
        ({"reduction": float("inf")}, "reduction"),
        ({"hidden": [0]}, "hidden"),
        ({"batch_norm": True}, "batch_norm"),
    ],
)
def test_bad_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(MaskNetConfig, settings, "model")


def test_a_mask_needs_a_first_layer() -> None:
    with pytest.raises(ConfigError, match=r"model.reduction.* at least 1, got 0.2 times 4"):
        build(MaskNetConfig(**SERIAL, structure="serial", reduction=0.2), WIDTHS["same"])
