"""The deep network beside or behind an interaction: what flat models of click prediction share."""

from collections.abc import Sequence
from itertools import pairwise

from jaxtyping import Float
from torch import Tensor, nn

from hemix.nn.dropout import FastDropout


class RowBatchNorm(nn.BatchNorm1d):
    """Batch norm that takes a batch of one row, by its running statistics: alone it has no variance."""

    def forward(self, input: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
        if self.training and len(input) == 1:
            statistics = self.running_mean, self.running_var
            return nn.functional.batch_norm(input, *statistics, self.weight, self.bias, training=False, eps=self.eps)
        return super().forward(input)


class DeepNetwork(nn.Sequential):
    """``dropout(relu(batch_norm(W x + b)))`` for each width of `hidden`; empty `hidden` is the identity.

    Start weights: Xavier-uniform. The bias in front of a batch norm changes nothing but the count of parameters; it is
    there because the published counts have it.
    """

    def __init__(
        self, in_features: int, hidden: Sequence[int], *, dropout: float = 0.0, batch_norm: bool = True
    ) -> None:
        layers: list[nn.Module] = []
        for before, after in pairwise([in_features, *hidden]):
            linear = nn.Linear(before, after)
            nn.init.xavier_uniform_(linear.weight)
            layers += [linear, RowBatchNorm(after)] if batch_norm else [linear]
            layers += [nn.ReLU(), FastDropout(dropout)]
        super().__init__(*layers)
        self.width = [in_features, *hidden][-1]
