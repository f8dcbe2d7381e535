"""Towers: what a gate reaches, how many parameters there are, and what is refused."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from conformance.rankers import CONFIGS
from factories import make_batch, make_inputs
from hemix.config import Config, parse_config
from hemix.errors import ConfigError
from hemix.models.din import DINConfig
from hemix.nn.towers import (
    ExpertTowers,
    MMoEConfig,
    PLEConfig,
    SharedBottomConfig,
    TowersConfig,
    build_towers,
)
from hemix.ranker import build_ranker

WIDTH = 7


class Section(Config):
    towers: TowersConfig = SharedBottomConfig()


def mlp(*widths: int) -> int:
    return sum(a * b + b for a, b in pairwise(widths))


def expected_parameters(config: TowersConfig, tower_hidden: tuple[int, ...], tasks: int) -> int:
    """As docs/multi-task.md counts them."""
    if isinstance(config, SharedBottomConfig):
        return tasks * mlp(WIDTH, *tower_hidden, 1)
    width = config.expert_hidden[-1]
    towers = tasks * mlp(width, *tower_hidden, 1)
    if isinstance(config, MMoEConfig):
        return towers + config.num_experts * (mlp(WIDTH, *config.expert_hidden) + tasks * WIDTH)
    own, shared = config.num_task_experts, config.num_shared_experts
    inputs = [WIDTH] + [width] * (config.num_levels - 1)
    experts = sum((tasks * own + shared) * mlp(d, *config.expert_hidden) for d in inputs)
    gates = sum(d * tasks * (own + shared) for d in inputs) + sum(d * (tasks * own + shared) for d in inputs[:-1])
    return towers + experts + gates


CASES = [
    SharedBottomConfig(),
    MMoEConfig(num_experts=3, expert_hidden=(4, 2)),
    PLEConfig(num_task_experts=1, num_shared_experts=3, num_levels=1, expert_hidden=(5,)),
    PLEConfig(num_task_experts=2, num_shared_experts=1, num_levels=3, expert_hidden=(4, 6)),
]


@pytest.mark.parametrize("tower_hidden", [(), (3,), (4, 2)])
@pytest.mark.parametrize("tasks", [2, 3])
@pytest.mark.parametrize("config", CASES, ids=lambda config: config.name)
def test_parameters_in_closed_form(config: TowersConfig, tasks: int, tower_hidden: tuple[int, ...]) -> None:
    towers = build_towers(config, WIDTH, tower_hidden, tasks)
    assert sum(p.numel() for p in towers.parameters()) == expected_parameters(config, tower_hidden, tasks)


def test_a_shared_bottom_without_hidden_layers_is_one_matrix() -> None:
    towers = build_towers(SharedBottomConfig(), WIDTH, (), 3)
    assert isinstance(towers, nn.Linear)
    assert towers.weight.shape == (3, WIDTH)


@settings(max_examples=15, deadline=None)
@given(tasks=st.integers(2, 4), own=st.integers(1, 3), shared=st.integers(1, 3), levels=st.integers(1, 3))
def test_gates_of_ple_reach_own_and_shared_experts(tasks: int, own: int, shared: int, levels: int) -> None:
    config = PLEConfig(num_task_experts=own, num_shared_experts=shared, num_levels=levels, expert_hidden=(3,))
    towers = build_towers(config, WIDTH, (), tasks)
    assert isinstance(towers, ExpertTowers)
    gates = towers.gates(torch.randn(4, WIDTH))
    assert [gate.shape for gate in gates] == [
        (4, tasks + (level + 1 < levels), tasks * own + shared) for level in range(levels)
    ]
    for weights in gates:
        torch.testing.assert_close(weights.sum(dim=2), torch.ones(weights.shape[:2]))
        for task in range(tasks):
            reached = weights[0, task] > 0
            others = torch.ones(tasks * own + shared, dtype=torch.bool)
            others[task * own : (task + 1) * own] = False
            others[tasks * own :] = False
            assert torch.equal(~reached, others)


def test_a_gate_of_mmoe_decides_what_its_tower_sees() -> None:
    """A gate that takes the second expert alone gives the tower of that expert."""
    torch.manual_seed(0)
    towers = build_towers(MMoEConfig(num_experts=2, expert_hidden=(3,)), WIDTH, (), 2)
    assert isinstance(towers, ExpertTowers)
    x = torch.rand(5, WIDTH)
    with torch.no_grad():
        towers.gate.weight.zero_()
        towers.gate.weight[1] = 1000.0  # gate of task 0, expert 1
    (weights,) = towers.gates(x)
    torch.testing.assert_close(weights[:, 0], torch.tensor([0.0, 1.0]).expand(5, 2))
    torch.testing.assert_close(weights[:, 1], torch.full((5, 2), 0.5))
    torch.testing.assert_close(towers(x)[:, 0], towers.towers.tasks[0](towers.experts(x)[:, 1])[:, 0])


def test_a_ranker_tells_its_gates() -> None:
    inputs = make_inputs()
    batch = make_batch(inputs)
    config = DINConfig(embedding_dim=4, hidden=(8,), towers=PLEConfig(expert_hidden=(3,)))
    ranker = build_ranker(inputs, config, seed=0).eval()
    before = ranker(batch)
    first, last = ranker.expert_gates(batch)
    assert (first.shape, last.shape) == ((batch.num_rows, 3, 6), (batch.num_rows, 2, 6))
    torch.testing.assert_close(last.sum(dim=2), torch.ones(batch.num_rows, 2))
    assert last.std(dim=0)[0, 0] > 0
    assert torch.equal(ranker(batch), before)
    assert build_ranker(inputs, CONFIGS["dlrm"], seed=0).expert_gates(batch) == ()


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"'ple' keeps experts of several tasks apart; the data has 1 task to train"):
        build_towers(PLEConfig(), WIDTH, (), 1)
    with pytest.raises(ConfigError, match=r"towers.name: unknown 'mmeo'; available: .*Did you mean 'mmoe'"):
        parse_config(Section, {"towers": {"name": "mmeo"}}, "model")
    with pytest.raises(ConfigError, match=r"unknown key 'towers.num_levels'"):
        parse_config(Section, {"towers": {"name": "mmoe", "num_levels": 2}}, "model")
    with pytest.raises(ConfigError, match=r"towers.num_experts: .*greater than or equal to 2 \(got 1\)"):
        parse_config(Section, {"towers": {"name": "mmoe", "num_experts": 1}}, "model")
    with pytest.raises(ConfigError, match=r"towers.expert_hidden: .*at least 1 item"):
        parse_config(Section, {"towers": {"name": "ple", "expert_hidden": []}}, "model")
