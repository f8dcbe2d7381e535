"""Wukong against its equation, row by row; counts, cost, and settings that cannot be."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.wukong import Wukong, WukongConfig, WukongLayer
from hemix.nn.fields import Fields, Layout

WIDTH, ROWS = 4, 3
SMALL: dict[str, Any] = {"num_layers": 2, "num_fm": 2, "num_linear": 3, "rank": 2, "fm_hidden": (6,), "hidden": (5, 4)}
SETTINGS: dict[str, tuple[int, dict[str, Any]]] = {
    "fewer embeddings than fields": (7, {}),
    "more embeddings than fields": (3, {}),
    "as many embeddings as fields": (5, {}),
    "one layer": (7, {"num_layers": 1}),
    "three layers": (6, {"num_layers": 3, "num_fm": 3, "rank": 4}),
    "deep blocks": (6, {"fm_hidden": (6, 3)}),
    "linear blocks": (6, {"fm_hidden": ()}),
    "no network behind": (6, {"hidden": ()}),
    "one field": (1, {"rank": 1}),
}
Parameters = dict[str, Tensor]


def layout_of(fields: int, width: int = WIDTH) -> Layout:
    return Layout(names=tuple(f"f{i}" for i in range(fields)), widths=(width,) * fields)


def build(setting: str, num_tasks: int) -> tuple[Wukong, WukongConfig, Layout]:
    """In float64, with start values."""
    fields, changed = SETTINGS[setting]
    config, layout = WukongConfig(**{**SMALL, **changed}), layout_of(fields)
    torch.manual_seed(3)
    return Wukong(config, layout, num_tasks).double(), config, layout


def perturbed(setting: str, num_tasks: int) -> tuple[Wukong, WukongConfig, Layout]:
    """No parameter is at its start value."""
    model, config, layout = build(setting, num_tasks)
    random = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=random, dtype=torch.float64)
    return model, config, layout


def random_rows(layout: Layout, *, rows: int = ROWS, scale: float = 1.0) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return scale * torch.randn(rows, layout.width, generator=random, dtype=torch.float64)


def fields_of(layout: Layout, values: Tensor) -> dict[str, Fields]:
    return {"fields": Fields(values=values, widths=layout.widths, names=layout.names)}


def linear(p: Parameters, name: str, x: Tensor) -> Tensor:
    return p[f"{name}.weight"] @ x + p[f"{name}.bias"]


def norm(p: Parameters, name: str, x: Tensor) -> Tensor:
    mean = x.sum() / len(x)
    variance = ((x - mean) ** 2).sum() / len(x)
    return (x - mean) / torch.sqrt(variance + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def mixtures(matrix: Tensor, embeddings: list[Tensor]) -> list[Tensor]:
    return [torch.stack([w * one for w, one in zip(row, embeddings, strict=True)]).sum(dim=0) for row in matrix]


def block(p: Parameters, name: str, config: WukongConfig, embeddings: list[Tensor]) -> list[Tensor]:
    """The product of every pair first, as the paper introduces it; then the compression of the pairs."""
    y = p[f"{name}.compress.weight"]
    pairs = [[(one * other).sum() for other in embeddings] for one in embeddings]
    flat = [
        torch.stack([pairs[n][m] * y[k, m] for m in range(len(embeddings))]).sum()
        for n in range(len(embeddings))
        for k in range(config.rank)
    ]
    h = norm(p, f"{name}.norm", torch.stack(flat))
    for layer in range(len(config.fm_hidden)):
        h = torch.clamp(linear(p, f"{name}.hidden.{3 * layer}", h), min=0)
    made = linear(p, f"{name}.output", h)
    return [made[WIDTH * m : WIDTH * (m + 1)] for m in range(config.num_fm)]


def naive(p: Parameters, config: WukongConfig, row: Tensor) -> Tensor:
    """Logits of one row, without dropout."""
    x = [row[WIDTH * f : WIDTH * (f + 1)] for f in range(len(row) // WIDTH)]
    for layer in range(config.num_layers):
        name = f"layers.{layer}"
        made = block(p, f"{name}.products", config, x) + mixtures(p[f"{name}.linear.weight"], x)
        kept = x if len(x) == len(made) else mixtures(p[f"{name}.residual.weight"], x)
        x = [norm(p, f"{name}.norm", one + other) for one, other in zip(made, kept, strict=True)]
    h = torch.cat(x)
    for layer in range(len(config.hidden)):
        h = torch.clamp(linear(p, f"deep.{3 * layer}", h), min=0)
    return linear(p, "head", h)


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("setting", SETTINGS)
def test_equation(setting: str, num_tasks: int) -> None:
    """Values, and gradients of every parameter and of the fields."""
    model, config, layout = perturbed(setting, num_tasks)
    x, y = random_rows(layout).requires_grad_(), random_rows(layout).requires_grad_()
    leaves = {name: value.detach().clone().requires_grad_() for name, value in model.named_parameters()}
    found = model(fields_of(layout, x))
    expected = torch.stack([naive(leaves, config, row) for row in y])
    assert found.shape == (ROWS, num_tasks)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    mix = torch.randn(found.shape, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
    (found * mix).sum().backward()
    (expected * mix).sum().backward()
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-9, atol=1e-11)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, leaves[name].grad, rtol=1e-9, atol=1e-11, msg=name)


def layers(*widths: int) -> int:
    """Weights and biases of the linear maps between these widths."""
    return sum(a * b + b for a, b in pairwise(widths))


def expected_size(config: WukongConfig, fields: int, width: int, num_tasks: int) -> int:
    made, total = config.num_fm + config.num_linear, 0
    for n in [fields] + [made] * (config.num_layers - 1):
        pairs = n * config.rank
        total += n * config.rank + 2 * pairs + layers(pairs, *config.fm_hidden, config.num_fm * width)
        total += n * config.num_linear + (n * made if n != made else 0) + 2 * width
    return total + layers(made * width, *config.hidden, num_tasks)


@pytest.mark.parametrize("num_tasks", [1, 3])
@pytest.mark.parametrize("setting", SETTINGS)
def test_parameters_are_as_many_as_the_formula_says(setting: str, num_tasks: int) -> None:
    model, config, layout = build(setting, num_tasks)
    size = sum(parameter.numel() for parameter in model.parameters())
    assert size == expected_size(config, len(layout.names), WIDTH, num_tasks)


def test_parameters_of_the_defaults() -> None:
    """39 fields of width 16, one task: a layer from 39 to 32 embeddings, two of 32, and the network behind."""
    model = Wukong(WukongConfig(), layout_of(39, 16), 1)
    first = 39 * 24 + 2 * 39 * 24 + layers(39 * 24, 256, 256) + 39 * 16 + 39 * 32 + 32
    other = 32 * 24 + 2 * 32 * 24 + layers(32 * 24, 256, 256) + 32 * 16 + 32
    size = sum(parameter.numel() for parameter in model.parameters())
    assert size == first + 2 * other + layers(512, 256, 128, 1)


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("setting", SETTINGS)
def test_cost_is_what_the_counter_sees(setting: str, num_tasks: int) -> None:
    model, _, layout = build(setting, num_tasks)
    model.eval()
    for rows in (1, 5):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(fields_of(layout, random_rows(layout, rows=rows)))
        assert counter.get_total_flops() / 2 == rows * model.cost()


def test_cost_by_formula() -> None:
    """The matrices over embeddings meet each of d columns; nothing grows with the square of the number of fields."""
    d, k, fm, compressed = 16, 24, 16, 16
    expected = 512 * 256 + 256 * 128 + 128
    for n in (39, 32, 32):
        expected += 2 * n * k * d + n * k * 256 + 256 * fm * d + d * n * compressed
    assert Wukong(WukongConfig(), layout_of(39, 16), 1).cost() == expected + d * 39 * 32


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("setting", [name for name in SETTINGS if name != "one field"])
def test_every_parameter_gets_a_gradient(setting: str, num_tasks: int) -> None:
    """From the start values on, though the embeddings are small; but one field of rank 1 is normed to zero."""
    model, _, layout = build(setting, num_tasks)
    logits = model(fields_of(layout, random_rows(layout, rows=40, scale=0.05)))
    (logits * torch.randn(logits.shape, dtype=torch.float64)).sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-6] == []


def test_rows_do_not_see_each_other() -> None:
    model, _, layout = perturbed("fewer embeddings than fields", 2)
    x = random_rows(layout)
    torch.testing.assert_close(model(fields_of(layout, x))[1:2], model(fields_of(layout, x[1:2])))


def test_a_layer_that_keeps_the_count_keeps_its_input() -> None:
    """Without what is made, the first layer is the layer norm of its input."""
    model, config, layout = build("as many embeddings as fields", 1)
    first = model.layers[0]
    assert isinstance(first, WukongLayer)
    with torch.no_grad():
        for part in (first.products.output, first.linear):
            for parameter in part.parameters():
                parameter.zero_()
    x = random_rows(layout).unflatten(1, (5, WIDTH))
    assert config.num_fm + config.num_linear == 5
    torch.testing.assert_close(first(x), torch.nn.functional.layer_norm(x, (WIDTH,)))


def test_fields_must_be_equally_wide() -> None:
    message = r"model\.name 'wukong' needs fields of one width, got user 4, item 8; give every feature the same 'dim'"
    with pytest.raises(ConfigError, match=message):
        Wukong(WukongConfig(), Layout(names=("user", "item"), widths=(4, 8)), 1)
    with pytest.raises(ConfigError, match="needs fields with a vector, got none"):
        Wukong(WukongConfig(), Layout(names=(), widths=()), 1)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_layers": 0}, "num_layers"),
        ({"num_fm": 0}, "num_fm"),
        ({"num_linear": 0}, "num_linear"),
        ({"rank": 0}, "rank"),
        ({"fm_hidden": [0]}, "fm_hidden"),
        ({"dropout": 1.0}, "dropout"),
        ({"layers": 3}, "unknown key 'layers'. Did you mean 'num_layers'"),
    ],
)
def test_bad_settings(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(WukongConfig, values, "model")
