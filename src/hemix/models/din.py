"""DIN: deep interest network (KDD 2018, https://arxiv.org/abs/1706.06978).

    interest_s = sum_t a(q, e_t) e_t        for each history s; a: nn/target_attention.py
    logits     = towers(MLP([request ; candidate ; interest_1 ; ...]))       default: one linear map; nn/towers.py

Filled gaps and differences: docs/models/din.md. Parity test: tests/parity/test_din.py.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor, nn

from hemix.batch import HistorySpec, Inputs
from hemix.config import Config, is_none
from hemix.models.backbone import AttentionMap, ModelKind
from hemix.models.histories import comparable_histories, prefixed, target_maps, under
from hemix.nn.activation import Activation
from hemix.nn.cost import Cost, products
from hemix.nn.fields import Fields, Layouts, State
from hemix.nn.mlp import SplitLinear
from hemix.nn.ragged import Ragged
from hemix.nn.target_attention import TargetAttention
from hemix.nn.towers import SharedBottomConfig, TowersConfig, behind_first
from hemix.refine import RefineConfig

Width = Annotated[int, Field(ge=1)]


class DINConfig(Config):
    """Sizes of DIN; which of them are the paper's: docs/models/din.md."""

    name: Literal["din"] = "din"
    embedding_dim: Width = 16
    """Width of every embedding whose feature sets no `dim`."""
    histories: tuple[str, ...] | None = None
    """Histories to attend to; None: all of the data."""
    attention_hidden: tuple[Width, ...] = Field(default=(64,), min_length=1)
    """Widths of the activation unit's hidden layers."""
    attention_activation: Literal["relu", "prelu"] = "prelu"
    attention_softmax: bool = False
    """Normalise the weights over the events; the paper does not."""
    hidden: tuple[Width, ...] = Field(default=(200, 80), min_length=1)
    """Widths of the hidden layers over all fields."""
    activation: Activation = "dice"
    towers: TowersConfig = SharedBottomConfig()
    """What stands between the hidden layers and the tasks."""
    tower_hidden: tuple[Width, ...] = ()
    """Widths of the hidden layers of each task's own tower."""
    refine: RefineConfig | None = Field(default=None, exclude_if=is_none)
    """A module that refines the fields of request and candidate; null: none."""

    def used_histories(self, inputs: Inputs) -> tuple[HistorySpec, ...]:
        """The histories that the model reads. Raises ConfigError for one that is missing or shares no field."""
        return comparable_histories(inputs, self.histories)


class DIN(nn.Module):
    """Backbone: target attention over each history, then one MLP whose first layer is split (nn/mlp.py)."""

    def __init__(self, config: DINConfig, inputs: Inputs, layouts: Layouts) -> None:
        super().__init__()
        self._attention = {
            history.name: TargetAttention(
                history.shared,
                layouts.histories[history.name],
                config.attention_hidden,
                config.attention_activation,
                softmax=config.attention_softmax,
            )
            for history in inputs.histories
        }
        self.attention = nn.ModuleList(self._attention.values())
        interests = sum(attention.width for attention in self._attention.values())
        self.first = SplitLinear(layouts.request.width, layouts.candidate.width + interests, config.hidden[0])
        self.rest = behind_first(
            config.hidden, config.activation, config.towers, config.tower_hidden, len(inputs.tasks)
        )

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        return prefixed(name, self._attention[name].encode(events, attended))

    def encode_request(self, request: Fields, histories: State) -> State:
        return {"request": self.first.request(request.values)}

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        interests = [attention(candidate, under(name, state), ragged) for name, attention in self._attention.items()]
        own = torch.cat([candidate.values, *interests], dim=1)
        return self.rest(self.first.candidate(own, ragged.spread(state["request"])))

    def attention(self, state: State, candidate: Fields, ragged: Ragged) -> list[AttentionMap]:
        """Of each candidate over each history."""
        return target_maps(self._attention, state, candidate, ragged)

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        """Attention over each history, and the MLP, whose first layer is split."""
        attention = sum((part.cost(lengths[name]) for name, part in self._attention.items()), Cost())
        return attention + self.first.cost() + Cost(per_candidate=products(self.rest))


MODEL = ModelKind(config=DINConfig, build=DIN, paper="arXiv 1706.06978", histories="read")
