"""The auxiliary loss of a soft search against its sum, what it reaches, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from factories import make_batch, make_inputs
from hemix.batch import Batch
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models import Searching
from hemix.models.din import DINConfig
from hemix.models.sim import SIMConfig
from hemix.objectives import (
    ESMMConfig,
    LogLossConfig,
    NextEventConfig,
    Search,
    SearchConfig,
    build_objective,
)
from hemix.objectives.search import drawn_part
from hemix.objectives.targets import row_losses, weighted_means
from hemix.ranker import Ranker, build_ranker
from hemix.refine.drm import DRMConfig
from objectives.enlarged import enlarged
from parity import naive_sim
from parity.naive import NaiveFields, joined, request_of

INPUTS = make_inputs(num_tasks=2)
BOTH = SIMConfig(
    embedding_dim=4,
    search_dim=3,
    top_k=2,
    num_heads=2,
    attention_dim=4,
    hidden=(8,),
    searched=("global", "real_time"),
)
LENGTHS = {"global": (4, 0, 2, 1, 9), "real_time": (0, 3, 0, 1, 2)}


def objective_and_ranker(model: SIMConfig, config: SearchConfig) -> tuple[Search, Ranker]:
    objective, ranker = enlarged(INPUTS, model, config)
    assert isinstance(objective, Search)
    return objective, ranker


def rows_of() -> Batch:
    return make_batch(INPUTS, counts=(1, 3, 2, 1, 2), lengths=LENGTHS, dtype=torch.float64)


def network(parameters: dict[str, Tensor], index: int, x: Tensor) -> Tensor:
    x = parameters[f"networks.{index}.0.0.weight"] @ x + parameters[f"networks.{index}.0.0.bias"]
    x = x.clamp(min=0) + parameters[f"networks.{index}.0.1.weight"] * x.clamp(max=0)
    return parameters[f"networks.{index}.1.weight"] @ x + parameters[f"networks.{index}.1.bias"]


def naive(objective: Search, ranker: Ranker, batch: Batch) -> Tensor:
    """Row by row and event by event: U_r is a sum over pairs; a network with an output for each task."""
    parameters, own = dict(ranker.named_parameters()), dict(objective.named_parameters())
    fields = NaiveFields(parameters, INPUTS, 4)
    total = torch.zeros((), dtype=torch.float64)
    for index, history in enumerate(INPUTS.histories):
        outputs = []
        for n in range(batch.num_rows):
            candidate = fields.candidate(batch, n)
            asked = naive_sim.compared(candidate, history)
            events = fields.events(batch, history.name, request_of(batch, n))
            scores = [naive_sim.relevance(parameters, f"backbone.searched.{index}", asked, event) for event in events]
            if objective.config.relevance == "softmax":
                scores = [torch.exp(score) / sum(torch.exp(other) for other in scores) for score in scores]
            weighed = [score * joined(event) for score, event in zip(scores, events, strict=True)]
            width = ranker.embedding.layouts.histories[history.name].width
            found = sum(weighed, start=torch.zeros(width, dtype=torch.float64))
            outputs.append(network(own, index, torch.cat([found, asked])))
        losses = row_losses(INPUTS.tasks, torch.stack(outputs), batch.labels)
        means = weighted_means(losses, batch.labels, batch.weights)
        total = total + means[0] + 2 * means[1]
    return total


@pytest.mark.parametrize("relevance", ["product", "softmax"])
def test_it_is_the_log_loss_of_the_weighed_events(relevance: str) -> None:
    config = SearchConfig(relevance=relevance, weight=0.5, auxiliary_hidden=(6,), task_weights={"order": 2.0})
    objective, ranker = objective_and_ranker(BOTH, config)
    batch = rows_of()
    loss = objective(ranker, batch)
    expected = naive(objective, ranker, batch)
    assert list(loss.parts) == ["click", "order", "search"]
    assert not any(part.requires_grad for part in loss.parts.values())
    torch.testing.assert_close(loss.parts["search"], expected.detach())
    known = objective.log_loss(ranker, batch).total
    torch.testing.assert_close(loss.total, known + 0.5 * expected)
    leaves = [*ranker.parameters(), *objective.parameters()]
    found = torch.autograd.grad(loss.total, leaves)
    wanted = torch.autograd.grad(known + 0.5 * expected, leaves)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.to_dense(), other.to_dense())


def test_parameters_are_as_many_as_the_formula_says() -> None:
    """Events of width 28, of which 16 are shared; 6 hidden units, 2 tasks, 2 histories."""
    objective, ranker = objective_and_ranker(BOTH, SearchConfig(auxiliary_hidden=(6,)))
    assert ranker.embedding.layouts.histories["global"].width == 28
    assert sum(parameter.numel() for parameter in objective.parameters()) == 2 * (6 * (28 + 16) + 6 + 6 + 6 * 2 + 2)


@pytest.mark.parametrize("refine", [None, DRMConfig()])
def test_what_is_learnt_by_it_alone(refine: DRMConfig | None) -> None:
    """The maps of the general search; the exact one and the rest have the log loss, as does a hard search all."""
    objective, ranker = objective_and_ranker(BOTH.model_copy(update={"refine": refine}), SearchConfig())
    assert isinstance(ranker.backbone, Searching)
    objective.log_loss(ranker, rows_of()).total.backward()
    without = [name for name, parameter in ranker.named_parameters() if parameter.grad is None]
    assert len(without) == 4
    assert all(".general." in name for name in without)
    objective(ranker, rows_of()).total.backward()
    assert all(p.grad is not None and p.grad.to_dense().any() for p in [*ranker.parameters(), *objective.parameters()])


def test_a_part_of_a_longer_history_is_drawn() -> None:
    """Three of five events: three places, all alike; the whole of one that has three or fewer."""
    torch.manual_seed(0)
    drawn = drawn_part(torch.tensor([5, 3, 0]).repeat(3000), 5, 3).view(3000, 3, 5)
    starts, counts = drawn[:, 0].byte().argmax(dim=1).unique(return_counts=True)
    assert starts.tolist() == [0, 1, 2]
    assert ((counts / 1000 - 1).abs() < 0.15).all()
    assert (drawn[:, 0].sum(dim=1) == 3).all()
    assert drawn[:, 1, :3].all()


def test_a_short_history_is_whole() -> None:
    batch = rows_of()
    losses = []
    for count in (9, None, 1):
        objective, ranker = objective_and_ranker(BOTH, SearchConfig(max_events=count))
        losses.append(objective(ranker, batch).parts["search"].item())
    assert losses[0] == losses[1] != losses[2]


def test_what_does_not_fit_is_refused() -> None:
    hard = BOTH.model_copy(update={"search": "hard", "match": "item"})
    for model in (DINConfig(), hard):
        with pytest.raises(ConfigError, match=f"model '{model.name}' as configured has none. Set model: {{name: sim"):
            build_objective(SearchConfig(), build_ranker(INPUTS, model, seed=0))
    soft = build_ranker(INPUTS, BOTH, seed=0)
    for config in (LogLossConfig(), NextEventConfig(), ESMMConfig(click="click", conversion="order")):
        with pytest.raises(ConfigError, match=f"got '{config.name}', .* Set objective: {{name: search}}, or model"):
            build_objective(config, soft)
    refined = build_ranker(INPUTS, BOTH.model_copy(update={"refine": DRMConfig()}), seed=0)
    with pytest.raises(ConfigError, match="got 'log_loss'"):
        build_objective(LogLossConfig(), refined)
    with pytest.raises(ConfigError, match="weight"):
        parse_config(SearchConfig, {"weight": 0}, "objective")
    with pytest.raises(ConfigError, match="needs labels"):
        build_objective(SearchConfig(), soft)(soft, replace(make_batch(INPUTS), labels=None))
