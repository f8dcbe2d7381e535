"""Log loss of several tasks with unknown labels and weights."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from factories import make_batch, make_inputs
from hemix.batch import TaskSpec
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.dlrm import DLRMConfig
from hemix.objectives import LogLossConfig, build_objective
from hemix.objectives.targets import row_losses, weighted_means
from hemix.ranker import build_ranker

NAN = math.nan
INPUTS = make_inputs()


def task_means(logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
    tasks = [TaskSpec(name=str(k)) for k in range(logits.shape[1])]
    return weighted_means(row_losses(tasks, logits, labels), labels, weights)


def test_worked_example() -> None:
    """Logit 0 costs log 2 whatever the label; log 3 costs log(4/3) for a click and log 4 without."""
    logits = torch.tensor([[0.0, math.log(3.0)], [math.log(3.0), math.log(3.0)], [5.0, 0.0]])
    labels = torch.tensor([[1.0, 0.0], [1.0, NAN], [NAN, NAN]])
    expected = torch.tensor([(math.log(2.0) + math.log(4 / 3)) / 2, math.log(4.0)])
    torch.testing.assert_close(task_means(logits, labels, None), expected)


def test_weights_average() -> None:
    """Weights 3 and 1 of costs log 2 and log 4."""
    logits, labels = torch.tensor([[0.0], [math.log(3.0)]]), torch.tensor([[1.0], [0.0]])
    found = task_means(logits, labels, torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(found, torch.tensor([(3 * math.log(2.0) + math.log(4.0)) / 4]))


def test_a_task_without_known_labels_adds_nothing_and_has_no_gradient() -> None:
    logits = torch.randn(4, 2, requires_grad=True)
    labels = torch.tensor([[0.0, NAN], [1.0, NAN], [0.0, NAN], [NAN, NAN]])
    means = task_means(logits, labels, None)
    assert means[1] == 0
    means.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert not logits.grad[:, 1].any()
    assert not logits.grad[3].any()
    assert logits.grad[:3, 0].all()


def test_weight_zero_is_as_if_the_row_were_not_there() -> None:
    logits, labels = torch.randn(6, 2), torch.randint(0, 2, (6, 2)).float()
    weights = torch.tensor([1.0, 2.0, 0.0, 1.0, 0.0, 3.0])
    kept = weights > 0
    torch.testing.assert_close(
        task_means(logits, labels, weights), task_means(logits[kept], labels[kept], weights[kept])
    )
    assert task_means(logits, labels, torch.zeros(6)).tolist() == [0.0, 0.0]


def test_parts_add_up_to_the_total() -> None:
    ranker, batch = build_ranker(INPUTS, DLRMConfig(), seed=0), make_batch(INPUTS)
    loss = build_objective(LogLossConfig(task_weights={"order": 0.5}), ranker)(ranker, batch)
    assert list(loss.parts) == ["click", "order"]
    torch.testing.assert_close(loss.total, loss.parts["click"] + 0.5 * loss.parts["order"])
    assert loss.total.requires_grad
    assert not any(part.requires_grad for part in loss.parts.values())


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"Unknown task in objective.task_weights 'clck'; available: click, order"):
        build_objective(LogLossConfig(task_weights={"clck": 1.0}), build_ranker(INPUTS, DLRMConfig(), seed=0))
    with pytest.raises(ConfigError, match=r"task_weights.click: .*greater than or equal to 0 \(got -1\)"):
        parse_config(LogLossConfig, {"task_weights": {"click": -1}}, "objective")


def test_a_batch_without_labels_is_refused() -> None:
    ranker, batch = build_ranker(INPUTS, DLRMConfig(), seed=0), make_batch(INPUTS)
    with pytest.raises(ConfigError, match="needs labels"):
        build_objective(LogLossConfig(), ranker)(ranker, replace(batch, labels=None))
