"""What is true of every model of `MODELS`: a new one joins by being named there."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from conformance.no_gradient import WITHOUT_GRADIENT
from conformance.rankers import CONFIGS, FORMS, HEMIX, objective_of, perturbed_ranker
from factories import make_batch, make_inputs, take_candidates, take_requests
from hemix.batch import Batch, Columns, History, Inputs
from hemix.models import MODELS, ModelConfig
from hemix.models.sim import SIMConfig
from hemix.ranker import Ranker, build_ranker
from hemix.training.optimizers import RowwiseAdagrad
from hemix_switches import SWITCHES, switched

INPUTS = make_inputs()
COUNTS = (1, 4, 2, 7, 1, 3)


@pytest.fixture(params=FORMS, scope="module")
def ranker(request: pytest.FixtureRequest) -> Ranker:
    """In evaluation, with running statistics and biases that are not at their start values."""
    ranker = perturbed_ranker(request.param, INPUTS, by=0.1)
    ranker(make_batch(INPUTS, counts=COUNTS))
    return ranker.eval()


def assert_same(actual: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def with_histories(batch: Batch, change: dict[str, History]) -> Batch:
    return replace(batch, requests=replace(batch.requests, histories={**batch.requests.histories, **change}))


def scramble(history: History, where: Tensor, seed: int = 9) -> History:
    """Other ids, numbers and times for the events that `where` (R, T) marks."""
    random = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, 6, history.events.ids.shape, generator=random, dtype=torch.int32)
    numbers = torch.randn(history.events.numbers.shape, generator=random)
    return History(
        events=Columns(
            ids=torch.where(where[..., None], ids, history.events.ids),
            numbers=torch.where(where[..., None], numbers, history.events.numbers),
        ),
        times=torch.where(where, history.times + 10**9, history.times),
        lengths=history.lengths,
    )


def padding(history: History) -> Tensor:
    return torch.arange(history.events.ids.shape[1]) >= history.lengths[:, None]


def test_logits_are_finite(ranker: Ranker) -> None:
    """With missing numbers, empty sets and requests without events among the rows."""
    batch = make_batch(INPUTS, counts=COUNTS, lengths={"global": (0, 9, 0, 3, 1, 2)}, seed=4)
    logits = ranker(batch)
    assert logits.shape == (sum(COUNTS), 2)
    assert logits.isfinite().all()


def test_a_row_scores_the_same_alone(ranker: Ranker) -> None:
    batch = make_batch(INPUTS, counts=COUNTS)
    logits = ranker(batch)
    for row in range(batch.num_rows):
        r = int((batch.offsets[1:] <= row).sum())
        alone = take_candidates(take_requests(batch, [r]), [row - int(batch.offsets[r])])
        assert_same(ranker(replace(alone, offsets=torch.tensor([0, 1]))), logits[row : row + 1])


@settings(max_examples=10)
@given(seed=st.integers(0, 50), counts=st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any))
def test_requests_may_come_in_any_order(ranker: Ranker, seed: int, counts: list[int]) -> None:
    batch = make_batch(INPUTS, counts=counts, seed=seed)
    order = torch.randperm(len(counts), generator=torch.Generator().manual_seed(seed)).tolist()
    rows = torch.cat([torch.arange(int(batch.offsets[r]), int(batch.offsets[r + 1])) for r in order])
    assert_same(ranker(take_requests(batch, order)), ranker(batch)[rows])


def test_candidates_may_come_in_any_order(ranker: Ranker) -> None:
    batch = make_batch(INPUTS, counts=COUNTS)
    offsets = batch.offsets.tolist()
    order = [row for begin, end in pairwise(offsets) for row in reversed(range(begin, end))]
    assert_same(ranker(take_candidates(batch, order)), ranker(batch)[order])


def test_padding_changes_nothing(ranker: Ranker) -> None:
    """Neither what stands in padded events nor how many of them there are."""
    batch = make_batch(INPUTS, counts=COUNTS)
    expected = ranker(batch)
    filled = {name: scramble(history, padding(history)) for name, history in batch.requests.histories.items()}
    assert_same(ranker(with_histories(batch, filled)), expected)
    longer = {}
    for name, history in batch.requests.histories.items():
        ids, numbers = (torch.nn.functional.pad(x, (0, 0, 0, 5)) for x in (history.events.ids, history.events.numbers))
        times = torch.nn.functional.pad(history.times, (0, 5))
        longer[name] = History(events=Columns(ids=ids, numbers=numbers), times=times, lengths=history.lengths)
    assert_same(ranker(with_histories(batch, longer)), expected)


def test_an_empty_history_is_the_same_however_wide(ranker: Ranker) -> None:
    """T = 0, and T = 4 with arbitrary ids but length 0."""
    empty = {"global": (0,) * len(COUNTS), "real_time": (0,) * len(COUNTS)}
    batch = make_batch(INPUTS, counts=COUNTS, lengths=empty)
    expected = ranker(batch)
    wide = make_batch(INPUTS, counts=COUNTS, lengths={name: (4,) * len(COUNTS) for name in empty}).requests.histories
    zero = torch.zeros(len(COUNTS), dtype=torch.int64)
    assert_same(ranker(with_histories(batch, {n: replace(h, lengths=zero) for n, h in wide.items()})), expected)


def test_events_matter_and_only_to_their_request(ranker: Ranker) -> None:
    if isinstance(ranker.config, SIMConfig) and ranker.config.search == "hard":
        pytest.skip("only those that a candidate finds: tests/models/test_sim.py")
    batch = make_batch(INPUTS, counts=COUNTS, lengths={"global": (3,) * 6, "real_time": (3,) * 6})
    for name, history in batch.requests.histories.items():
        where = torch.zeros(6, 3, dtype=torch.bool)
        where[3, 1] = True
        difference = ranker(with_histories(batch, {name: scramble(history, where)})) - ranker(batch)
        rows = torch.arange(batch.num_rows)
        assert (difference.abs().amax(dim=1) > 1e-6).tolist() == (
            (rows >= batch.offsets[3]) & (rows < batch.offsets[4])
        ).tolist()


def test_memory_holds_the_older_history_only(ranker: Ranker) -> None:
    """`remember` may be kept while request fields and recent events change, and nothing else is in it."""
    batch = make_batch(INPUTS, counts=COUNTS, lengths={"global": (3,) * 6, "real_time": (2,) * 6})
    other = make_batch(INPUTS, counts=COUNTS, lengths={"global": (3,) * 6, "real_time": (2,) * 6}, seed=8)
    kept = {"global": batch.requests.histories["global"]}
    later = replace(other.requests, histories={**other.requests.histories, **kept})
    memory, again = ranker.remember(batch.requests), ranker.remember(later)
    assert memory.keys() == again.keys()
    assert all(torch.equal(memory[key], again[key]) for key in memory)
    direct, cached = ranker.encode(later), ranker.encode_now(later, memory)
    assert all(torch.equal(direct[key], cached[key]) for key in direct)


def test_state_is_tensors_by_request(ranker: Ranker) -> None:
    batch = make_batch(INPUTS, counts=COUNTS)
    assert {value.shape[0] for value in ranker.encode(batch.requests).values()} == {len(COUNTS)}


def test_no_candidates_no_logits(ranker: Ranker) -> None:
    batch = make_batch(INPUTS, counts=(0, 0, 0))
    assert ranker(batch).shape == (0, 2)


def largest_gradient(parameter: Tensor) -> float:
    return 0.0 if parameter.grad is None else float(parameter.grad.to_dense().abs().max())


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("plain", [True, False])
def test_every_parameter_gets_a_gradient(name: str, plain: bool) -> None:
    """From the start values on; every row of an embedding that is read gets one, padding does not.

    Some requests have both histories, some have none. In float64, where rounding is far below the least of them.
    """
    inputs = make_inputs(plain=plain)
    ranker = build_ranker(inputs, CONFIGS[name], seed=1).double()
    lengths = [(3 * r) % 10 for r in range(5 * len(COUNTS))]
    lengths = {"global": lengths, "real_time": lengths}
    batch = make_batch(inputs, counts=COUNTS * 5, lengths=lengths, dtype=torch.float64)
    objective_of(ranker).double()(ranker, batch).total.backward()
    sizes = {key: largest_gradient(parameter) for key, parameter in ranker.named_parameters()}
    without = [key for key, size in sizes.items() if not size > 1e-9 * max(sizes.values())]
    excused = {each: re.compile(rf"backbone\.{each}") for each in WITHOUT_GRADIENT.get(name, ())}
    assert [key for key in without if not any(each.fullmatch(key) for each in excused.values())] == []
    assert [each for each, known in excused.items() if not any(map(known.fullmatch, without))] == []
    for table in ranker.embedding.tables:
        assert table.grad is not None
        assert table.grad.is_sparse
        assert 0 not in table.grad.coalesce().indices()


@pytest.mark.parametrize("name", FORMS)
def test_weights_depend_on_the_seed_alone(name: str) -> None:
    torch.manual_seed(11)
    before = torch.random.get_rng_state()
    first = build_ranker(INPUTS, CONFIGS[name], seed=3).state_dict()
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(12)
    second = build_ranker(INPUTS, CONFIGS[name], seed=3).state_dict()
    other = build_ranker(INPUTS, CONFIGS[name], seed=4).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_state_dict_carries_the_model(ranker: Ranker) -> None:
    batch = make_batch(INPUTS, counts=COUNTS)
    copy = build_ranker(INPUTS, ranker.config, seed=99).eval()
    copy.load_state_dict(ranker.state_dict())
    assert torch.equal(copy(batch), ranker(batch))


def planted(inputs: Inputs, seed: int) -> Batch:
    """Clicked if and only if the candidate is of the category of the recent events: no field alone tells."""
    batch = make_batch(inputs, counts=(2,) * 64, lengths={"global": (0,) * 64, "real_time": (3,) * 64}, seed=seed)
    random = torch.Generator().manual_seed(seed)
    favourite = torch.randint(3, 6, (64,), generator=random, dtype=torch.int32)
    shown = torch.randint(3, 6, (128,), generator=random, dtype=torch.int32)
    batch.requests.histories["real_time"].events.ids[:, :, 4] = favourite[:, None]
    batch.candidates.ids[:, 5] = shown
    clicked = shown == favourite.repeat_interleave(2)
    return replace(batch, labels=clicked[:, None].float(), weights=None)


def auc_of_planted(inputs: Inputs, config: ModelConfig, steps: int = 150) -> float:
    """On new rows, after so many steps."""
    ranker = build_ranker(inputs, config, seed=1)
    tables = {id(table) for table in ranker.embedding.tables}
    dense = torch.optim.AdamW([p for p in ranker.parameters() if id(p) not in tables], lr=3e-3)
    sparse = RowwiseAdagrad(list(ranker.embedding.tables))
    objective = objective_of(ranker)
    for step in range(steps):
        ranker.zero_grad()
        objective(ranker, planted(inputs, step)).total.backward()
        dense.step()
        sparse.step()
    test = planted(inputs, 10_000)
    with torch.no_grad():
        logits = ranker.eval()(test)[:, 0]
    clicked = test.labels[:, 0] == 1
    return float((logits[clicked][:, None] > logits[~clicked]).float().mean())


LEARNERS = [name for name in CONFIGS if name in MODELS and name != "lr"]
LEARNERS += ["bst, apart", "hstu, no bias", "dlrm, attention", "gdcn, cross", "autoint, deep", "masknet, serial"]
"""Every model but LR, which has no interaction to learn, and some in two forms."""
QUICK = ("din", "gdcn", "hemix")
"""Learn it among the fast tests; the others, and other forms of these, among the slow ones."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in LEARNERS],
)
def test_learns_a_planted_interaction(name: str) -> None:
    assert auc_of_planted(make_inputs(plain=True, num_tasks=1), CONFIGS[name]) > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_of_hemix_learns_a_planted_interaction(name: str) -> None:
    """Some seeds tell two of the three categories apart long before the third: an AUC of .78 to .9 on the way to 1."""
    config = switched(name, {**HEMIX.model_dump(), "num_tokens": 5})
    inputs = make_inputs(plain=config.token_groups is None, num_tasks=1)
    assert auc_of_planted(inputs, config, steps=300) > 0.75
