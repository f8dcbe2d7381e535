"""One block over the tokens of a row: mixing, then a network per token, each with a residual and a norm.

post norm   X <- norm(X + f(X))          pre norm   X <- X + f(norm(X))
"""

from jaxtyping import Float
from torch import Tensor, nn

from hemix.nn.mixing import HeadMixing, HeteroMixing, SelfAttention
from hemix.nn.norm import NormKind, build_norm
from hemix.nn.token_experts import PerTokenExperts
from hemix.nn.token_ffn import PerTokenFFN, PerTokenSwiGLU, SharedFFN

Mixing = HeteroMixing | HeadMixing | SelfAttention
FFN = PerTokenFFN | SharedFFN | PerTokenSwiGLU | PerTokenExperts


class MixerBlock(nn.Module):
    """`mixing` None: the block is its FFN alone."""

    def __init__(self, mixing: Mixing | None, ffn: FFN, width: int, norm: NormKind, *, pre_norm: bool) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.mixing = mixing
        self.ffn = ffn
        self.mixing_norm = None if mixing is None else build_norm(norm, width)
        self.ffn_norm = build_norm(norm, width)

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        for _, part, norm in self.parts():
            _, x = self.add(x, part, norm)
        return x

    def parts(self) -> list[tuple[str, Mixing | FFN, nn.Module]]:
        """Name, map and norm of what the block adds, in order."""
        mixing = [] if self.mixing is None or self.mixing_norm is None else [("mixing", self.mixing, self.mixing_norm)]
        return [*mixing, ("ffn", self.ffn, self.ffn_norm)]

    def add(
        self, x: Float[Tensor, "N M D"], part: nn.Module, norm: nn.Module
    ) -> tuple[Float[Tensor, "N M D"], Float[Tensor, "N M D"]]:
        """What `part` adds to the tokens, and the tokens afterwards."""
        if self.pre_norm:
            added = part(norm(x))
            return added, x + added
        added = part(x)
        return added, norm(x + added)

    def cost(self) -> int:
        """Multiply-adds per row."""
        return sum(part.cost() for _, part, _ in self.parts())
