"""Integrated gradients: pencil values, and that they add up, whatever the model."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from conformance.rankers import CONFIGS, FORMS, perturbed_ranker
from factories import make_batch, make_inputs, take_requests
from hemix.explain.baseline import Baseline
from hemix.explain.gradients import integrated_gradients
from hemix.explain.probe import Probe, Variants
from hemix.nn.cost import Cost
from hemix.nn.fields import Fields, State
from hemix.nn.ragged import Ragged
from hemix.ranker import Embedded, Ranker, score_embedded

INPUTS = make_inputs()


class Product:
    """logit = (2 r0 + r1) * (sum of the events that are there) + max(c, 0), by hand."""

    def encode_history(self, name: str, events: Fields, attended: Bool[Tensor, "R T"]) -> State:
        return {"h.sum": (events.values * attended[:, :, None]).sum(dim=1)}

    def encode_request(self, request: Fields, histories: State) -> State:
        return {"r": request.values @ torch.tensor([[2.0], [1.0]])}

    def cost(self, lengths: Mapping[str, int]) -> Cost:
        return Cost(per_request=0, per_candidate=0)

    def score(self, state: State, candidate: Fields, ragged: Ragged) -> Float[Tensor, "N K"]:
        return ragged.spread(state["r"] * state["h.sum"]) + candidate.values.clamp(min=0)


def embedded(request: list[float], candidate: float, events: list[float]) -> Embedded:
    return Embedded(
        request=Fields(values=torch.tensor([request]), widths=(1, 1), names=("a", "b")),
        candidate=Fields(values=torch.tensor([[candidate]]), widths=(1,), names=("c",)),
        histories={
            "h": (
                Fields(values=torch.tensor(events).view(1, -1, 1), widths=(1,), names=("e",)),
                torch.ones(1, len(events), dtype=torch.bool),
            )
        },
        offsets=torch.tensor([0, 1]),
    )


def zeros() -> Baseline:
    return Baseline(request=torch.zeros(2), candidate=torch.tensor([-1.0]), histories={"h": torch.zeros(1)}, requests=1)


def test_pencil_values() -> None:
    """Along the line the product is a^2 times its end: each factor gets half; the kink is found."""
    found = integrated_gradients(Probe(Product(), embedded([1.0, 3.0], 2.0, [4.0, -1.0]), 0), zeros())
    assert (found.baseline, found.logit) == (0.0, 17.0)
    np.testing.assert_allclose(found.request, [3.0, 4.5], atol=1e-3)
    np.testing.assert_allclose(found.events["h"], [[10.0], [-2.5]], atol=1e-3)
    np.testing.assert_allclose(found.candidate, [2.0], atol=0.1)
    assert abs(found.residual) <= 0.005 * 17 + 1e-4
    assert found.residual == pytest.approx(17.0 - found.total, abs=1e-4)


def test_steps_are_bounded_and_what_is_left_is_said() -> None:
    probe = Probe(Product(), embedded([1.0, 3.0], 2.0, [4.0, -1.0]), 0)
    rough = integrated_gradients(probe, zeros(), tolerance=0.0, max_steps=12)
    assert rough.steps == 12
    assert rough.residual == pytest.approx(17.0 - rough.total, abs=1e-4)
    fine = integrated_gradients(probe, zeros(), tolerance=1e-5)
    assert abs(fine.residual) < abs(rough.residual)
    assert fine.steps > 12


def test_a_history_without_events() -> None:
    found = integrated_gradients(Probe(Product(), embedded([1.0, 3.0], 2.0, []), 0), zeros())
    assert found.events["h"].shape == (0, 1)
    assert found.total == pytest.approx(2.0, abs=0.02)


@pytest.fixture(params=FORMS, scope="module")
def ranker(request: pytest.FixtureRequest) -> Ranker:
    ranker = perturbed_ranker(request.param, INPUTS, by=0.2)
    ranker(make_batch(INPUTS, counts=(9, 9)))
    return ranker.eval()


def one_row(ranker: Ranker, seed: int) -> Embedded:
    batch = take_requests(make_batch(INPUTS, counts=(1, 1, 1), seed=seed), [1])
    with torch.no_grad():
        return ranker.embed(batch)


def means(ranker: Ranker) -> Baseline:
    batch = make_batch(INPUTS, counts=(3,) * 30, seed=99)
    with torch.no_grad():
        x = ranker.embed(batch)
    return Baseline(
        request=x.request.values.mean(dim=0),
        candidate=x.candidate.values.mean(dim=0),
        histories={name: events.values[attended].mean(dim=0) for name, (events, attended) in x.histories.items()},
        requests=30,
    )


def test_contributions_add_up(ranker: Ranker) -> None:
    """To the difference of the two logits, within 1 %."""
    task = 1
    x, baseline = one_row(ranker, 7), means(ranker)
    found = integrated_gradients(Probe(ranker.backbone, x, task), baseline)
    at_mean = replace(
        x,
        request=replace(x.request, values=baseline.request[None]),
        candidate=replace(x.candidate, values=baseline.candidate[None]),
        histories={
            name: (replace(events, values=baseline.histories[name].expand_as(events.values)), attended)
            for name, (events, attended) in x.histories.items()
        },
    )
    with torch.no_grad():
        logit = score_embedded(ranker.backbone, x)[0, task].item()
        start = score_embedded(ranker.backbone, at_mean)[0, task].item()
    assert found.logit == pytest.approx(logit, abs=1e-4)
    assert found.baseline == pytest.approx(start, abs=1e-4)
    assert abs(found.total - (logit - start)) <= 0.01 * abs(logit - start) + 1e-4
    assert found.events.keys() == x.histories.keys()


def test_against_a_plain_sum(ranker: Ranker) -> None:
    """A midpoint rule of 500 steps gives the same contributions of the candidate."""
    if ranker.config not in [CONFIGS[name] for name in ("hemix", "din", "dlrm, attention")]:
        pytest.skip("three models are enough for the rule of integration")
    x, baseline = one_row(ranker, 3), means(ranker)
    probe = Probe(ranker.backbone, x, 0)
    found = integrated_gradients(probe, baseline, tolerance=1e-4)
    places = (torch.arange(500) + 0.5) / 500
    starts = [baseline.request, baseline.candidate, *(baseline.histories[name] for name in x.histories)]
    ends = [x.request.values, x.candidate.values, *(events.values for events, _ in x.histories.values())]
    sides = [
        (a.expand_as(b) + places.view(-1, *[1] * (b.dim() - 1)) * (b - a.expand_as(b))).requires_grad_()
        for a, b in zip(starts, ends, strict=True)
    ]
    whole = Variants(request=sides[0], candidate=sides[1], events=dict(zip(x.histories, sides[2:], strict=True)))
    (gradient,) = torch.autograd.grad(probe.score(whole).sum(), [sides[1]])
    expected = (gradient.mean(dim=0) * (ends[1] - starts[1])[0]).split(list(x.candidate.widths))
    np.testing.assert_allclose(
        found.candidate, [float(part.sum()) for part in expected], atol=0.01 * np.abs(found.candidate).max() + 1e-4
    )
