"""SIM's auxiliary loss beside the log loss: what a soft search finds relevant is to tell the label (CIKM 2020,
https://arxiv.org/abs/2006.05639).

total = log loss + alpha L_GSU

L_GSU = log loss of MLP([U_r ; e_a]),   U_r = sum_i softmax(r)_i e_i      for each history searched by learnt scores r

The network has an output for each task, whose losses are weighed as those of the model's own outputs. It belongs to the
objective, is trained with the model and never exported; the maps behind r are the model's and have no other loss, as
picking the largest r has no gradient.

Filled gaps and differences: docs/models/sim.md.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Int
from pydantic import Field
from torch import Tensor, nn

from hemix.batch import Batch
from hemix.config import Config
from hemix.errors import ConfigError
from hemix.models import Searching
from hemix.nn.mlp import MLP
from hemix.nn.ragged import Ragged
from hemix.objectives.log_loss import LogLoss, LogLossConfig, TaskWeights
from hemix.objectives.loss import Loss, with_penalty
from hemix.ranker import Ranker, encode_embedded

Count = Annotated[int, Field(ge=1)]


class SearchConfig(Config):
    """Weight and network of the auxiliary loss."""

    name: Literal["search"] = "search"
    task_weights: TaskWeights = Field(default={})
    """Factor of each task's loss in both parts of the total; 1 for a task that is not named. 0: it is not learnt."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Alpha: of the auxiliary loss."""
    relevance: Literal["softmax", "product"] = "softmax"
    """What weighs an event in U_r: the softmax of r over the events (the released code's), so that the largest r are
    those that count, or r as it is (the paper's), where a relevant event may as well have a very negative one."""
    auxiliary_hidden: tuple[Count, ...] = Field(default=(200,), min_length=1)
    """Widths of the hidden layers of its network."""
    max_events: Count | None = None
    """Of a longer history so many consecutive events, drawn anew in each step, make up U_r; None: all."""


class Search(nn.Module):
    """Raises ConfigError for a model that searches no history by learnt scores."""

    added_parts = ("search",)

    def __init__(self, config: SearchConfig, ranker: Ranker) -> None:
        super().__init__()
        self.config = config
        self.log_loss = LogLoss(LogLossConfig(task_weights=config.task_weights), ranker.inputs)
        widths = search_widths(ranker)
        if not widths:
            raise ConfigError(
                "objective 'search' trains the learnt scores by which a model searches a history; model "
                f"{ranker.config.name!r} as configured has none. Set model: {{name: sim, search: soft}}, or objective: "
                "{name: log_loss}."
            )
        hidden, num_tasks = config.auxiliary_hidden, len(ranker.inputs.tasks)
        self._networks = {
            name: nn.Sequential(MLP(width, hidden, "prelu"), nn.Linear(hidden[-1], num_tasks))
            for name, width in widths.items()
        }
        self.networks = nn.ModuleList(self._networks.values())

    def forward(self, ranker: Ranker, batch: Batch) -> Loss:
        """Raises ConfigError if the batch has no labels."""
        x = ranker.embed(batch)
        state, ragged = encode_embedded(ranker.backbone, x), Ragged(x.offsets, batch.num_rows)
        outputs = ranker.backbone.score(state, x.candidate, ragged)
        loss = with_penalty(self.log_loss.of(outputs, batch), ranker)
        assert isinstance(ranker.backbone, Searching)
        parts, softmax = [], self.config.relevance == "softmax"
        for name, network in self._networks.items():
            kept = x.histories[name][1]
            if self.config.max_events is not None:
                kept = kept & drawn_part(kept.sum(dim=1), kept.shape[1], self.config.max_events)
            found = ranker.backbone.relevant(name, state, x.candidate, ragged, kept, softmax=softmax)
            parts.append(self.log_loss.of(network(found), batch).total)
        auxiliary = torch.stack(parts).sum()
        total = loss.total + self.config.weight * auxiliary
        return Loss(total=total, parts={**loss.parts, self.added_parts[0]: auxiliary.detach()})


def search_widths(ranker: Ranker) -> dict[str, int]:
    """See `Searching`; nothing for a model whose search has nothing to be trained."""
    return dict(ranker.backbone.search_widths()) if isinstance(ranker.backbone, Searching) else {}


def drawn_part(lengths: Int[Tensor, " R"], width: int, count: int) -> Bool[Tensor, "R T"]:
    """Of each history `count` consecutive events, all places alike; the whole of one that has no more."""
    start = torch.randint(2**62, lengths.shape, device=lengths.device) % ((lengths - count).clamp(min=0) + 1)
    behind = torch.arange(width, device=lengths.device) - start[:, None]
    return (behind >= 0) & (behind < count)
