"""What models show of their inside is what happens in the forward pass."""

import pytest
import torch
from torch import Tensor

from conformance.rankers import CONFIGS, FORMS
from conformance.values import values_by
from factories import make_batch, make_inputs
from hemix.models import Attentive, Backbone, Residual
from hemix.models.bst import BST
from hemix.models.flat import Flat
from hemix.models.hemix import HeMix
from hemix.models.histories import under
from hemix.models.hstu import HSTU
from hemix.models.interformer import InterFormer
from hemix.models.longer import LONGER
from hemix.models.refined import Refined
from hemix.nn.fields import Fields, State
from hemix.nn.ragged import Ragged
from hemix.ranker import Ranker, build_ranker, encode_embedded, score_embedded

INPUTS = make_inputs()
COUNTS = (1, 4, 2, 7, 1, 3)
LENGTHS = {"global": (0, 9, 0, 3, 1, 2), "real_time": (2, 0, 0, 9, 1, 4)}


@pytest.fixture(params=FORMS, scope="module")
def ranker(request: pytest.FixtureRequest) -> Ranker:
    ranker = build_ranker(INPUTS, CONFIGS[request.param], seed=1).double()
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in ranker.backbone.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=random)
    return ranker.eval()


def steps(
    ranker: Ranker, lengths: dict[str, tuple[int, ...]] | None = None
) -> tuple[Backbone, State, Fields, Ragged, Tensor]:
    """The model itself, and what it is given: behind a refinement module, refined fields."""
    batch = make_batch(INPUTS, counts=COUNTS, lengths=lengths or LENGTHS, dtype=torch.float64)
    x = ranker.embed(batch)
    backbone, state, ragged = ranker.backbone, encode_embedded(ranker.backbone, x), Ragged(x.offsets, batch.num_rows)
    candidate = x.candidate
    if isinstance(backbone, Refined):
        backbone, candidate = backbone.model, backbone.refined(state, candidate, ragged)
    if isinstance(backbone, Flat):
        assert not isinstance(backbone, Attentive | Residual)
        pytest.skip("a flat model has neither attention nor blocks to show")
    return backbone, state, candidate, ragged, ranker(batch)


def test_embedded_batches_score_the_same(ranker: Ranker) -> None:
    batch = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS, dtype=torch.float64)
    assert torch.equal(score_embedded(ranker.backbone, ranker.embed(batch)), ranker(batch))


@torch.no_grad()
def test_weights_are_there_for_events_only(ranker: Ranker) -> None:
    backbone, state, candidate, ragged, _ = steps(ranker)
    assert isinstance(backbone, Attentive)
    for found in backbone.attention(state, candidate, ragged):
        events = torch.arange(found.weights.shape[3]) < ragged.spread(torch.tensor(LENGTHS[found.history]))[:, None]
        shown = events[:, None, None, :].expand_as(found.weights)
        assert (found.weights[~shown] == 0).all()
        assert found.weights[shown].abs().sum() > 0
        if found.adds_to_one:
            has_events = events.any(dim=1).double()[:, None, None].expand(found.weights.shape[:3])
            torch.testing.assert_close(found.weights.sum(dim=3), has_events)


@torch.no_grad()
def test_weights_give_the_answers(ranker: Ranker) -> None:
    """The explicit weights times the values are what the forward pass takes from the history, to 1e-5."""
    backbone, state, candidate, ragged, _ = steps(ranker)
    assert isinstance(backbone, Attentive)
    if isinstance(backbone, InterFormer | HSTU):
        pytest.skip("its answers are of all places of a sequence: tests/models/")
    maps = backbone.attention(state, candidate, ragged)
    merged = isinstance(backbone, BST | LONGER) or (isinstance(backbone, HeMix) and backbone.config.merge_histories)
    for found in maps:
        parts = [other for other in maps if other.kind == found.kind] if merged else [found]
        expected = sum(values_by(backbone, part, state, ragged, LENGTHS) for part in parts)
        attended = torch.cat([under(part.history, state)["attended"] for part in parts], dim=1)
        has_events = ragged.spread(attended).any(dim=1)
        torch.testing.assert_close(found.answers[has_events], expected[has_events], rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_no_history_at_all(ranker: Ranker) -> None:
    none = (0,) * len(COUNTS)
    backbone, state, candidate, ragged, _ = steps(ranker, {"global": none, "real_time": none})
    assert isinstance(backbone, Attentive)
    assert all(found.weights.numel() == 0 for found in backbone.attention(state, candidate, ragged))


@torch.no_grad()
def test_updates_are_of_one_stream(ranker: Ranker) -> None:
    """What is added to a stream has its shape. Whose blocks they are, and what they add up to: tests/models/."""
    backbone, state, candidate, ragged, _ = steps(ranker)
    if not isinstance(backbone, Residual):
        pytest.skip("has no blocks to show")
    updates = backbone.updates(state, candidate, ragged)
    assert len({update.name for update in updates}) == len(updates) > 0
    for update in updates:
        assert len(update.stream) == ragged.num_rows
        assert update.added.shape == update.stream.shape
        assert update.added.any()


@torch.no_grad()
def test_a_module_in_front_hides_nothing(ranker: Ranker) -> None:
    """What a refined model shows is what the model behind shows of refined fields; of a flat one nothing."""
    if not isinstance(ranker.backbone, Refined):
        pytest.skip("no module in front of it")
    batch = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS, dtype=torch.float64)
    x = ranker.embed(batch)
    front, whole = (
        ranker.backbone,
        (encode_embedded(ranker.backbone, x), x.candidate, Ragged(x.offsets, batch.num_rows)),
    )
    behind, *given, _ = steps(ranker)
    assert isinstance(behind, Attentive)
    for shown, own in zip(front.attention(*whole), behind.attention(*given), strict=True):
        assert torch.equal(shown.weights, own.weights)
    updates = behind.updates(*given) if isinstance(behind, Residual) else ()
    for shown, own in zip(front.updates(*whole), updates, strict=True):
        assert torch.equal(shown.added, own.added)
