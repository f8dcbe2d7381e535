"""What a token does with itself: two-layer networks over (N, M, D), of each token its own or one for all.

per_token          gelu(X_t W1_t + b1_t) W2_t + b2_t
shared             the same with one W1, b1, W2, b2 for all tokens
per_token_swiglu   (silu(X_t Wg_t + bg_t) * (X_t W1_t + b1_t)) W2_t + b2_t
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.nn.cost import products
from hemix.nn.grouped_linear import GroupedLinear
from hemix.nn.mixing import SMALL_STD

FFNKind = Literal["per_token", "shared", "per_token_swiglu"]


class PerTokenFFN(nn.Module):
    """A two-layer GELU network of its own for each token."""

    def __init__(self, num_tokens: int, width: int, expansion: int) -> None:
        super().__init__()
        self.up = GroupedLinear(num_tokens, width, expansion * width)
        self.down = GroupedLinear(num_tokens, expansion * width, width, std=SMALL_STD)

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        return self.down(F.gelu(self.up(x.transpose(0, 1)))).transpose(0, 1)

    def cost(self) -> int:
        """2 M k D^2."""
        return products(self)


class SharedFFN(nn.Module):
    """One two-layer GELU network for all tokens: 1 / M of the parameters, the same number of products."""

    def __init__(self, num_tokens: int, width: int, expansion: int) -> None:
        super().__init__()
        self.num_tokens = num_tokens
        self.up = GroupedLinear(1, width, expansion * width)
        self.down = GroupedLinear(1, expansion * width, width, std=SMALL_STD)

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        return self.down(F.gelu(self.up(x.flatten(0, 1)[None]))).view_as(x)

    def cost(self) -> int:
        """2 M k D^2."""
        return self.num_tokens * products(self)


class PerTokenSwiGLU(nn.Module):
    """A gated network of its own for each token; half as many parameters again as `PerTokenFFN` of that expansion."""

    def __init__(self, num_tokens: int, width: int, expansion: int) -> None:
        super().__init__()
        self.gate = GroupedLinear(num_tokens, width, expansion * width)
        self.up = GroupedLinear(num_tokens, width, expansion * width)
        self.down = GroupedLinear(num_tokens, expansion * width, width, std=SMALL_STD)

    def forward(self, x: Float[Tensor, "N M D"]) -> Float[Tensor, "N M D"]:
        rows = x.transpose(0, 1)
        return self.down(F.silu(self.gate(rows)) * self.up(rows)).transpose(0, 1)

    def cost(self) -> int:
        """3 M k D^2."""
        return products(self)


def build_ffn(kind: FFNKind, num_tokens: int, width: int, expansion: int) -> PerTokenFFN | SharedFFN | PerTokenSwiGLU:
    """A network by name; the hidden width is ``expansion * width``."""
    match kind:
        case "per_token":
            return PerTokenFFN(num_tokens, width, expansion)
        case "shared":
            return SharedFFN(num_tokens, width, expansion)
        case "per_token_swiglu":
            return PerTokenSwiGLU(num_tokens, width, expansion)
