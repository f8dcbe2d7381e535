"""Towers behind experts against their equations: logits and the gradient of input and parameters, in float64."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from hemix.nn.towers import MMoEConfig, PLEConfig, build_towers
from parity import naive_towers

WIDTH = 5
KINDS: dict[str, tuple[MMoEConfig | PLEConfig, Callable[..., Tensor]]] = {
    "mmoe": (MMoEConfig(num_experts=3, expert_hidden=(4,)), naive_towers.mmoe),
    "mmoe, deep experts": (MMoEConfig(num_experts=2, expert_hidden=(4, 3)), naive_towers.mmoe),
    "ple, one level": (PLEConfig(num_levels=1, expert_hidden=(4,)), naive_towers.ple),
    "ple, two levels": (PLEConfig(num_task_experts=1, num_shared_experts=3, expert_hidden=(4,)), naive_towers.ple),
    "ple, three levels, deep experts": (PLEConfig(num_levels=3, expert_hidden=(4, 3)), naive_towers.ple),
}


@pytest.mark.parametrize("num_tasks", [2, 3])
@pytest.mark.parametrize("tower_hidden", [(), (6,), (4, 2)])
@pytest.mark.parametrize("name", KINDS)
def test_equations(name: str, tower_hidden: tuple[int, ...], num_tasks: int) -> None:
    config, naive = KINDS[name]
    torch.manual_seed(3)
    towers = build_towers(config, WIDTH, tower_hidden, num_tasks).double()
    with torch.no_grad():
        for parameter in towers.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, dtype=torch.float64)
    x = torch.randn(6, WIDTH, dtype=torch.float64, requires_grad=True)
    again = x.detach().clone().requires_grad_()
    leaves = {name: value.detach().clone().requires_grad_() for name, value in towers.named_parameters()}
    found, expected = towers(x), naive(leaves, config, tower_hidden, again, num_tasks)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    mix = torch.randn(found.shape, dtype=torch.float64)
    (found * mix).sum().backward()
    (expected * mix).sum().backward()
    torch.testing.assert_close(x.grad, again.grad, rtol=1e-9, atol=1e-11)
    for key, parameter in towers.named_parameters():
        torch.testing.assert_close(parameter.grad, leaves[key].grad, rtol=1e-9, atol=1e-11, msg=key)
