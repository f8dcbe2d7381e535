"""DIN's activation unit by hand; the full formula is checked in tests/parity."""

import pytest
import torch
from torch import nn

from hemix.nn import target_attention
from hemix.nn.fields import Fields, Layout
from hemix.nn.ragged import Ragged
from hemix.nn.target_attention import TargetAttention

EVENTS = Layout(names=("action", "item"), widths=(1, 1))


def attend(module: TargetAttention, candidates: list[float], events: list[list[float]], length: int) -> list[float]:
    """One request; events are (action, item)."""
    values = torch.tensor([events]).view(1, -1, 2)
    attended = torch.arange(values.shape[1])[None] < length
    encoded = module.encode(Fields(values=values, widths=EVENTS.widths, names=EVENTS.names), attended)
    queries = Fields(values=torch.tensor(candidates)[:, None], widths=(1,), names=("item",))
    ragged = Ragged(torch.tensor([0, len(candidates)]), len(candidates))
    return module(queries, encoded, ragged).tolist()


@pytest.fixture
def product() -> TargetAttention:
    """Weight = item of candidate * item of event, if positive."""
    module = TargetAttention(["item"], EVENTS, (1,))
    with torch.no_grad():
        for parameter in module.parameters():
            nn.init.zeros_(parameter)
        module.first.weight[0, 3] = 1.0
        module.rest[2].weight[0, 0] = 1.0
    return module


def test_weighted_sum_with_shared_fields_first(product: TargetAttention) -> None:
    """Candidate 2, events (action 1, item 3) and (action 10, item 1): weights 6 and 2; padding counts nothing."""
    events = [[1.0, 3.0], [10.0, 1.0], [99.0, 99.0]]
    assert product.order == ("item", "action")
    assert attend(product, [2.0, -2.0], events, length=2) == [[6 * 3 + 2 * 1, 6 * 1 + 2 * 10], [0.0, 0.0]]


def test_other_event_fields_enter_the_weight(product: TargetAttention) -> None:
    with torch.no_grad():
        product.first.weight[0, 4] = 1.0
    assert attend(product, [2.0], [[1.0, 3.0]], length=1) == [[7 * 3.0, 7 * 1.0]]


def test_softmax_weights_add_up_to_one() -> None:
    module = TargetAttention(["item"], EVENTS, (4,), "prelu", softmax=True)
    ((item, action),) = attend(module, [2.0], [[5.0, 3.0], [5.0, 3.0], [0.0, 0.0]], length=2)
    assert (round(item, 5), round(action, 5)) == (3.0, 5.0)


@pytest.mark.parametrize("softmax", [True, False])
def test_no_events_no_interest(softmax: bool) -> None:
    module = TargetAttention(["item"], EVENTS, (4,), softmax=softmax)
    assert attend(module, [2.0], [[5.0, 3.0]], length=0) == [[0.0, 0.0]]
    assert attend(module, [2.0], [], length=0) == [[0.0, 0.0]]


def test_chunks_of_like_histories_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of every length worked on together, two at a time, against each on its own: values and gradients."""
    torch.manual_seed(0)
    module = TargetAttention(["item"], EVENTS, (4, 3), "prelu").double()
    lengths = torch.tensor([3, 0, 7, 1, 7, 5, 2])
    events = torch.randn(7, 7, 2, dtype=torch.float64)
    queries = torch.randn(14, 1, dtype=torch.float64)

    def interests(first: int, last: int) -> tuple[torch.Tensor, list[torch.Tensor]]:
        attended = torch.arange(7)[None] < lengths[first:last, None]
        encoded = module.encode(Fields(values=events[first:last], widths=(1, 1), names=EVENTS.names), attended)
        candidates = Fields(values=queries[2 * first : 2 * last], widths=(1,), names=("item",))
        found = module(candidates, encoded, Ragged(torch.arange(0, 2 * (last - first) + 1, 2), 2 * (last - first)))
        return found, list(torch.autograd.grad(found.square().sum(), list(module.parameters())))

    apart = [interests(request, request + 1) for request in range(7)]
    monkeypatch.setattr(target_attention, "CHUNK", 2 * 2 * 7 * 4)
    together, gradients = interests(0, 7)
    torch.testing.assert_close(together, torch.cat([found for found, _ in apart]))
    for place, gradient in enumerate(gradients):
        torch.testing.assert_close(gradient, torch.stack([own[place] for _, own in apart]).sum(0))
