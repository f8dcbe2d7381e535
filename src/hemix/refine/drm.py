"""DRM: dimension relation module of FED (CIKM 2020, doi 10.1145/3340531.3412108).

z = softmax(Q K^T) V        on x^T (D x F): attention between the D dimensions, Q, K, V linear maps of F to F
y = z^T + x
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from hemix.nn.cost import pair_products
from hemix.refine.refiner import Refiner, RefinerConfig


class DRMConfig(RefinerConfig):
    """DRM has no settings."""

    name: Literal["drm"] = "drm"


class DRM(Refiner):
    """Attention between the dimensions of the fields, added to them."""

    def __init__(self, config: DRMConfig, num_fields: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.query, self.key, self.value = (nn.Linear(num_fields, num_fields) for _ in range(3))

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        by_dimension = x.transpose(1, 2)
        weights = (self.query(by_dimension) @ self.key(by_dimension).transpose(1, 2)).softmax(dim=2)
        return (weights @ self.value(by_dimension)).transpose(1, 2) + x

    def cost(self) -> int:
        """The three maps of every dimension, and the attention."""
        return self.width * super().cost() + pair_products(self.width, self.query.in_features)
