"""DIEN's auxiliary loss beside the log loss: each state knows the next event (AAAI 2019, https://arxiv.org/abs/1809.03672).

total = log loss + alpha L_aux

L_aux = - 1/N sum_i sum_t [log s(<h_t, e_(t+1)>) + log(1 - s(<h_t, ê_(t+1)>))]      for each history; s: logistic

h_t: what the model knows after event t of request i (`Sequential`); e: fields of an event that the candidate has too;
ê: those of an event of another request of the batch. N: pairs of an event and the next one, as in the released code,
or the paper's: requests with at least two events. A head takes the place of the inner product, or a linear map stands
before it where widths differ; heads are never exported.

Filled gaps and differences: docs/models/dien.md.
"""

from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from hemix.batch import Batch
from hemix.config import Config
from hemix.errors import ConfigError
from hemix.models import Sequential
from hemix.models.histories import comparable_histories
from hemix.nn.ragged import Ragged
from hemix.objectives.log_loss import LogLoss, LogLossConfig, TaskWeights
from hemix.objectives.loss import Loss, with_penalty
from hemix.ranker import Ranker, encode_embedded

HEAD_HIDDEN = (100, 50)
"""Widths of the hidden layers of the released head."""


class NextEventConfig(Config):
    """Weight and form of the auxiliary loss."""

    name: Literal["next_event"] = "next_event"
    task_weights: TaskWeights = Field(default={})
    """Factor of each task's loss in the total; 1 for a task that is not named. 0: it is not learnt."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Alpha: of the auxiliary loss."""
    auxiliary_head: Literal["inner", "mlp"] = "inner"
    """How a state is compared with an event: the paper's inner product, or the released code's network."""
    average: Literal["histories", "events"] = "events"
    """A mean over all events (the released code's), or the paper's over histories of sums over their events, which
    grows with the length of the histories until it outweighs the click."""


class NextEvent(nn.Module):
    """Raises ConfigError for a model that does not read event by event, or that reads no history."""

    added_parts = ("next_event",)

    def __init__(self, config: NextEventConfig, ranker: Ranker) -> None:
        super().__init__()
        self.config = config
        self.log_loss = LogLoss(LogLossConfig(task_weights=config.task_weights), ranker.inputs)
        widths = ranker.backbone.state_widths() if isinstance(ranker.backbone, Sequential) else {}
        if not widths:
            raise ConfigError(
                "objective 'next_event' needs a model that reads histories event by event, and a history; model "
                f"{ranker.config.name!r} reads none so. Set model: {{name: dien}} and declare a history under "
                "data.histories, or set objective: {name: log_loss}."
            )
        self._shared = {spec.name: spec.shared for spec in comparable_histories(ranker.inputs, tuple(widths))}
        layouts = ranker.embedding.layouts.histories
        build = InnerHead if config.auxiliary_head == "inner" else MLPHead
        self._heads = {
            name: build(widths[name], layouts[name].select(shared).width) for name, shared in self._shared.items()
        }
        self.heads = nn.ModuleList(self._heads.values())

    def forward(self, ranker: Ranker, batch: Batch) -> Loss:
        """Raises ConfigError if the batch has no labels."""
        x = ranker.embed(batch)
        state = encode_embedded(ranker.backbone, x)
        outputs = ranker.backbone.score(state, x.candidate, Ragged(x.offsets, batch.num_rows))
        loss = with_penalty(self.log_loss.of(outputs, batch), ranker)
        assert isinstance(ranker.backbone, Sequential)
        parts = []
        for name, shared in self._shared.items():
            events, attended = x.histories[name]
            states = ranker.backbone.event_states(name, state)
            parts.append(self.auxiliary(name, states, events.select(shared).values, attended))
        auxiliary = torch.stack(parts).sum()
        total = loss.total + self.config.weight * auxiliary
        return Loss(total=total, parts={**loss.parts, self.added_parts[0]: auxiliary.detach()})

    def auxiliary(
        self,
        name: str,
        states: Float[Tensor, "R T H"],
        events: Float[Tensor, "R T d"],
        attended: Bool[Tensor, "R T"],
    ) -> Float[Tensor, ""]:
        """``L_aux`` of one history; 0 where a single request has events, for want of others to draw from."""
        lengths = attended.sum(dim=1)
        if lengths.count_nonzero() < 2:
            return states.new_zeros(())
        following = F.pad(attended[:, 1:], (1, 0)).flatten().nonzero()[:, 0]
        drawn = draw_negatives(attended, following // attended.shape[1])
        known = states.flatten(0, 1).index_select(0, following - 1)
        positives, negatives = (events.flatten(0, 1).index_select(0, places) for places in (following, drawn))
        head = self._heads[name]
        losses = F.softplus(-head(known, positives)) + F.softplus(head(known, negatives))
        # an event that equals the one it stands against says nothing; the released code draws again
        differs = (positives != negatives).any(dim=1)
        count = (lengths > 1).sum() if self.config.average == "histories" else differs.sum()
        return (losses * differs).sum() / count.clamp(min=1)


def draw_negatives(attended: Bool[Tensor, "R T"], requests: Int[Tensor, " P"]) -> Int[Tensor, " P"]:
    """For each of these requests an event of another one, all equally likely: its place among all R T."""
    lengths = attended.sum(dim=1)
    ends = lengths.cumsum(dim=0)
    own, first = lengths[requests], (ends - lengths)[requests]
    drawn = torch.randint(2**62, requests.shape, device=attended.device) % (ends[-1] - own)
    drawn += own * (drawn >= first)
    return attended.flatten().nonzero()[:, 0][drawn]


class InnerHead(nn.Module):
    """``<h, e>``; ``<M h, e>`` where their widths differ."""

    def __init__(self, width: int, compared: int) -> None:
        super().__init__()
        self.map = nn.Identity() if width == compared else nn.Linear(width, compared, bias=False)

    def forward(self, known: Float[Tensor, "P H"], events: Float[Tensor, "P d"]) -> Float[Tensor, " P"]:
        return (self.map(known) * events).sum(dim=1)


class MLPHead(nn.Module):
    """A network over ``[h ; e]`` with logistic hidden layers, one for both terms of the loss."""

    def __init__(self, width: int, compared: int) -> None:
        super().__init__()
        first, second = HEAD_HIDDEN
        self.layers = nn.Sequential(
            nn.Linear(width + compared, first),
            nn.Sigmoid(),
            nn.Linear(first, second),
            nn.Sigmoid(),
            nn.Linear(second, 1),
        )

    def forward(self, known: Float[Tensor, "P H"], events: Float[Tensor, "P d"]) -> Float[Tensor, " P"]:
        return self.layers(torch.cat([known, events], dim=1))[:, 0]
