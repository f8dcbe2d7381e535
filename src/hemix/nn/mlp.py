"""Multi-layer perceptrons, task heads, and a first layer that is split between request and candidate."""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hemix.nn.activation import Activation, build_activation
from hemix.nn.cost import Cost


class MLP(nn.Sequential):
    """Linear and activation for each width of `hidden`, one after the other; empty `hidden` is the identity.

    >>> MLP(8, [4, 2])(torch.zeros(5, 8)).shape
    torch.Size([5, 2])
    """

    def __init__(self, in_features: int, hidden: Sequence[int], activation: Activation = "relu") -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise([in_features, *hidden]):
            layers += [nn.Linear(before, after), build_activation(activation, after)]
        super().__init__(*layers)


class Towers(nn.Module):
    """One MLP with a scalar output per task: (N, d) to logits (N, K)."""

    def __init__(self, in_features: int, hidden: Sequence[int], num_tasks: int) -> None:
        super().__init__()
        width = [in_features, *hidden][-1]
        self.tasks = nn.ModuleList(
            [nn.Sequential(MLP(in_features, hidden), nn.Linear(width, 1)) for _ in range(num_tasks)]
        )

    def forward(self, x: Float[Tensor, "N D"]) -> Float[Tensor, "N K"]:
        return torch.cat([tower(x) for tower in self.tasks], dim=1)


class SplitLinear(nn.Module):
    """``W [r ; c] + b`` of a request part r and a candidate part c, with ``W_r r + b`` computed once per request."""

    def __init__(self, request_width: int, candidate_width: int, out_features: int) -> None:
        super().__init__()
        self.request_width = request_width
        self.linear = nn.Linear(request_width + candidate_width, out_features)

    def request(self, x: Float[Tensor, "R I"]) -> Float[Tensor, "R O"]:
        return nn.functional.linear(x, self.linear.weight[:, : self.request_width], self.linear.bias)

    def candidate(self, x: Float[Tensor, "N J"], of_request: Float[Tensor, "N O"]) -> Float[Tensor, "N O"]:
        """The whole: `of_request` is the request's part, spread to its candidates."""
        return torch.addmm(of_request, x, self.linear.weight[:, self.request_width :].T)

    def cost(self) -> Cost:
        per_request = self.request_width * self.linear.out_features
        return Cost(per_request=per_request, per_candidate=self.linear.weight.numel() - per_request)
