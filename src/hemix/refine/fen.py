"""FEN: factor estimating network of IFM (IJCAI 2019, doi 10.24963/ijcai.2019/203).

m   = h softmax_F(z(x))            z: deep network of widths 256, 256, 256, F over all fields side by side
y_f = m_f x_f
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor, nn

from hemix.nn.deep import DeepNetwork
from hemix.refine.refiner import Dropout, Refiner, RefinerConfig, Width


class FENConfig(RefinerConfig):
    """Settings of FEN."""

    name: Literal["fen"] = "fen"
    hidden: tuple[Width, ...] = (256, 256, 256)
    dropout: Dropout = 0.5
    logits: Literal["released", "linear"] = "released"
    """Of the softmax: with batch norm, ReLU and dropout (the survey's code), or a linear map without bias (IFM)."""
    scale: Literal["one", "num_fields"] = "one"
    """h: one, as in the survey's code, or the number of fields (IFM), so that the mean weight is one."""


class FEN(Refiner):
    """One weight per field; those of a row add up to h."""

    def __init__(self, config: FENConfig, num_fields: int, width: int) -> None:
        super().__init__()
        released = config.logits == "released"
        hidden = (*config.hidden, num_fields) if released else config.hidden
        self.deep = DeepNetwork(num_fields * width, hidden, dropout=config.dropout)
        self.logits = nn.Identity() if released else nn.Linear(self.deep.width, num_fields, bias=False)
        self.scale = 1 if config.scale == "one" else num_fields

    def forward(self, x: Float[Tensor, "N F D"]) -> Float[Tensor, "N F D"]:
        return x * (self.scale * self.logits(self.deep(x.flatten(1))).softmax(dim=1))[:, :, None]
