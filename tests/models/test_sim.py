"""SIM: what is found and in which order, pencil values of both searches, counts, and what it refuses."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from conformance.rankers import objective_of
from factories import make_batch, make_inputs
from hemix.batch import Batch, Columns, FieldSpec, Inputs
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.backbone import AttentionMap
from hemix.models.sim import SIM, SIMConfig, general
from hemix.models.sim.exact import ExactSearch, intervals
from hemix.models.sim.general import HardSearch, SoftSearch, largest, newest
from hemix.nn.fields import Fields, Layout
from hemix.nn.ragged import Ragged
from hemix.ranker import Ranker, build_ranker, count_parameters, encode_embedded
from hemix.training.optimizers import RowwiseAdagrad

HARD: dict[str, Any] = {"search": "hard", "match": "category"}
SMALL: dict[str, Any] = {"embedding_dim": 8, "top_k": 3, "num_heads": 2, "attention_dim": 8, "hidden": (16,)}
CATEGORY = 4, 5
"""Columns of the category among the ids of an event, and of a candidate."""


def layers(widths: tuple[int, ...]) -> int:
    """Weights and biases of the linear maps between these widths."""
    return sum(a * b + b for a, b in pairwise(widths))


def test_parameters_are_as_many_as_the_formula_says() -> None:
    inputs = make_inputs(plain=True, num_tasks=3)
    request, candidate, event, shared, found = 2 * 16, 2 * 16, 4 * 16, 2 * 16, 5 * 16
    dien = 3 * shared * (event + shared + 2) + shared * shared + 3 * shared * (2 * shared + 1)
    exact = 40 * 16 + 24 * (shared + found)
    for settings, searched in ((HARD, exact), ({"search_dim": 6}, exact + 6 * (event + shared))):
        config = SIMConfig(hidden=(40, 20), num_heads=3, attention_dim=24, **settings)
        count = count_parameters(inputs, config)
        assert count.by_part == {
            "embedding": count.tables,
            "searched": searched,
            "short": dien,
            "first": layers((request + candidate + 3 * found + shared, 40)),
            "rest": layers((40, 20, 3)) + 40 + 20,
        }


def row(values: list[list[float]], name: str = "x", ids: list[list[int]] | None = None) -> Fields:
    """Fields of several rows, all of one name."""
    x = torch.tensor(values)
    return Fields(values=x, widths=(x.shape[-1],), names=(name,), ids=None if ids is None else torch.tensor(ids))


def test_a_hard_search_finds_the_newest_of_the_category() -> None:
    """Six events of categories 3 4 3 0 1 3, of which the last is padding; candidates of 3, 4, unknown, null and 0."""
    events = Fields(
        values=torch.zeros(1, 6, 0), widths=(), names=(), ids=torch.tensor([[[3], [4], [3], [0], [1], [3]]])
    )
    search = HardSearch(2, 0, 1)
    encoded = search.encode(events, torch.tensor([[True, True, True, True, True, False]]))
    candidates = Fields(
        values=torch.zeros(5, 0), widths=(), names=(), ids=torch.tensor([[9, 3], [9, 4], [9, 1], [9, 2], [9, 0]])
    )
    found = search(candidates, encoded, Ragged(torch.tensor([0, 5]), 5))
    assert found.tolist() == [[2, 0], [1, -1], [-1, -1], [-1, -1], [-1, -1]]


def soft(events: list[list[float]], candidates: list[list[float]], length: int) -> tuple[Tensor, Tensor]:
    """Places and ``[U_r ; e_a]`` for two numbers an event, W_b = [1 10] and W_a = [2]; candidates have the first."""
    search = SoftSearch(2, ("a",), Layout(names=("a", "b"), widths=(1, 1)), 1)
    with torch.no_grad():
        search.key.weight.copy_(torch.tensor([[1.0, 10.0]]))
        search.query.weight.fill_(2.0)
    own = Fields(values=torch.tensor([events]), widths=(1, 1), names=("a", "b"))
    attended = torch.arange(len(events))[None] < length
    encoded = {"events": own.values, "attended": attended, **search.encode(own, attended)}
    ragged = Ragged(torch.tensor([0, len(candidates)]), len(candidates))
    asked = row(candidates, "a")
    return search(asked, encoded, ragged), search.relevant(asked, encoded, ragged, attended, softmax=False).detach()


def test_a_soft_search_by_hand() -> None:
    """r = 2 q (a + 10 b): 22 q, 2 q, 2 q, and padding. The sum is 22 q (1, 1) + 2 q (1, 0) + 2 q (1, 0)."""
    places, relevant = soft([[1.0, 1.0], [1.0, 0.0], [1.0, 0.0], [9.0, 9.0]], [[1.0], [-1.0]], length=3)
    assert places.tolist() == [[2, 0], [2, 1]]
    assert relevant.tolist() == [[26.0, 22.0, 1.0], [-26.0, -22.0, -1.0]]


@given(
    scores=st.lists(st.integers(-2, 2), min_size=1, max_size=9),
    count=st.integers(1, 10),
    length=st.integers(0, 9),
)
def test_the_largest_scores_are_found_and_of_equal_ones_the_newest(scores: list[int], count: int, length: int) -> None:
    attended = torch.arange(len(scores)) < length
    marked = largest(torch.tensor([[scores]]).double(), attended[None, None], count)
    order = sorted(range(min(length, len(scores))), key=lambda t: (-scores[t], -t))[:count]
    assert marked[0, 0].nonzero()[:, 0].tolist() == sorted(order)
    found = newest(marked, count)[0, 0].tolist()
    assert found[: len(order)] == sorted(order, reverse=True)
    assert found[len(order) :] == [-1] * (min(count, len(scores)) - len(order))


@pytest.mark.parametrize("settings", [HARD, {"search_dim": 4}], ids=["hard", "soft"])
def test_chunks_change_nothing(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    ranker = build_ranker(make_inputs(plain=True), SIMConfig(**SMALL, **settings, short_term="din"), seed=0).double()
    batch = make_batch(ranker.inputs, dtype=torch.float64)
    whole = ranker(batch)
    for chunk in (1, 30):
        monkeypatch.setattr(general, "CHUNK", chunk)
        torch.testing.assert_close(ranker(batch), whole)


def test_time_intervals_double() -> None:
    """1, 2 and 3, 4 to 7 ... seconds; less than one; an event of the future, which no store gives; 950 years."""
    seconds = torch.tensor([[0, 1, 2, 3, 6, 7, -5, 3 * 10**16 // 10**6]])
    assert intervals(-1_000_000 * seconds - 1, torch.tensor([0])).tolist() == [[0, 1, 1, 2, 2, 3, 0, 34]]


def test_an_exact_search_by_hand() -> None:
    """Two heads of width 1 over z = (1, 0) and (0, 1): <W_b z, W_a q> is 0, 0 of one and log 3, 0 of the other."""
    search = ExactSearch(("a",), Layout(names=("a", "b"), widths=(1, 1)), 2, 2, 2)
    with torch.no_grad():
        search.query.weight.fill_(1.0)
        search.key.weight.copy_(torch.tensor([[0.0, 0.0], [1.0, 0.0]]) * torch.log(torch.tensor(3.0)))
    events = torch.tensor([[[1.0, 0.0], [7.0, 7.0], [0.0, 1.0]]])
    places = torch.tensor([[2, 0, -1], [-1, -1, -1]])
    heads, weights = search(row([[1.0], [1.0]], "a"), events, places, Ragged(torch.tensor([0, 2]), 2))
    torch.testing.assert_close(heads, torch.tensor([[0.5, 0.5, 0.75, 0.25], [0.0] * 4]))
    torch.testing.assert_close(weights[0], torch.tensor([[0.5, 0.5, 0.0], [0.25, 0.75, 0.0]]))


def with_events(batch: Batch, name: str, ids: Tensor) -> Batch:
    history = batch.requests.histories[name]
    events = Columns(ids=ids, numbers=history.events.numbers)
    changed = {**batch.requests.histories, name: replace(history, events=events)}
    return replace(batch, requests=replace(batch.requests, histories=changed))


def by_category(ranker: Ranker) -> tuple[Batch, Tensor]:
    """A request with 6 older events of categories 3 3 4 4 4 4, and candidates of 3, 4 and 5; with the ids of events."""
    batch = make_batch(ranker.inputs, counts=(3,), lengths={"global": (6,), "real_time": (2,)}, dtype=torch.float64)
    ids = batch.requests.histories["global"].events.ids
    ids[0, :, CATEGORY[0]] = torch.tensor([3, 3, 4, 4, 4, 4])
    batch.candidates.ids[:, CATEGORY[1]] = torch.tensor([3, 4, 5])
    return batch, ids


def test_candidates_see_what_they_find_and_nothing_else() -> None:
    """Of three at most: the oldest of the four of category 4 is not found. Padding is in no order."""
    ranker = build_ranker(make_inputs(plain=True), SIMConfig(**SMALL, **HARD), seed=0).double().eval()
    batch, ids = by_category(ranker)
    before = ranker(batch)
    for event, moves in enumerate([[True, False], [True, False], [False, False], *[[False, True]] * 3]):
        other = ids.clone()
        other[0, event, 1] = other[0, event, 1] % 30 + 3
        moved = (ranker(with_events(batch, "global", other)) - before).abs().amax(dim=1) > 1e-9
        assert moved.tolist() == [*moves, False]


def maps_of(ranker: Ranker, batch: Batch) -> dict[str, AttentionMap]:
    x = ranker.embed(batch)
    assert isinstance(ranker.backbone, SIM)
    ragged = Ragged(x.offsets, batch.num_rows)
    return {m.history: m for m in ranker.backbone.attention(encode_embedded(ranker.backbone, x), x.candidate, ragged)}


@torch.no_grad()
def test_attention_is_shown_over_the_whole_history() -> None:
    ranker = build_ranker(make_inputs(plain=True), SIMConfig(**SMALL, **HARD), seed=0).double().eval()
    shown = maps_of(ranker, by_category(ranker)[0])
    found = shown["global"].weights
    assert found.shape == (3, 1, 2, 6)
    assert (found[:, 0] > 0).tolist() == [
        [[t < 2 for t in range(6)]] * 2,
        [[t > 2 for t in range(6)]] * 2,
        [[False] * 6] * 2,
    ]
    torch.testing.assert_close(found[:2].sum(dim=3), torch.ones(2, 1, 2).double())
    assert (shown["global"].answers[2] == 0).all()
    assert shown["real_time"].weights.shape == (3, 1, 1, 2)


def test_which_histories_are_searched() -> None:
    """All but the recent side of a cut; that one too if it is alone, or named."""
    for names, searched, expected in (
        (("global", "real_time"), None, ["global"]),
        (("global",), None, ["global"]),
        (("real_time",), None, ["real_time"]),
        (("global", "real_time"), ("real_time",), ["real_time"]),
    ):
        ranker = build_ranker(make_inputs(histories=names), SIMConfig(searched=searched), seed=0)
        assert isinstance(ranker.backbone, SIM)
        assert list(ranker.backbone._searched) == expected
        assert set(ranker.backbone._short) == set(names) - set(expected)


@pytest.mark.parametrize("settings", [HARD, {}], ids=["hard", "soft"])
def test_many_candidates_of_a_long_history_fit_into_memory(settings: dict[str, Any]) -> None:
    """500 candidates by 1,000 events: what is kept for the gradients, the most of what is needed."""
    inputs = make_inputs(plain=True, num_tasks=1, histories=("global",))
    inputs = replace(inputs, histories=(replace(inputs.histories[0], max_length=1000),))
    batch = make_batch(inputs, counts=(500,), lengths={"global": (1000,)})
    ranker = build_ranker(inputs, SIMConfig(**settings), seed=0)
    kept: dict[int, int] = {}

    def keep(x: Tensor) -> Tensor:
        kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        objective_of(ranker)(ranker, batch).total.backward()
    assert 5e6 < sum(kept.values()) < 30e6


def planted(inputs: Inputs, seed: int) -> Batch:
    """Clicked if and only if one of 9 old events, or of 9 that are anything, is of the candidate's category."""
    batch = make_batch(inputs, counts=(2,) * 64, lengths={"global": (9,) * 64}, seed=seed)
    random = torch.Generator().manual_seed(seed)
    liked = torch.randint(3, 8, (64, 2), generator=random, dtype=torch.int32)
    which = torch.randint(0, 2, (64, 9), generator=random)
    batch.requests.histories["global"].events.ids[:, :, CATEGORY[0]] = liked.gather(1, which)
    shown = torch.randint(3, 8, (128,), generator=random, dtype=torch.int32)
    batch.candidates.ids[:, CATEGORY[1]] = shown
    events = batch.requests.histories["global"].events.ids[:, :, CATEGORY[0]].repeat_interleave(2, dim=0)
    clicked = (events == shown[:, None]).any(dim=1)
    return replace(batch, labels=clicked[:, None].float(), weights=None)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{**HARD, "time_intervals": False}, {"search_dim": 8}], ids=["hard", "soft"])
def test_learns_what_is_far_back(settings: dict[str, Any]) -> None:
    """Whether there is an event of the candidate's category among nine, of which it sees three."""
    inputs = make_inputs(plain=True, num_tasks=1, histories=("global",))
    ranker = build_ranker(inputs, SIMConfig(**SMALL, **settings), seed=1)
    torch.manual_seed(1)
    objective = objective_of(ranker)
    dense = torch.optim.AdamW([*ranker.backbone.parameters(), *objective.parameters()], lr=3e-3)
    tables = RowwiseAdagrad(list(ranker.embedding.tables))
    for step in range(300):
        ranker.zero_grad()
        objective.zero_grad()
        objective(ranker, planted(inputs, step)).total.backward()
        dense.step()
        tables.step()
    test = planted(inputs, 10_000)
    with torch.no_grad():
        logits = ranker.eval()(test)[:, 0]
    clicked = test.labels[:, 0] == 1
    auc = float((logits[clicked][:, None] > logits[~clicked]).float().mean())
    assert auc > 0.9


def test_what_can_be_matched() -> None:
    inputs = make_inputs()
    for match, message in (
        ("categry", r"share no 'categry'. Did you mean 'category'\? Choose one of category, item, or set model.search"),
        ("action", "share no 'action'"),
        ("genres", "'genres' of 'global' is of kind 'ids'. Choose one of category, item"),
        ("price", "is of kind 'number'"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_ranker(inputs, SIMConfig(search="hard", match=match), seed=0)
    fields = (FieldSpec(name="price", kind="number", start=6),)
    bare = replace(inputs.histories[0], fields=inputs.histories[0].fields, shared=("price",))
    with pytest.raises(ConfigError, match=r"Add one to data.histories.global, or set model.search: soft"):
        build_ranker(
            replace(inputs, candidate=fields, histories=(bare,)), SIMConfig(search="hard", match="item"), seed=0
        )


def test_which_histories_are_refused() -> None:
    inputs = make_inputs()
    for settings, message in (
        ({"histories": ()}, "searches a history, and model.histories is empty"),
        ({"searched": ("globl",)}, r"model.searched must name a history.*got 'globl'.* Did you mean 'global'\?"),
        ({"searched": ("global",), "histories": ("real_time",)}, "histories that are read, got 'global'"),
        ({"histories": ("globl",)}, r"model.histories must name .* Did you mean 'global'\?"),
    ):
        with pytest.raises(ConfigError, match=message):
            build_ranker(inputs, SIMConfig(**settings), seed=0)
    with pytest.raises(ConfigError, match="searches a history, and the data has none"):
        build_ranker(make_inputs(histories=()), SIMConfig(), seed=0)


def test_impossible_settings_are_refused() -> None:
    for settings, message in (
        ({"num_heads": 3}, "attention_dim must be a multiple of num_heads; attention_dim is 64, num_heads is 3"),
        ({"search": "hard"}, "match is not set"),
        ({"match": "item"}, "match is of search 'hard', and search is 'soft'; match is 'item'"),
        ({"searched": []}, "searched"),
        ({"top_k": 0}, "top_k"),
        ({"short_term": "gru"}, "short_term"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_config(SIMConfig, settings, "model")
