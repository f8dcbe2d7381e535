"""What a model adds to a loss of its own."""

import torch
from torch import nn

from hemix.objectives.loss import Loss, with_penalty


class Asking(nn.Module):
    def penalty(self) -> torch.Tensor | None:
        return torch.tensor(0.25, requires_grad=True)


class Silent(Asking):
    def penalty(self) -> torch.Tensor | None:
        return None


def test_it_is_added_and_told_apart() -> None:
    loss = Loss(total=torch.tensor(1.5), parts={"click": torch.tensor(1.5)})
    found = with_penalty(loss, Asking())
    assert found.total == 1.75
    assert found.total.requires_grad
    assert found.parts == {"click": torch.tensor(1.5), "penalty": torch.tensor(0.25)}
    assert not found.parts["penalty"].requires_grad


def test_a_model_may_have_nothing_to_add() -> None:
    loss = Loss(total=torch.tensor(1.5), parts={})
    assert with_penalty(loss, Silent()) is loss
    assert with_penalty(loss, nn.Linear(1, 1)) is loss
