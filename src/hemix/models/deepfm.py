"""DeepFM: a factorization machine beside a deep network (IJCAI 2017, https://arxiv.org/abs/1703.04247).

    logit = sum_f w_f + sum_(f < g) <v_f, v_g> + w^T MLP([v_1 ; v_2 ; ...]) + b

Deviations and settings: docs/models/flat.md. Parity test: tests/parity/test_flat.py.
"""

from collections.abc import Mapping
from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from hemix.models.flat import DEEP_SPACE, DeepConfig, FieldModel, flat
from hemix.nn.deep import DeepNetwork
from hemix.nn.fields import Fields, Layout, common_width
from hemix.nn.pairwise import PairwiseProducts


class DeepFMConfig(DeepConfig):
    """Sizes of DeepFM."""

    name: Literal["deepfm"] = "deepfm"


class DeepFM(FieldModel):
    """The pairs and the deep network; the first order is added by `Flat`."""

    streams = ("cross", "deep")

    def __init__(self, config: DeepFMConfig, layout: Layout, num_tasks: int) -> None:
        super().__init__()
        self.pairs = PairwiseProducts(common_width(layout, "model.name 'deepfm'"), num_tasks)
        self.deep = DeepNetwork(layout.width, config.hidden, dropout=config.dropout, batch_norm=config.batch_norm)
        self.head = nn.Linear(self.deep.width, num_tasks)

    def forward(self, fields: Mapping[str, Fields]) -> Float[Tensor, "N K"]:
        return self.pairs(fields["cross"].tokens()) + self.head(self.deep(fields["deep"].values))


MODEL = flat(
    DeepFMConfig,
    DeepFM,
    paper="arXiv 1703.04247",
    first_order="beside",
    space=DEEP_SPACE,
)
