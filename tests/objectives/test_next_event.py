"""The auxiliary loss against two loops over requests and events, its negatives, and what it refuses."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from factories import make_batch, make_inputs
from hemix.batch import Batch, Inputs
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models import ModelConfig, Sequential
from hemix.models.dien import DIENConfig
from hemix.models.din import DINConfig
from hemix.models.fm import FMConfig
from hemix.objectives import LogLossConfig, NextEvent, NextEventConfig, build_objective
from hemix.objectives.next_event import draw_negatives
from hemix.ranker import Ranker, build_ranker, encode_embedded
from hemix.refine.drm import DRMConfig
from hemix.training.optimizers import RowwiseAdagrad
from objectives.enlarged import enlarged

INPUTS = make_inputs(num_tasks=2)
LENGTHS = {"global": (4, 0, 2, 1, 9), "real_time": (0, 3, 0, 1, 2)}
SMALL = DIENConfig(embedding_dim=4, hidden=(8,))


def rows_of(inputs: Inputs, lengths: dict[str, tuple[int, ...]] = LENGTHS, seed: int = 0) -> Batch:
    return make_batch(inputs, counts=(1, 3, 2, 1, 2), lengths=lengths, dtype=torch.float64, seed=seed)


def objective_and_ranker(model: ModelConfig, config: NextEventConfig) -> tuple[NextEvent, Ranker]:
    objective, ranker = enlarged(INPUTS, model, config)
    assert isinstance(objective, NextEvent)
    return objective, ranker


def naive_head(parameters: dict[str, Tensor], index: int, config: NextEventConfig, h: Tensor, e: Tensor) -> Tensor:
    if config.auxiliary_head == "inner":
        matrix = parameters.get(f"heads.{index}.map.weight", torch.eye(len(h), dtype=h.dtype))
        return e @ matrix @ h
    x = torch.cat([h, e])
    for layer in (0, 2, 4):
        x = parameters[f"heads.{index}.layers.{layer}.weight"] @ x + parameters[f"heads.{index}.layers.{layer}.bias"]
        x = torch.sigmoid(x) if layer < 4 else x
    return x[0]


def naive(objective: NextEvent, ranker: Ranker, batch: Batch) -> Tensor:
    """The sums as the paper writes them, with the negatives that the global generator gives from where it stands."""
    parameters = dict(objective.named_parameters())
    x = ranker.embed(batch)
    state = encode_embedded(ranker.backbone, x)
    assert isinstance(ranker.backbone, Sequential)
    total = torch.zeros((), dtype=torch.float64)
    for index, (name, (events, attended)) in enumerate(x.histories.items()):
        states = ranker.backbone.event_states(name, state)
        shared = next(history.shared for history in INPUTS.histories if history.name == name)
        found = dict(zip(events.names, events.values.split(events.widths, dim=2), strict=True))
        compared = torch.cat([found[field] for field in shared], dim=2)
        lengths = attended.sum(dim=1).tolist()
        steps = [(r, t) for r, length in enumerate(lengths) for t in range(length - 1)]
        drawn = draw_negatives(attended, torch.tensor([r for r, _ in steps])).tolist()
        kept, sums = 0, torch.zeros((), dtype=torch.float64)
        for (r, t), place in zip(steps, drawn, strict=True):
            other, at = divmod(place, attended.shape[1])
            positive, negative = compared[r, t + 1], compared[other, at]
            if torch.equal(positive, negative):
                continue
            kept += 1
            one, zero = (
                torch.sigmoid(naive_head(parameters, index, objective.config, states[r, t], e))
                for e in (positive, negative)
            )
            sums = sums - torch.log(one) - torch.log(1 - zero)
        long = sum(length > 1 for length in lengths)
        total = total + sums / (long if objective.config.average == "histories" else kept)
    return total


@pytest.mark.parametrize("average", ["histories", "events"])
@pytest.mark.parametrize("head", ["inner", "mlp"])
@pytest.mark.parametrize("hidden_dim", [None, 6])
def test_it_is_the_double_sum(average: str, head: str, hidden_dim: int | None) -> None:
    config = NextEventConfig(average=average, auxiliary_head=head, weight=0.5, task_weights={"order": 2.0})
    objective, ranker = objective_and_ranker(SMALL.model_copy(update={"hidden_dim": hidden_dim}), config)
    batch = rows_of(INPUTS)
    torch.manual_seed(3)
    loss = objective(ranker, batch)
    torch.manual_seed(3)
    expected = naive(objective, ranker, batch)
    assert list(loss.parts) == ["click", "order", "next_event"]
    assert not any(part.requires_grad for part in loss.parts.values())
    torch.testing.assert_close(loss.parts["next_event"], expected.detach())
    known = build_objective(LogLossConfig(task_weights={"order": 2.0}), ranker)(ranker, batch).total
    torch.testing.assert_close(loss.total, known + 0.5 * expected)
    leaves = [*ranker.parameters(), *objective.parameters()]
    found = torch.autograd.grad(loss.total, leaves)
    wanted = torch.autograd.grad(known + 0.5 * expected, leaves)
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.to_dense(), other.to_dense())


def test_events_of_others_are_drawn_alike() -> None:
    attended = torch.arange(5) < torch.tensor([3, 0, 1, 5])[:, None]
    torch.manual_seed(0)
    drawn = draw_negatives(attended, torch.tensor([0, 3]).repeat(6000)).view(-1, 2)
    for column, places in ((0, [10, *range(15, 20)]), (1, [0, 1, 2, 10])):
        values, counts = drawn[:, column].unique(return_counts=True)
        assert values.tolist() == places
        assert ((counts * len(places) / 6000 - 1).abs() < 0.15).all()


def test_an_event_is_not_told_from_itself() -> None:
    """All events alike: no negative differs, and nothing is left of the loss but the log loss."""
    objective, ranker = objective_and_ranker(SMALL, NextEventConfig(average="events"))
    batch = rows_of(INPUTS)
    for history in batch.requests.histories.values():
        history.events.ids.fill_(4)
        history.events.numbers.fill_(0.5)
    assert objective(ranker, batch).parts["next_event"] == 0


@pytest.mark.parametrize(
    "lengths",
    [
        {"global": (0, 0, 9, 0, 0), "real_time": (0, 0, 0, 0, 0)},
        {"global": (1, 1, 1, 1, 0), "real_time": (0, 1, 1, 0, 0)},
    ],
    ids=["no other request", "nothing follows"],
)
def test_without_pairs_it_is_the_log_loss(lengths: dict[str, tuple[int, ...]]) -> None:
    objective, ranker = objective_and_ranker(SMALL, NextEventConfig())
    batch = rows_of(INPUTS, lengths)
    loss = objective(ranker, batch)
    assert loss.parts["next_event"] == 0
    torch.testing.assert_close(loss.total, build_objective(LogLossConfig(), ranker)(ranker, batch).total)
    loss.total.backward()


@pytest.mark.parametrize("refine", [None, DRMConfig()])
@pytest.mark.parametrize("head", ["inner", "mlp"])
def test_gradients_reach_states_events_and_head(refine: DRMConfig | None, head: str) -> None:
    """Of the auxiliary loss alone; those of tables stay sparse, and the attention of candidates gets none."""
    model = SMALL.model_copy(update={"hidden_dim": 6, "refine": refine})
    objective, ranker = objective_and_ranker(
        model, NextEventConfig(auxiliary_head=head, task_weights=dict.fromkeys(("click", "order"), 0.0))
    )
    objective(ranker, rows_of(INPUTS)).total.backward()
    moved = {
        name
        for name, parameter in ranker.named_parameters()
        if parameter.grad is not None and parameter.grad.to_dense().any()
    }
    assert any("extractor" in name for name in moved)
    assert "embedding.tables.0" in moved
    assert not any("evolution" in name or "query" in name or "first" in name for name in moved)
    assert ranker.embedding.tables[0].grad.is_sparse
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in objective.parameters())


def test_an_inner_product_of_equal_widths_has_no_parameters() -> None:
    assert list(objective_and_ranker(SMALL, NextEventConfig())[0].parameters()) == []
    wider = objective_and_ranker(SMALL.model_copy(update={"hidden_dim": 6}), NextEventConfig())[0]
    assert {tuple(parameter.shape) for parameter in wider.parameters()} == {(16, 6)}


def test_the_network_has_as_many_parameters_as_the_formula_says() -> None:
    objective, _ = objective_and_ranker(SMALL, NextEventConfig(auxiliary_head="mlp"))
    per_history = 100 * (16 + 16) + 100 + 50 * 100 + 50 + 50 + 1
    assert sum(parameter.numel() for parameter in objective.parameters()) == 2 * per_history


@pytest.mark.slow
def test_it_learns_what_comes_next() -> None:
    """Items in a cycle: after some steps the next event is told from others, which a state without order cannot."""
    inputs = make_inputs(plain=True, num_tasks=1)
    ranker = build_ranker(inputs, DIENConfig(embedding_dim=8, hidden=(8,)), seed=0)
    objective = build_objective(NextEventConfig(average="events", task_weights={"click": 0.0}), ranker)
    dense = torch.optim.AdamW([*ranker.backbone.parameters(), *objective.parameters()], lr=1e-2)
    tables = RowwiseAdagrad(list(ranker.embedding.tables))
    losses = []
    for seed in range(120):
        batch = make_batch(inputs, counts=(1,) * 32, lengths={"global": (9,) * 32, "real_time": (0,) * 32}, seed=seed)
        ids = batch.requests.histories["global"].events.ids
        ids[:, :, 1] = 3 + (ids[:, :1, 1] + torch.arange(9)) % 12
        ids[:, :, 4] = 4
        ranker.zero_grad()
        loss = objective(ranker, batch)
        loss.total.backward()
        dense.step()
        tables.step()
        losses.append(loss.parts["next_event"].item())
    assert losses[0] > 1.3
    assert sum(losses[-10:]) / 10 < 0.7


def test_what_does_not_fit_is_refused() -> None:
    for model in (DINConfig(), FMConfig(), DINConfig(refine=DRMConfig())):
        with pytest.raises(ConfigError, match=f"model '{model.name}' reads none so. Set model: {{name: dien}}"):
            build_objective(NextEventConfig(), build_ranker(INPUTS, model, seed=0))
    with pytest.raises(ConfigError, match="and a history"):
        build_objective(NextEventConfig(), build_ranker(make_inputs(histories=()), SMALL, seed=0))
    with pytest.raises(ConfigError, match=r"auxiliary_head: .*'inner'"):
        parse_config(NextEventConfig, {"auxiliary_head": "bilinear"}, "objective")
    for weight in (-1, 0):
        with pytest.raises(ConfigError, match="weight"):
            parse_config(NextEventConfig, {"weight": weight}, "objective")
    objective, ranker = objective_and_ranker(SMALL, NextEventConfig())
    with pytest.raises(ConfigError, match="needs labels"):
        objective(ranker, replace(rows_of(INPUTS), labels=None))
