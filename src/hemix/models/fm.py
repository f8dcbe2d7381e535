"""FM: factorization machine (Rendle, ICDM 2010, doi 10.1109/ICDM.2010.127).

logit = b + sum_f w_f + sum_(f < g) <v_f, v_g>
"""

from collections.abc import Mapping
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from hemix.models.flat import FieldModel, VectorsConfig, flat
from hemix.nn.fields import Fields, Layout, common_width
from hemix.nn.pairwise import PairwiseProducts
from hemix.search_space import Draw


class FMConfig(VectorsConfig):
    """Sizes of FM."""

    name: Literal["fm"] = "fm"


class FM(FieldModel):
    """The pairs and the bias; the first order is added by `Flat`."""

    def __init__(self, config: FMConfig, layout: Layout, num_tasks: int) -> None:
        super().__init__()
        self.pairs = PairwiseProducts(common_width(layout, "model.name 'fm'"), num_tasks)
        self.bias = nn.Parameter(torch.zeros(num_tasks))

    def forward(self, fields: Mapping[str, Fields]) -> Float[Tensor, "N K"]:
        return self.pairs(fields["fields"].tokens()) + self.bias


MODEL = flat(
    FMConfig,
    FM,
    paper="doi 10.1109/ICDM.2010.127",
    first_order="beside",
    space={
        "embedding_dim": Draw(choice=(8, 16, 32)),
    },
)
