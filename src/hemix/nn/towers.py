"""From one vector per candidate to one logit per task: what tasks share, and what each has for itself.

Every kind ends in a tower h_k per task: an MLP with a scalar output, or one linear map where `tower_hidden` is empty.
Multi-gate mixture and progressive extraction put experts before it, and tell by `gates` how much of each was taken.

Axes: N candidates, K tasks, D width of the vector, E experts, G gates.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from hemix.config import Config
from hemix.errors import ConfigError
from hemix.nn.activation import Activation, build_activation
from hemix.nn.grouped_linear import GroupedLinear
from hemix.nn.mlp import MLP, Towers

Count = Annotated[int, Field(ge=1)]
Widths = Annotated[tuple[Count, ...], Field(min_length=1)]


class SharedBottomConfig(Config):
    """All tasks read the same vector (Caruana, Machine Learning 1997)."""

    name: Literal["shared_bottom"] = "shared_bottom"


class MMoEConfig(Config):
    """Experts that all tasks share, weighed by a gate of each task."""

    name: Literal["mmoe"] = "mmoe"
    num_experts: Annotated[int, Field(ge=2)] = 4
    expert_hidden: Widths = (64,)
    """Widths of the layers of each expert."""


class PLEConfig(Config):
    """Experts of each task beside shared ones, in one or several levels; with one level it is CGC."""

    name: Literal["ple"] = "ple"
    num_task_experts: Count = 2
    """Experts that each task has for itself, at every level."""
    num_shared_experts: Count = 2
    num_levels: Count = 2
    expert_hidden: Widths = (64,)
    """Widths of the layers of each expert."""


TowersConfig = Annotated[SharedBottomConfig | MMoEConfig | PLEConfig, Field(discriminator="name")]


class ExpertTowers(nn.Module):
    """Towers behind experts: what each gate took of which expert can be asked for."""

    def gates(self, x: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "N G E"], ...]:
        """Weights of the experts, a tensor per level; those of a gate add up to 1.

        Gates: one per task, and before the last level the shared one. Experts: those of the first task, of the second,
        ..., then the shared ones. An expert that a gate does not reach has weight 0.
        """
        raise NotImplementedError


def build_towers(
    config: TowersConfig, in_features: int, tower_hidden: Sequence[int], num_tasks: int
) -> "nn.Linear | Towers | MMoE | PLE":
    """The towers that `config` asks for: (N, in_features) to logits (N, num_tasks).

    Raises ConfigError for progressive extraction with one task, which has nothing to keep apart.
    """
    if isinstance(config, MMoEConfig):
        return MMoE(config, in_features, tower_hidden, num_tasks)
    if isinstance(config, PLEConfig):
        if num_tasks < 2:
            raise ConfigError(
                f"model.towers 'ple' keeps experts of several tasks apart; the data has {num_tasks} task to train. "
                "Declare another under data.labels, or set model.towers: {name: shared_bottom}."
            )
        return PLE(config, in_features, tower_hidden, num_tasks)
    return Towers(in_features, tower_hidden, num_tasks) if tower_hidden else nn.Linear(in_features, num_tasks)


def behind_first(
    hidden: Sequence[int], activation: Activation, towers: TowersConfig, tower_hidden: Sequence[int], num_tasks: int
) -> nn.Sequential:
    """All that follows the first linear map of a network over all fields: its activation, further layers, the towers.

    Raises ConfigError as `build_towers` does.
    """
    return nn.Sequential(
        build_activation(activation, hidden[0]),
        MLP(hidden[0], hidden[1:], activation),
        build_towers(towers, hidden[-1], tower_hidden, num_tasks),
    )


class Experts(nn.Module):
    """E MLPs of the same widths over one input: (N, D) to (N, E, H), relu after every layer."""

    def __init__(self, num_experts: int, in_features: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.layers = nn.ModuleList(
            [GroupedLinear(num_experts, before, after) for before, after in pairwise([in_features, *hidden])]
        )

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N E H"]:
        found = x.expand(self.num_experts, *x.shape)
        for layer in self.layers:
            found = torch.relu(layer(found))
        return found.transpose(0, 1)


class MMoE(ExpertTowers):
    """Multi-gate mixture of experts (Ma et al., KDD 2018, https://doi.org/10.1145/3219819.3220007).

    y_k = h_k(sum_i g_k(x)_i f_i(x)),   g_k(x) = softmax(W_k x)        f_i: experts, h_k: tower of task k
    """

    def __init__(self, config: MMoEConfig, in_features: int, tower_hidden: Sequence[int], num_tasks: int) -> None:
        super().__init__()
        self.num_tasks = num_tasks
        self.width = config.expert_hidden[-1]
        self.experts = Experts(config.num_experts, in_features, config.expert_hidden)
        self.gate = nn.Linear(in_features, num_tasks * config.num_experts, bias=False)
        self.towers = OwnTowers(self.width, tower_hidden, num_tasks)

    def gates(self, x: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "N G E"], ...]:
        """One level with a gate per task; see `ExpertTowers`."""
        return (self.gate(x).unflatten(1, (self.num_tasks, -1)).softmax(dim=2),)

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        (weights,) = self.gates(x)
        return self.towers(torch.bmm(weights, self.experts(x)))

    def weighted_sums(self) -> int:
        """Multiply-adds per row of weighing the experts: K E H."""
        return self.gate.out_features * self.width


class PLE(ExpertTowers):
    """Progressive layered extraction (Tang et al., RecSys 2020, https://doi.org/10.1145/3383313.3412236).

    x_k^0 = x_s^0 = x
    x_k^l = softmax(W_k^l x_k^(l-1)) [E_k^l(x_k^(l-1)) ; E_s^l(x_s^(l-1))]                  k: a task, s: shared
    x_s^l = softmax(W_s^l x_s^(l-1)) [E_1^l(x_1^(l-1)) ; ... ; E_K^l(x_K^(l-1)) ; E_s^l(x_s^(l-1))]
    y_k   = h_k(x_k^L)                                                       the last level L has no shared gate
    """

    def __init__(self, config: PLEConfig, in_features: int, tower_hidden: Sequence[int], num_tasks: int) -> None:
        super().__init__()
        width = config.expert_hidden[-1]
        self.levels = nn.ModuleList(
            [
                ExtractionLevel(config, width if level else in_features, num_tasks, last=level + 1 == config.num_levels)
                for level in range(config.num_levels)
            ]
        )
        self.towers = OwnTowers(width, tower_hidden, num_tasks)

    def gates(self, x: Float[Tensor, "N D"]) -> tuple[Float[Tensor, "N G E"], ...]:
        """A gate per task, and the shared one before the last level; see `ExpertTowers`."""
        return self._extract(x)[1]

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        return self.towers(self._extract(x)[0])

    def _extract(self, x: Float[Tensor, "N D"]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Inputs of the towers (N, K, H), and the gates of every level."""
        streams, gates = x[:, None], []
        for level in self.levels:
            streams, weights = level(streams)
            gates.append(weights)
        return streams, tuple(gates)


class ExtractionLevel(nn.Module):
    """One level of PLE, customized gate control: a gate per task over its own experts and the shared ones.

    Reads a stream per task and the shared one, (N, K + 1, D), or one vector for all, (N, 1, D); gives a vector per gate
    and its weights. All levels but the last have a shared gate, which reaches every expert.
    """

    def __init__(self, config: PLEConfig, in_features: int, num_tasks: int, *, last: bool) -> None:
        super().__init__()
        own, shared = config.num_task_experts, config.num_shared_experts
        counts = [own] * num_tasks + [shared]
        self.experts = nn.ModuleList([Experts(count, in_features, config.expert_hidden) for count in counts])
        num_experts = sum(counts)
        self.num_experts, self.width = num_experts, config.expert_hidden[-1]
        common = range(num_tasks * own, num_experts)
        reached = [[*range(task * own, (task + 1) * own), *common] for task in range(num_tasks)]
        reached += [] if last else [[*range(num_experts)]]
        self.gate = nn.ModuleList([Gate(in_features, experts, num_experts) for experts in reached])

    def forward(self, streams: Float[Tensor, "N S D"]) -> tuple[Float[Tensor, "N G H"], Float[Tensor, "N G E"]]:
        inputs = streams.expand(-1, len(self.experts), -1).unbind(dim=1)
        found = torch.cat([experts(x) for experts, x in zip(self.experts, inputs, strict=True)], dim=1)
        weights = torch.stack([gate(x) for gate, x in zip(self.gate, inputs, strict=False)], dim=1)
        return torch.bmm(weights, found), weights

    def weighted_sums(self) -> int:
        """Multiply-adds per row of weighing the experts, those that a gate does not reach too: G E H."""
        return len(self.gate) * self.num_experts * self.width


class Gate(nn.Module):
    """Softmax over the experts that a gate reaches, put in their places among all E."""

    reached: Tensor

    def __init__(self, in_features: int, reached: Sequence[int], num_experts: int) -> None:
        super().__init__()
        self.num_experts = num_experts
        self.linear = nn.Linear(in_features, len(reached), bias=False)
        self.register_buffer("reached", torch.tensor(reached), persistent=False)

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N E"]:
        weights = self.linear(x).softmax(dim=1)
        return weights.new_zeros(len(x), self.num_experts).index_copy(1, self.reached, weights)


class OwnTowers(Towers):
    """Towers that read a vector of their own each: (N, K, D) to logits (N, K)."""

    def forward(self, x: Float[Tensor, "N K D"]) -> Float[Tensor, "N K"]:
        return torch.cat([tower(own) for tower, own in zip(self.tasks, x.unbind(dim=1), strict=True)], dim=1)
