"""One linear map per group (token or head), all in one batched product."""

import torch
from jaxtyping import Float
from torch import Tensor, nn


class GroupedLinear(nn.Module):
    """``y_g = x_g W_g + b_g`` for each group g; the group axis comes first.

    Weights start Xavier-uniform per group, or N(0, std^2) if `std` is given; biases at zero.

    >>> GroupedLinear(3, 8, 4)(torch.zeros(3, 5, 8)).shape
    torch.Size([3, 5, 4])
    """

    no_decay = ("bias",)

    def __init__(
        self, num_groups: int, in_features: int, out_features: int, *, bias: bool = True, std: float | None = None
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_groups, in_features, out_features))
        self.bias = nn.Parameter(torch.zeros(num_groups, out_features)) if bias else None
        bound = (6 / (in_features + out_features)) ** 0.5
        with torch.no_grad():
            self.weight.uniform_(-bound, bound) if std is None else self.weight.normal_(std=std)

    def forward(self, x: Float[Tensor, "G N I"]) -> Float[Tensor, "G N O"]:
        if self.bias is None:
            return torch.bmm(x, self.weight)
        return torch.baddbmm(self.bias[:, None], x, self.weight)
