"""DIEN: counts, and what its structure promises of order, later events, attention and candidates."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from factories import make_batch, make_inputs
from hemix.batch import Batch, Columns, Inputs
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models import Sequential
from hemix.models.dien import DIEN, AttentiveGRU, DIENConfig
from hemix.models.histories import under
from hemix.nn.ragged import Ragged
from hemix.ranker import Ranker, build_ranker, count_parameters, encode_embedded
from hemix.refine.drm import DRMConfig

EVOLUTIONS = ("augru", "agru", "aigru", "gru")


def layers(widths: tuple[int, ...]) -> int:
    """Weights and biases of the linear maps between these widths."""
    return sum(a * b + b for a, b in pairwise(widths))


@pytest.mark.parametrize(("hidden_dim", "width"), [(None, 2 * 16), (10, 10)])
@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_parameters_are_as_many_as_the_formula_says(evolution: str, hidden_dim: int | None, width: int) -> None:
    inputs = make_inputs(plain=True, num_tasks=3)
    config = DIENConfig(hidden=(40, 20), evolution=evolution, hidden_dim=hidden_dim)
    request, candidate, event, shared = 2 * 16, 2 * 16, 4 * 16, 2 * 16
    extractor = 3 * width * (event + width + 2)
    second = {
        "augru": 3 * width * (2 * width + 1),
        "agru": 2 * width * (2 * width + 1),
        "aigru": 3 * width * (2 * width + 1),
        "gru": 3 * width * (2 * width + 2),
    }[evolution]
    count = count_parameters(inputs, config)
    assert count.by_part == {
        "embedding": count.tables,
        "interests": 2 * (extractor + shared * width + second),
        "first": layers((request + candidate + 2 * width, 40)),
        "rest": layers((40, 20, 3)) + 40 + 20,
    }


def with_events(batch: Batch, name: str, change: dict[int, int]) -> Batch:
    """The same batch with some events of one history replaced: `change` says by which other of the same request."""
    history = batch.requests.histories[name]
    order = list(range(history.events.ids.shape[1]))
    for to, origin in change.items():
        order[to] = origin
    events = Columns(ids=history.events.ids[:, order], numbers=history.events.numbers[:, order])
    changed = {**batch.requests.histories, name: replace(history, events=events)}
    return replace(batch, requests=replace(batch.requests, histories=changed))


def states_of(ranker: Ranker, batch: Batch) -> torch.Tensor:
    assert isinstance(ranker.backbone, Sequential)
    return ranker.backbone.event_states("global", encode_embedded(ranker.backbone, ranker.embed(batch)))


def two_requests(inputs: Inputs, seed: int = 0) -> Batch:
    return make_batch(inputs, counts=(3, 2), lengths={"global": (5, 5), "real_time": (2, 1)}, seed=seed)


def test_states_know_no_later_event() -> None:
    inputs = make_inputs(plain=True)
    batch = two_requests(inputs)
    ranker = build_ranker(inputs, DIENConfig(), seed=0)
    before, after = states_of(ranker, batch), states_of(ranker, with_events(batch, "global", {3: 0}))
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(dim=2).all()


@pytest.mark.parametrize("refine", [None, DRMConfig()])
def test_states_are_of_the_width_that_it_says(refine: DRMConfig | None) -> None:
    """Behind a refinement module too."""
    inputs = make_inputs()
    ranker = build_ranker(inputs, DIENConfig(embedding_dim=8, hidden_dim=5, refine=refine), seed=0)
    assert isinstance(ranker.backbone, Sequential)
    assert ranker.backbone.state_widths() == {"global": 5, "real_time": 5}
    assert states_of(ranker, two_requests(inputs)).shape == (2, 5, 5)


@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_order_matters(evolution: str) -> None:
    inputs = make_inputs(plain=True)
    batch = two_requests(inputs)
    ranker = build_ranker(inputs, DIENConfig(evolution=evolution), seed=0).eval()
    assert not torch.allclose(ranker(batch), ranker(with_events(batch, "global", {1: 2, 2: 1})), atol=1e-7)


@pytest.mark.parametrize("evolution", EVOLUTIONS)
def test_candidates_ask_for_their_own_interests(evolution: str) -> None:
    """With the map of the attention at zero all candidates of a request have one interest; else each its own."""
    inputs = make_inputs(plain=True)
    ranker = build_ranker(inputs, DIENConfig(evolution=evolution), seed=0).double()
    x = ranker.embed(make_batch(inputs, counts=(4,), lengths={"global": (6,), "real_time": (3,)}, dtype=torch.float64))
    assert isinstance(ranker.backbone, DIEN)
    interest = ranker.backbone._interests["global"]
    encoded = under("global", encode_embedded(ranker.backbone, x))
    for scale, same in ((1.0, False), (0.0, True)):
        with torch.no_grad():
            interest.query.weight *= scale
        found = interest(x.candidate, encoded, Ragged(x.offsets, 4))
        assert bool((found - found[:1]).abs().max() < 1e-9) is same


@pytest.mark.parametrize("kind", ["augru", "agru"])
def test_an_event_without_attention_leaves_the_state_alone(kind: str) -> None:
    cell = AttentiveGRU(kind, 4)
    encoded = cell.encode(torch.randn(1, 3, 4))
    ragged = Ragged(torch.tensor([0, 2]), 2)
    weights = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    found = cell(weights, encoded, torch.tensor([3]), ragged)
    alone = cell(torch.ones(2, 1), encoded[:, 1:2], torch.tensor([1]), ragged)
    torch.testing.assert_close(found, torch.stack([alone[0], torch.zeros(4)]))


def test_full_attention_is_an_ordinary_gru() -> None:
    """AUGRU and AIGRU with all weights 1 are torch's GRU with the same matrices; its z is 1 - u."""
    x = torch.randn(2, 5, 4)
    gru = torch.nn.GRU(4, 4, batch_first=True)
    for kind in ("augru", "aigru"):
        cell = AttentiveGRU(kind, 4)
        sign = torch.tensor([1.0, -1.0, 1.0]).repeat_interleave(4)
        with torch.no_grad():
            gru.weight_ih_l0.copy_(sign[:, None] * cell.input.weight)
            gru.weight_hh_l0.copy_(sign[:, None] * torch.cat([cell.gates.weight, cell.new.weight]))
            gru.bias_ih_l0.copy_(sign * cell.input.bias)
            gru.bias_hh_l0.zero_()
        found = cell(torch.ones(2, 5), cell.encode(x), torch.tensor([5, 5]), Ragged(torch.tensor([0, 1, 2]), 2))
        torch.testing.assert_close(found, gru(x)[0][:, -1])


def test_a_request_without_events_has_no_interest() -> None:
    inputs = make_inputs(plain=True)
    batch = make_batch(inputs, counts=(2, 1), lengths={"global": (0, 3), "real_time": (0, 0)})
    for evolution in EVOLUTIONS:
        ranker = build_ranker(inputs, DIENConfig(evolution=evolution), seed=0)
        x = ranker.embed(batch)
        assert isinstance(ranker.backbone, DIEN)
        maps = ranker.backbone.attention(encode_embedded(ranker.backbone, x), x.candidate, Ragged(x.offsets, 3))
        answers = {found.history: found.answers[:, 0] for found in maps}
        assert (answers["global"][:2] == 0).all()
        assert (answers["global"][2] != 0).all()
        assert (answers["real_time"] == 0).all()


@pytest.mark.slow
def test_many_candidates_of_a_long_history_fit_into_memory() -> None:
    """500 candidates by 1,000 events: what is kept for the gradients, the most of what is needed, is below 2 GB."""
    inputs = make_inputs(plain=True, num_tasks=1)
    longer = tuple(replace(history, max_length=1000) for history in inputs.histories)
    inputs = replace(inputs, histories=longer[:1])
    batch = make_batch(inputs, counts=(500,), lengths={"global": (1000,)})
    ranker = build_ranker(inputs, DIENConfig(), seed=0)
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        ranker(batch).sum().backward()
    assert 0.3e9 < sum(kept.values()) < 0.5e9


def test_a_history_that_shares_no_field_is_refused() -> None:
    inputs = make_inputs()
    alone = replace(inputs.histories[0], shared=())
    inputs = replace(inputs, histories=(alone, inputs.histories[1]))
    with pytest.raises(ConfigError, match="history 'global' shares none"):
        build_ranker(inputs, DIENConfig(), seed=0)
    assert build_ranker(inputs, DIENConfig(histories=("real_time",)), seed=0)(make_batch(inputs)).isfinite().all()


def test_without_histories_it_is_an_mlp() -> None:
    inputs = make_inputs(histories=())
    assert build_ranker(inputs, DIENConfig(), seed=0)(make_batch(inputs)).isfinite().all()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"evolution: .*'augru'"):
        parse_config(DIENConfig, {"evolution": "lstm"}, "model")
    with pytest.raises(ConfigError, match="hidden_dim"):
        parse_config(DIENConfig, {"hidden_dim": 0}, "model")
    with pytest.raises(ConfigError, match=r"hidden\.1"):
        parse_config(DIENConfig, {"hidden": [8, 0]}, "model")
