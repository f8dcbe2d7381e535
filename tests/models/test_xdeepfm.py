"""xDeepFM against its equation, pair by pair; counts, cost, and configuration."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.xdeepfm import XDeepFM, XDeepFMConfig
from hemix.nn.fields import Fields, Layout
from parity.check import assert_equation
from parity.naive import Parameters
from parity.naive_flat import deep_network, mapped

F, D, N = 3, 4, 5
LAYOUT = Layout(names=tuple(f"f{i}" for i in range(F)), widths=(D,) * F)
SMALL: dict[str, Any] = {"cin_sizes": (6, 4), "hidden": (7, 5), "dropout": 0.0}
CASES: dict[str, dict[str, Any]] = {
    "two layers": {},
    "three layers, the last one odd": {"cin_sizes": (4, 2, 3)},
    "one layer": {"cin_sizes": (5,)},
    "whole": {"cin_sizes": (3, 5, 2), "split_half": False},
    "relu": {"cin_activation": "relu"},
    "no batch norm": {"batch_norm": False},
    "linear deep network": {"hidden": ()},
}


def build(num_tasks: int = 1, **settings: Any) -> XDeepFM:
    """With start values, in float32."""
    torch.manual_seed(0)
    return XDeepFM(XDeepFMConfig(**{**SMALL, **settings}), LAYOUT, num_tasks)


def values(dtype: torch.dtype = torch.float32, rows: int = N) -> tuple[Tensor, Tensor]:
    """What the CIN reads and what the deep network reads: they may differ."""
    random = torch.Generator().manual_seed(1)
    cross, deep = torch.randn(2, rows, F * D, generator=random, dtype=dtype).unbind()
    return cross.requires_grad_(), deep.requires_grad_()


def score(model: XDeepFM, cross: Tensor, deep: Tensor) -> Tensor:
    return model(
        {
            name: Fields(values=values, widths=LAYOUT.widths, names=LAYOUT.names)
            for name, values in {"cross": cross, "deep": deep}.items()
        }
    )


def naive(parameters: Parameters, config: XDeepFMConfig, cross: Tensor, deep: Tensor) -> Tensor:
    pooled = torch.stack([_pooled(parameters, config, list(row.split(D))) for row in cross])
    read = deep_network(parameters, config, "deep", deep)
    return mapped(parameters, "head_cin", pooled) + mapped(parameters, "head_deep", read)


def _pooled(parameters: Parameters, config: XDeepFMConfig, fields: list[Tensor]) -> Tensor:
    onward, pooled = fields, []
    for k, size in enumerate(config.cin_sizes):
        maps = [_map(parameters, config, f"cin.layers.{k}", h, onward, fields) for h in range(size)]
        halved = config.split_half and k < len(config.cin_sizes) - 1
        onward = maps[: size // 2] if halved else maps
        pooled += [found.sum() for found in (maps[size // 2 :] if halved else maps)]
    return torch.stack(pooled)


def _map(
    parameters: Parameters, config: XDeepFMConfig, name: str, h: int, onward: list[Tensor], fields: list[Tensor]
) -> Tensor:
    found = parameters[f"{name}.bias"][h].expand(D)
    for i, one in enumerate(onward):
        for j, other in enumerate(fields):
            found = found + parameters[f"{name}.weight"][h, i * F + j] * one * other
    return torch.clamp(found, min=0) if config.cin_activation == "relu" else found


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_equation(case: str, num_tasks: int) -> None:
    model = build(num_tasks, **CASES[case]).double()
    config = XDeepFMConfig(**{**SMALL, **CASES[case]})
    inputs = values(torch.float64)
    assert score(model, *inputs).shape == (N, num_tasks)
    assert_equation(
        model, lambda inputs: score(model, *inputs), lambda leaves, others: naive(leaves, config, *others), inputs
    )


def test_one_map_of_ones_is_the_square_of_a_factorization_machine() -> None:
    """sum_d sum_ij x_id x_jd = sum_d (sum_i x_id)^2."""
    model, (cross, _) = build(cin_sizes=(1,), cin_activation="identity"), values()
    torch.nn.init.ones_(model.get_parameter("cin.layers.0.weight"))
    tokens = cross.unflatten(1, (F, D))
    torch.testing.assert_close(model.cin(tokens), tokens.sum(dim=1).square().sum(dim=1, keepdim=True))


@pytest.mark.parametrize("split_half", [True, False])
def test_layer_by_layer_the_degree_grows(split_half: bool) -> None:
    """Twice the fields: 4 times the first layer's maps, 8 times the second's, 16 times the third's."""
    sizes = (4, 6, 3)
    model, (cross, _) = build(cin_sizes=sizes, split_half=split_half, cin_activation="identity"), values()
    tokens = cross.unflatten(1, (F, D))
    counts = (2, 3, 3) if split_half else sizes
    degrees = torch.tensor([degree for degree, count in enumerate(counts, start=2) for _ in range(count)])
    torch.testing.assert_close(model.cin(2 * tokens), model.cin(tokens) * 2.0**degrees)


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_parameters_are_as_many_as_the_formula_says(case: str, num_tasks: int) -> None:
    """CIN: sum H_k (G_k F + 1), G maps go on to layer k; heads: a weight per pooled map, deep value, and task."""
    config = XDeepFMConfig(**{**SMALL, **CASES[case]})
    *sizes, last = config.cin_sizes
    onward = [size // 2 if config.split_half else size for size in sizes]
    cin = sum(size * (maps * F + 1) for size, maps in zip(config.cin_sizes, [F, *onward], strict=True))
    widths = [F * D, *config.hidden]
    deep = sum(a * b + (3 if config.batch_norm else 1) * b for a, b in pairwise(widths))
    heads = (sum(onward) + last + widths[-1] + 1) * num_tasks
    model = build(num_tasks, **CASES[case])
    assert sum(parameter.numel() for parameter in model.parameters()) == cin + deep + heads


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_cost_agrees_with_the_counter(case: str, num_tasks: int) -> None:
    model = build(num_tasks, **CASES[case]).eval()
    with FlopCounterMode(display=False) as counter:
        score(model, *values())
    assert counter.get_total_flops() == 2 * N * model.cost()


class LargeTensors(TorchDispatchMode):
    """Collects what the operations under it return, where it has one of the given numbers of elements."""

    def __init__(self, sizes: set[int]) -> None:
        super().__init__()
        self.sizes, self.found = sizes, list[Tensor]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if isinstance(output, Tensor) and output.numel() in self.sizes:
            self.found.append(output)
        return output


def test_products_of_pairs_are_never_copied() -> None:
    """One tensor per layer has a number for each pair and position."""
    sizes = {N * D * F * F, N * D * 8 * F}
    with LargeTensors(sizes) as large:
        score(build(cin_sizes=(16, 12)), *values())
    storages = {tensor.untyped_storage().data_ptr(): tensor.numel() for tensor in large.found}
    assert sorted(storages.values()) == sorted(sizes)


@pytest.mark.parametrize("case", ["two layers", "whole", "relu"])
def test_every_parameter_learns_from_the_start(case: str) -> None:
    """Without batch norm, behind which the gradient of a bias is zero."""
    model = build(2, **CASES[case], batch_norm=False)
    score(model, *values(rows=50)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cin_sizes": (4, 5, 6)}, "cin_sizes has 5 there; make it even, or set split_half to false"),
        ({"cin_sizes": ()}, r"cin_sizes: Tuple should have at least 1 item"),
        ({"cin_sizes": (4, 0)}, r"cin_sizes\.1: .* greater than or equal to 1"),
        ({"cin_activation": "tanh"}, r"cin_activation: .*'identity' or 'relu'"),
        ({"cin_size": (4,)}, "unknown key 'cin_size'.*cin_sizes"),
    ],
)
def test_what_cannot_be_built(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^model: .*{message}"):
        parse_config(XDeepFMConfig, settings, "model")


def test_an_odd_size_is_fine_where_nothing_is_halved() -> None:
    assert XDeepFMConfig(cin_sizes=(5, 3), split_half=False).cin_sizes == (5, 3)
    assert XDeepFMConfig(cin_sizes=(4, 3)).cin_sizes == (4, 3)


def test_fields_of_several_widths_are_refused() -> None:
    layout = Layout(names=("a", "b"), widths=(4, 8))
    with pytest.raises(ConfigError, match=r"model\.name 'xdeepfm' needs fields of one width, got a 4, b 8"):
        XDeepFM(XDeepFMConfig(), layout, 1)
