"""The pairwise products of factorization machines."""

from jaxtyping import Float
from torch import Tensor, nn


class PairwiseProducts(nn.Module):
    """Sum over all pairs of fields f < g of <v_f, v_g>, in linear time: 1/2 sum_d ((sum_f v_fd)^2 - sum_f v_fd^2).

    With one task nothing is learned. With several the d summands have a weight per task, which starts at one.
    """

    def __init__(self, width: int, num_tasks: int) -> None:
        super().__init__()
        self.by_task = nn.Linear(width, num_tasks, bias=False) if num_tasks > 1 else None
        if self.by_task is not None:
            nn.init.ones_(self.by_task.weight)

    def forward(self, tokens: Float[Tensor, "N F D"]) -> Float[Tensor, "N K"]:
        pairs = (tokens.sum(dim=1).square() - tokens.square().sum(dim=1)) / 2
        return pairs.sum(dim=1, keepdim=True) if self.by_task is None else self.by_task(pairs)
