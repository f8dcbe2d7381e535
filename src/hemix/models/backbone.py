"""What a model is to the ranker: three steps, each of which sees only what its result may depend on."""

from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float
from torch import Tensor

from hemix.nn.fields import Fields, State
from hemix.nn.ragged import Ragged


@runtime_checkable
class Backbone(Protocol):
    """Embedded fields to logits, in three steps."""

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        """What depends on the events of one history alone; its keys begin with the history's name."""
        ...

    def encode_request(self, request: Fields, histories: State) -> State:
        """What depends on the request's own fields, and on its encoded histories, but on no candidate."""
        ...

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        """Logits of the candidates in row order, from all that the other two steps returned."""
        ...
