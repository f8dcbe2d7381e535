"""AutoInt against its equation, pair by pair; counts, cost, and configuration."""

from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.autoint import AutoInt, AutoIntConfig
from hemix.nn.fields import Fields, Layout
from parity.check import assert_equation
from parity.naive import Parameters
from parity.naive_flat import deep_network, mapped

F, D, N = 3, 4, 5
LAYOUT = Layout(names=tuple(f"f{i}" for i in range(F)), widths=(D,) * F)
SMALL: dict[str, Any] = {"num_layers": 2, "num_heads": 2, "head_dim": 3}
CASES: dict[str, dict[str, Any]] = {
    "two layers": {},
    "three layers, one head": {"num_layers": 3, "num_heads": 1},
    "one layer, three heads": {"num_layers": 1, "num_heads": 3},
    "scaled": {"scale": True},
    "no residual": {"residual": False},
    "plus": {"hidden": (7, 5), "dropout": 0.0},
    "plus, no batch norm": {"hidden": (7,), "dropout": 0.0, "batch_norm": False, "scale": True},
}


def build(num_tasks: int = 1, **settings: Any) -> AutoInt:
    """With start values, in float32."""
    torch.manual_seed(0)
    return AutoInt(AutoIntConfig(**{**SMALL, **settings}), LAYOUT, num_tasks)


def values(streams: int, dtype: torch.dtype = torch.float32, rows: int = N) -> list[Tensor]:
    """What each stream reads: they may differ."""
    random = torch.Generator().manual_seed(1)
    return [torch.randn(rows, F * D, generator=random, dtype=dtype).requires_grad_() for _ in range(streams)]


def score(model: AutoInt, inputs: Sequence[Tensor]) -> Tensor:
    """Only what the model names as its streams."""
    return model(
        {
            name: Fields(values=values, widths=LAYOUT.widths, names=LAYOUT.names)
            for name, values in zip(model.streams, inputs, strict=True)
        }
    )


def naive(parameters: Parameters, config: AutoIntConfig, inputs: Sequence[Tensor]) -> Tensor:
    rows = []
    for row in inputs[0]:
        fields = list(row.split(D))
        for layer in range(config.num_layers):
            fields = _attended(parameters, config, f"attention.{layer}", fields)
        rows.append(torch.cat(fields))
    logits = mapped(parameters, "head", torch.stack(rows))
    if not config.hidden:
        return logits
    return logits + mapped(parameters, "head_deep", deep_network(parameters, config, "deep", inputs[1]))


def _attended(parameters: Parameters, config: AutoIntConfig, name: str, fields: list[Tensor]) -> list[Tensor]:
    outputs = []
    for own in fields:
        heads = []
        for head in range(config.num_heads):
            of_head = slice(head * config.head_dim, (head + 1) * config.head_dim)
            query, key, value = (parameters[f"{name}.{part}.weight"][of_head] for part in ("query", "key", "value"))
            products = [torch.dot(query @ own, key @ other) for other in fields]
            strengths = [torch.exp(p / config.head_dim**0.5 if config.scale else p) for p in products]
            shares = [strength / sum(strengths) for strength in strengths]
            heads.append(sum(share * (value @ other) for share, other in zip(shares, fields, strict=True)))
        output = torch.cat(heads)
        if config.residual:
            output = output + parameters[f"{name}.residual.weight"] @ own
        outputs.append(torch.clamp(output, min=0))
    return outputs


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_equation(case: str, num_tasks: int) -> None:
    model = build(num_tasks, **CASES[case]).double()
    config = AutoIntConfig(**{**SMALL, **CASES[case]})
    inputs = values(len(model.streams), torch.float64)
    assert score(model, inputs).shape == (N, num_tasks)
    assert_equation(model, partial(score, model), lambda leaves, others: naive(leaves, config, others), inputs)


def test_two_streams_only_with_a_deep_network() -> None:
    assert build().streams == ("fields",)
    assert build(hidden=(7,)).streams == ("cross", "deep")


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_parameters_are_as_many_as_the_formula_says(case: str, num_tasks: int) -> None:
    """A = heads * head_dim: 4 d A in the first layer, 4 A^2 in each further one, (F A + 1) K; 3 without residual."""
    config = AutoIntConfig(**{**SMALL, **CASES[case]})
    total = config.num_heads * config.head_dim
    attention = (4 if config.residual else 3) * (D * total + (config.num_layers - 1) * total**2)
    widths = [F * D, *config.hidden]
    deep = sum(a * b + (3 if config.batch_norm else 1) * b for a, b in pairwise(widths))
    heads = (F * total + 1 + (widths[-1] if config.hidden else 0)) * num_tasks
    model = build(num_tasks, **CASES[case])
    assert sum(parameter.numel() for parameter in model.parameters()) == attention + deep + heads


@pytest.mark.parametrize("num_tasks", [1, 2])
@pytest.mark.parametrize("case", CASES)
def test_cost_agrees_with_the_counter(case: str, num_tasks: int) -> None:
    model = build(num_tasks, **CASES[case]).eval()
    with FlopCounterMode(display=False) as counter:
        score(model, values(len(model.streams)))
    assert counter.get_total_flops() == 2 * N * model.cost()


@pytest.mark.parametrize("case", ["two layers", "scaled", "no residual", "plus, no batch norm"])
def test_every_parameter_learns_from_the_start(case: str) -> None:
    """Without batch norm, behind which the gradient of a bias is zero."""
    model = build(2, **CASES[case])
    score(model, values(len(model.streams), rows=50)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_layers": 0}, r"num_layers: .* greater than or equal to 1"),
        ({"num_heads": 0}, r"num_heads: .* greater than or equal to 1"),
        ({"head_dim": 0}, r"head_dim: .* greater than or equal to 1"),
        ({"hidden": (8, 0)}, r"hidden\.1: .* greater than or equal to 1"),
        ({"heads": 2}, "unknown key 'heads'.*num_heads"),
    ],
)
def test_what_cannot_be_built(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^model: .*{message}"):
        parse_config(AutoIntConfig, settings, "model")


def test_fields_of_several_widths_are_refused() -> None:
    layout = Layout(names=("a", "b"), widths=(4, 8))
    with pytest.raises(ConfigError, match=r"model\.name 'autoint' needs fields of one width, got a 4, b 8"):
        AutoInt(AutoIntConfig(), layout, 1)
