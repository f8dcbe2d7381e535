"""Several networks for each token, of which each row takes a few: the sparse form of `PerTokenFFN`.

Section 3.4 of RankMixer (https://arxiv.org/abs/2507.15551): routing by ReLU, a penalty that keeps most gates shut, and
two routers, so that in training every expert learns while in use only those with an open gate are computed.

    G_t    = relu(R_t s_t + c_t)                       E gates of token t; in use: of the router h_infer
    out_t  = sum_j G_tj e_tj(s_t)                      e_tj: a two-layer GELU network of its own
    adds   lambda mean over rows and tokens of sum_j relu(z_tj)      to the loss; z = R s + c of h_infer
    lambda = penalty (a - active_share)                a: share of the gates of the batch that are open

Where lambda is negative, too few gates are open, and it is the shut ones that are moved, by relu(-z). The routers alone
feel the penalty, not what stands before them. Filled in: that, how h_infer learns the task, lambda, and the start
values. docs/models/rankmixer.md has the reasons.

Axes: N rows, M tokens, D width of a token, E experts of a token, G = M E experts in all.
"""

from typing import Annotated

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.config import Config
from hemix.nn.grouped_linear import GroupedLinear
from hemix.nn.mixing import SMALL_STD


class ExpertsConfig(Config):
    """How many networks a token has, and how few of them a row is to take."""

    num_experts: Annotated[int, Field(ge=2)] = 4
    """Of each token; every one as large as the single network in their place."""
    active_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """The share of gates that the penalty keeps open, over rows, tokens and experts of a block."""
    penalty: Annotated[float, Field(gt=0)] = 1.0
    """Strength of the penalty: its factor is this times what the share is off by."""
    dense_training: bool = True
    """A router of its own for half of the rows in training, without penalty; false: one router, in training too."""


class PerTokenExperts(nn.Module):
    """In evaluation each expert sees only the rows that are routed to it.

    In training all of them are computed. `dense_rows` says which rows take the router of training; the model draws it
    once per pass, so that a row takes the same router in every block.
    """

    def __init__(self, config: ExpertsConfig, num_tokens: int, width: int, expansion: int) -> None:
        super().__init__()
        self.config = config
        self.num_tokens = num_tokens
        groups = num_tokens * config.num_experts
        self.router = self._build_router(width)
        self.dense_router = self._build_router(width) if config.dense_training else None
        self.up = GroupedLinear(groups, width, expansion * width)
        self.down = GroupedLinear(groups, expansion * width, width, std=SMALL_STD)
        self.dense_rows: Bool[Tensor, " N"] | None = None
        self._logits: Float[Tensor, "N M E"] | None = None

    def _build_router(self, width: int) -> GroupedLinear:
        """At the start a gate of a normed token is 1 / E, give or take as much: five in six are open.

        Alike for all rows, gates would shut and open all at once.
        """
        gate = 1 / self.config.num_experts
        router = GroupedLinear(self.num_tokens, width, self.config.num_experts, std=gate * width**-0.5)
        assert router.bias is not None
        nn.init.constant_(router.bias, gate)
        return router

    def gates(self, x: Float[Tensor, "N M D"], router: GroupedLinear | None = None) -> Float[Tensor, "N M E"]:
        """How much each row takes of each expert, by the router of use unless another is given."""
        return torch.relu(_routed_by(router or self.router, x))

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        gates = self.gates(x)
        if not self.training:
            return self.routed(x, gates)
        self._logits = _routed_by(self.router, x.detach())
        if self.dense_router is not None and self.dense_rows is not None:
            gates = torch.where(self.dense_rows[:, None, None], self.gates(x, self.dense_router), gates)
        return self.weighed(x, gates)

    def weighed(self, x: Float[Tensor, "N M D"], gates: Float[Tensor, "N M E"]) -> Float[Tensor, "N M D"]:
        """All experts on all rows."""
        rows = x.transpose(0, 1).repeat_interleave(self.config.num_experts, dim=0)
        found = self.down(F.gelu(self.up(rows))).unflatten(0, (self.num_tokens, -1))
        return torch.einsum("menw,nme->nmw", found, gates)

    def routed(self, x: Float[Tensor, "N M D"], gates: Float[Tensor, "N M E"]) -> Float[Tensor, "N M D"]:
        """The same from the rows alone whose gate is open: an expert that no row takes costs nothing."""
        tokens = []
        for token, (rows, own) in enumerate(zip(x.unbind(1), gates.unbind(1), strict=True)):
            total = torch.zeros_like(rows)
            for expert, gate in enumerate(own.unbind(1)):
                taken = gate.nonzero().flatten()
                if len(taken):
                    place = token * self.config.num_experts + expert
                    answers = gate[taken, None] * self._expert(place, rows[taken])
                    total = total.index_add(0, taken, answers)
            tokens.append(total)
        return torch.stack(tokens, dim=1)

    def _expert(self, place: int, rows: Float[Tensor, "n D"]) -> Float[Tensor, "n D"]:
        assert self.up.bias is not None
        assert self.down.bias is not None
        hidden = F.gelu(torch.addmm(self.up.bias[place], rows, self.up.weight[place]))
        return torch.addmm(self.down.bias[place], hidden, self.down.weight[place])

    def penalty(self) -> Float[Tensor, ""] | None:
        """What the last forward pass in training adds to the loss; None where there was none since the last answer."""
        logits, self._logits = self._logits, None
        if logits is None:
            return None
        excess = (logits.detach() > 0).to(logits.dtype).mean() - self.config.active_share
        moved = torch.where(excess > 0, logits, -logits)
        return self.config.penalty * excess.abs() * torch.relu(moved).sum(dim=2).mean()

    def cost(self) -> int:
        """M D E + 2 E M k D^2: as if every gate were open; each shut one saves 2 k D^2."""
        return sum(part.weight.numel() for part in (self.router, self.up, self.down))


def _routed_by(router: GroupedLinear, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M E"]:
    return router(x.transpose(0, 1)).transpose(0, 1)
