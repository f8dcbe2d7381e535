"""ESMM against its formula in float64, far logits included, and what it does to each head."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from factories import make_batch, make_inputs
from hemix.batch import Batch
from hemix.errors import ConfigError
from hemix.models.dlrm import DLRMConfig
from hemix.objectives import ESMMConfig, LogLossConfig, build_objective
from hemix.ranker import Ranker, build_ranker

NAN = math.nan
INPUTS = make_inputs(num_tasks=3)
CONFIG = ESMMConfig(click="click", conversion="order", task_weights={"order": 2.0, "share": 0.5})


class Given(Ranker):
    """A ranker whose logits are given."""

    def __init__(self, logits: Tensor) -> None:
        nn.Module.__init__(self)
        self.inputs = INPUTS
        self.backbone = nn.Identity()
        self.logits = nn.Parameter(logits)

    def forward(self, batch: Batch) -> Tensor:
        return self.logits


def masked(batch: Batch) -> Batch:
    """Every click is known, an order after a click only."""
    assert batch.labels is not None
    labels = batch.labels.clone()
    labels[:, 0] = torch.nan_to_num(labels[:, 0])
    labels[labels[:, 0] == 0, 1] = torch.nan
    return replace(batch, labels=labels)


def naive(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Row by row, from probabilities; share is a task of its own."""

    def p(x: Tensor) -> Tensor:
        return 1 / (1 + torch.exp(-x))

    sums, masses = [torch.zeros((), dtype=torch.float64) for _ in range(3)], [0.0, 0.0, 0.0]
    for row, known, weight in zip(logits, labels, weights, strict=True):
        click, order, share = known.tolist()
        terms = [(p(row[0]), click), (p(row[0]) * p(row[1]), 0.0 if click == 0 else order), (p(row[2]), share)]
        for k, (predicted, label) in enumerate(terms):
            if not math.isnan(label):
                sums[k] = sums[k] - weight * torch.log(predicted if label == 1 else 1 - predicted)
                masses[k] += float(weight)
    ctr, ctcvr, share = (total / mass for total, mass in zip(sums, masses, strict=True))
    return ctr + 2.0 * ctcvr + 0.5 * share


def test_formula_and_gradient() -> None:
    batch = masked(make_batch(INPUTS, counts=(5, 9, 2, 14), dtype=torch.float64))
    assert batch.labels is not None
    assert batch.weights is not None
    logits = 3 * torch.randn(batch.num_rows, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    ranker = Given(logits.clone())
    loss = build_objective(CONFIG, ranker).double()(ranker, batch)
    again = logits.clone().requires_grad_()
    expected = naive(again, batch.labels, batch.weights)
    torch.testing.assert_close(loss.total, expected, rtol=1e-12, atol=0)
    loss.total.backward()
    expected.backward()
    torch.testing.assert_close(ranker.logits.grad, again.grad, rtol=1e-9, atol=1e-12)
    assert list(loss.parts) == ["click", "click_and_order", "share"]
    weights = {"click": 1.0, "click_and_order": 2.0, "share": 0.5}
    torch.testing.assert_close(sum(weights[name] * part for name, part in loss.parts.items()), loss.total.detach())


def test_both_heads_learn_from_rows_without_a_click() -> None:
    """What tells it from masked log loss: there the order's head sees clicked rows only."""
    batch = masked(make_batch(INPUTS, counts=(12, 12)))
    assert batch.labels is not None
    clicked = batch.labels[:, 0] == 1
    found = {}
    for name, config in (("esmm", CONFIG), ("masked", LogLossConfig())):
        ranker = Given(torch.zeros(batch.num_rows, 3))
        build_objective(config, ranker)(ranker, batch).total.backward()
        assert ranker.logits.grad is not None
        found[name] = ranker.logits.grad[~clicked, 1] != 0
    assert found["esmm"].all()
    assert not found["masked"].any()


def test_float32_is_finite_where_probabilities_round() -> None:
    """Clicked and bought although both were held impossible: 200 nats, not infinity."""
    ranker = Given(torch.tensor([[-100.0, -100.0, 0.0], [100.0, 100.0, 0.0]]))
    batch = replace(make_batch(INPUTS, counts=(2,)), labels=torch.tensor([[1.0, 1.0, NAN], [0.0, NAN, NAN]]))
    loss = build_objective(ESMMConfig(click="click", conversion="order"), ranker)(ranker, replace(batch, weights=None))
    assert loss.parts["click_and_order"].item() == pytest.approx((200 + 100 - math.log(2)) / 2, rel=1e-5)
    loss.total.backward()
    assert ranker.logits.grad is not None
    assert ranker.logits.grad.isfinite().all()


def test_a_ranker_trains_under_it() -> None:
    ranker, batch = build_ranker(INPUTS, DLRMConfig(), seed=0), masked(make_batch(INPUTS))
    build_objective(CONFIG, ranker)(ranker, batch).total.backward()
    assert all(parameter.grad is not None for parameter in ranker.parameters())


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (ESMMConfig(click="clck", conversion="order"), r"task in objective.click 'clck'; .*Did you mean 'click'"),
        (ESMMConfig(click="click", conversion="buy"), r"task in objective.conversion 'buy'; available: click, order"),
        (CONFIG.model_copy(update={"task_weights": {"x": 1.0}}), r"task in objective.task_weights 'x'"),
    ],
)
def test_unknown_tasks_are_refused(config: ESMMConfig, message: str) -> None:
    ranker = build_ranker(INPUTS, DLRMConfig(), seed=0)
    with pytest.raises(ConfigError, match=message):
        build_objective(config, ranker)


def test_a_batch_without_labels_is_refused() -> None:
    ranker, batch = build_ranker(INPUTS, DLRMConfig(), seed=0), make_batch(INPUTS)
    with pytest.raises(ConfigError, match="needs labels"):
        build_objective(CONFIG, ranker)(ranker, replace(batch, labels=None))
