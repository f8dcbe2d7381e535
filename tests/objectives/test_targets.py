"""What the output of a head means, and the loss of regressions."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hemix.batch import Inputs, OutcomeSpec, TaskSpec
from hemix.objectives.targets import predictions, product_logit, row_losses, standardised, weighted_means

NAN = math.nan
VALUE = TaskSpec(name="value", loss="squared", centre=10.0, spread=4.0)
LOGGED = TaskSpec(name="logged", loss="log_squared", centre=math.log(10.0), spread=2.0)


def test_worked_example() -> None:
    """Outputs 0 say the centre: 10 for the value, 9 for the logged one."""
    tasks = (TaskSpec(name="click"), VALUE, LOGGED)
    outputs = torch.tensor([[0.0, 0.0, 0.0], [0.0, 1.0, -1.0]])
    labels = torch.tensor([[1.0, 14.0, 9.0], [0.0, NAN, 0.0]])
    losses = row_losses(tasks, outputs, labels)
    logged = (-1.0 + math.log(10.0) / 2) ** 2
    torch.testing.assert_close(
        losses[[0, 0, 0, 1, 1], [0, 1, 2, 0, 2]], torch.tensor([math.log(2.0), 1.0, 0.0, math.log(2.0), logged])
    )
    means = weighted_means(losses, labels, torch.tensor([3.0, 1.0]))
    torch.testing.assert_close(means, torch.tensor([math.log(2.0), 1.0, logged / 4]))


def test_an_unknown_value_has_no_gradient() -> None:
    outputs = torch.randn(3, 1, requires_grad=True)
    labels = torch.tensor([[NAN], [3.0], [NAN]])
    weighted_means(row_losses((VALUE,), outputs, labels), labels, None).sum().backward()
    assert outputs.grad is not None
    assert (outputs.grad[:, 0] != 0).tolist() == [False, True, False]


@given(value=st.floats(0, 1e6), centre=st.floats(-5, 5), spread=st.floats(0.1, 10))
def test_predictions_undo_the_target(value: float, centre: float, spread: float) -> None:
    for loss in ("squared", "log_squared"):
        task = TaskSpec(name="value", loss=loss, centre=centre, spread=spread)
        target = standardised(task, torch.tensor([value], dtype=torch.float64))
        found = predictions(Inputs(tasks=(task,)), target[:, None])
        assert found.item() == pytest.approx(value, rel=1e-6, abs=1e-6)


def test_predictions_of_labels_that_are_only_measured() -> None:
    tasks = (TaskSpec(name="click", logit_shift=-1.0), TaskSpec(name="order"), VALUE)
    outcomes = (
        OutcomeSpec(name="truth", scored_by=("order",)),
        OutcomeSpec(name="bought", scored_by=("click", "order")),
        OutcomeSpec(name="spent", scored_by=("value",), kind="regression"),
    )
    found = predictions(Inputs(tasks=tasks, outcomes=outcomes), torch.tensor([[1.0, math.log(3.0), 0.5]]))
    # p(click) = 1/2 once shifted, p(order) = 3/4: together 3/8, odds 3 : 5
    expected = [0.0, math.log(3.0), 12.0, math.log(3.0), math.log(3 / 5), 12.0]
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_a_logged_value_is_never_below_zero() -> None:
    assert predictions(Inputs(tasks=(LOGGED,)), torch.tensor([[-50.0]])).item() == 0.0


@given(a=st.floats(-30, 30), b=st.floats(-30, 30))
def test_product_of_probabilities(a: float, b: float) -> None:
    p = 1 / (1 + math.exp(-a)) / (1 + math.exp(-b))
    found = product_logit(torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)).item()
    assert 1 / (1 + math.exp(-found)) == pytest.approx(p, rel=1e-12)


@pytest.mark.parametrize(("a", "b"), [(200.0, 200.0), (-200.0, 200.0), (-200.0, -300.0), (90.0, -90.0)])
def test_a_product_of_extreme_probabilities_stays_finite(a: float, b: float) -> None:
    one, other = torch.tensor([a], requires_grad=True), torch.tensor([b], requires_grad=True)
    found = product_logit(one, other)
    found.sum().backward()
    assert found.isfinite().all()
    assert one.grad is not None
    assert other.grad is not None
    assert one.grad.isfinite().all()
    assert other.grad.isfinite().all()
    # the smaller of two probabilities decides; of two near 1 the doubts add up, of two near 0 the smallness does
    expected = a + b if a < 0 and b < 0 else -math.log(math.exp(-a) + math.exp(-b))
    assert found.item() == pytest.approx(expected, rel=1e-5)
