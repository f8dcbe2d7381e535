"""LONGER: counts and costs, among them the paper's own figures, and what may depend on what."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from factories import make_batch, make_inputs
from hemix.batch import Batch, Columns, History
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.longer import LONGER, LONGERConfig
from hemix.models.longer.block import CausalBlock, visible_behind
from hemix.models.longer.token_merge import TokenMerge
from hemix.models.refined import Refined
from hemix.nn.cached_attention import KVCache
from hemix.nn.ragged import Ragged
from hemix.ranker import Ranker, build_ranker, count_parameters
from hemix.refine.drm import DRMConfig

TINY = LONGERConfig(embedding_dim=4, token_dim=8, num_heads=2, merge_size=2, recent_queries=3, ffn_expansion=2)
INPUTS = make_inputs(plain=True)
COUNTS = (2, 3)
LENGTHS = {"global": (5, 3), "real_time": (4, 2)}


def layers(widths: tuple[int, ...]) -> int:
    """Weights and biases of the linear maps between these widths."""
    return sum(a * b + b for a, b in pairwise(widths))


def parameters_of(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def model_of(config: LONGERConfig = TINY, seed: int = 0) -> tuple[Ranker, LONGER]:
    """None of the parameters at its start value."""
    ranker = build_ranker(INPUTS, config, seed=seed).double().eval()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in ranker.backbone.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=random)
    assert isinstance(ranker.backbone, LONGER)
    return ranker, ranker.backbone


def batch_of(lengths: dict[str, tuple[int, ...]] = LENGTHS, seed: int = 0) -> Batch:
    return make_batch(INPUTS, counts=COUNTS, lengths=lengths, dtype=torch.float64, seed=seed)


def with_ids(batch: Batch, change: dict[str, Tensor]) -> Batch:
    """The batch with other ids of events, and so many events as there are rows of ids that are not padding."""
    histories = dict(batch.requests.histories)
    for name, ids in change.items():
        events = Columns(ids=ids, numbers=torch.zeros(*ids.shape[:2], 0, dtype=torch.float64))
        histories[name] = History(
            events=events, times=torch.zeros(ids.shape[:2], dtype=torch.int64), lengths=(ids > 0).any(dim=2).sum(dim=1)
        )
    return replace(batch, requests=replace(batch.requests, histories=histories))


@pytest.mark.parametrize(("learnable", "merge_size"), [(False, 3), (True, 3), (False, 1)])
def test_parameters_are_as_many_as_the_formula_says(learnable: bool, merge_size: int) -> None:
    inputs = make_inputs(plain=True, num_tasks=3)
    config = LONGERConfig(
        token_dim=24,
        merge_size=merge_size,
        inner_layers=2,
        num_layers=4,
        ffn_expansion=5,
        recent_queries=7,
        query_kind="learnable" if learnable else "recent",
        num_candidate_globals=3,
        query_mean=learnable,
        hidden=(40, 20),
    )
    width, event, request, candidate, member = 24, 4 * 16, 2 * 16, 2 * 16, 24 // merge_size

    def block(width: int) -> int:
        return 4 * (width**2 + width) + layers((width, 5 * width, width)) + 4 * width

    count = count_parameters(inputs, config)
    assert count.by_part == {
        "embedding": count.tables,
        "events": 2 * layers((event, member)),
        "merging": 18 * member + (2 * block(member) if merge_size > 1 else 0),
        "request_globals": layers((request, 2 * width)),
        **({"queries": 7 * width} if learnable else {}),
        "candidate_globals": layers((request + candidate, 3 * width)),
        "blocks": 5 * block(width),
        "final_norm": 2 * width,
        "first": layers((request + candidate + 3 * width + learnable * width, 40)),
        "rest": layers((40, 20, 3)),
    }


@pytest.mark.parametrize(("merge_size", "mega"), [(1, 587), (4, 336)])
def test_merging_four_events_saves_what_the_paper_says(merge_size: int, mega: int) -> None:
    """Figures for one layer, 2,048 events of width 32: 587 and 336 MFLOPs, with 12 K^2 d^2 + 13 K d parameters."""
    width, tokens = 32 * merge_size, 2048 // merge_size
    block = CausalBlock(width, num_heads=4, expansion=4)
    assert round(2 * (block.key_cost(tokens) + block.query_cost(tokens, tokens)) / 1e6) == mega
    assert parameters_of(block) == 12 * width**2 + 13 * width


def test_groups_are_counted_from_the_newest_event() -> None:
    """Five events in pairs: the oldest stands alone, beside zeros; a request of two events has one token."""
    merging = TokenMerge(LONGERConfig(token_dim=4, merge_size=2, inner_layers=0), max_length=5)
    torch.nn.init.zeros_(merging.positions)
    events = torch.arange(1.0, 6.0).view(1, 5, 1).expand(2, 5, 2)
    attended = torch.arange(5) < torch.tensor([[5], [2]])
    tokens, there = merging(events, attended)
    assert tokens[0].tolist() == [[1, 1, 2, 2], [3, 3, 4, 4], [5, 5, 0, 0]]
    assert tokens[1, 0].tolist() == [1, 1, 2, 2]
    assert there.tolist() == [[True] * 3, [True, False, False]]


def test_single_events_pass_no_transformer_of_a_group() -> None:
    """Its softmax over one key would be 1, with dead queries and keys: inner layers exist where events are merged."""
    single = TINY.model_copy(update={"merge_size": 1})
    given, without = (build_ranker(INPUTS, single.model_copy(update={"inner_layers": n}), seed=0) for n in (1, 0))
    assert given.state_dict().keys() == without.state_dict().keys()
    assert given.cost() == without.cost()
    again = parse_config(LONGERConfig, single.model_dump(mode="json"), "model")
    assert again == single


def test_the_mask_shows_what_stands_behind() -> None:
    """Three queries of four tokens, of which the third is not there: it sees itself, and no other sees it."""
    attended = torch.tensor([[True, True, False, True]])
    assert visible_behind(attended, 3)[0].int().tolist() == [[1, 1, 0, 1], [0, 1, 0, 1], [0, 0, 1, 1]]


@pytest.mark.parametrize("age", range(9))
def test_an_event_changes_its_group_and_newer_tokens(age: int) -> None:
    """Of request 0, whose nine events make five groups; the three newest are queries, behind two request globals."""
    ranker, _ = model_of()
    name, place = ("real_time", 3 - age) if age < 4 else ("global", 8 - age)
    batch = batch_of()
    ids = batch.requests.histories[name].events.ids.clone()
    ids[0, place, 1] = ids[0, place, 1] % 30 + 1
    before, after = ranker.encode(batch.requests), ranker.encode(with_ids(batch, {name: ids}).requests)

    def changed(layer: int) -> list[int]:
        difference = (before[f"keys.{layer}"] - after[f"keys.{layer}"])[0].abs().amax(dim=(0, 2))
        return difference.gt(1e-9).nonzero().flatten().tolist()

    group = age // 2
    assert changed(0) == [2 + group]
    assert changed(1) == changed(2) == [0, 1, *(2 + newer for newer in range(3) if newer <= group)]
    assert before["keys.0"].shape[2] == 2 + 5
    assert before["keys.1"].shape[2] == 2 + 3


def test_where_the_sequence_is_cut_is_not_seen() -> None:
    """With one map for both histories, an event may be of either: places and groups are those of one sequence."""
    ranker, model = model_of()
    model.events[1].load_state_dict(model.events[0].state_dict())
    batch = batch_of({"global": (9, 5), "real_time": (0, 0)})
    whole = batch.requests.histories["global"].events.ids
    for cut in range(6):
        older, recent = whole[:, : 5 - cut], torch.zeros_like(whole)
        recent[0, : 4 + cut] = whole[0, 5 - cut : 9]
        recent[1, :cut] = whole[1, 5 - cut : 5]
        again = with_ids(batch, {"global": older, "real_time": recent})
        torch.testing.assert_close(ranker(again), ranker(batch))


def test_order_of_events_is_seen() -> None:
    ranker, _ = model_of()
    batch = batch_of()
    ids = batch.requests.histories["global"].events.ids
    assert not torch.equal(ids[0, 0], ids[0, 1])
    swapped = ids.clone()
    swapped[0, :2] = ids[0, :2].flip(0)
    assert (ranker(with_ids(batch, {"global": swapped})) - ranker(batch))[:2].abs().min() > 1e-6


def test_a_token_of_the_candidate_sees_those_behind_it() -> None:
    ranker, model = model_of()
    batch = batch_of()
    state, ragged = ranker.encode(batch.requests), Ragged(batch.offsets, batch.num_rows)
    kept = KVCache(keys=state["keys.0"], values=state["values.0"], attended=state["attended.0"]), ragged
    x = torch.randn(sum(COUNTS), 2, 8, dtype=torch.float64)
    before = model.blocks[0].ask(x, *kept)
    for token, seen_by in ((0, [True, False]), (1, [True, True])):
        other = x.clone()
        other[:, token] += 1 + torch.arange(8)
        difference = (model.blocks[0].ask(other, *kept) - before).abs().amax(dim=2)
        assert difference.gt(1e-6).tolist() == [seen_by] * sum(COUNTS)


def test_learned_queries_are_there_without_events() -> None:
    ranker, model = model_of(TINY.model_copy(update={"query_kind": "learnable"}))
    batch = batch_of({"global": (0, 0), "real_time": (0, 0)})
    before = ranker(batch)
    assert model.queries is not None
    with torch.no_grad():
        model.queries += torch.randn(model.queries.shape)
    assert (ranker(batch) - before).abs().min() > 1e-9


def test_the_mean_of_the_queries_is_of_the_request() -> None:
    """It costs the candidate nothing, and the request the rest of the last layer."""
    without, whole = (build_ranker(INPUTS, TINY.model_copy(update={"query_mean": on}), seed=0).cost() for on in (0, 1))
    assert without.per_candidate == whole.per_candidate
    queries, width = 2 + 3, 8
    layer = queries * (2 * width**2 + 2 * queries * width + 2 * 2 * width**2)
    assert whole.per_request - without.per_request == layer + width * 128


def test_longer_histories_cost_a_candidate_the_first_layer_only() -> None:
    """Ten events more: five tokens, each looked at by two tokens of width 8."""
    _, model = model_of()
    long, short = (model.cost({"global": events, "real_time": 8}) for events in (18, 8))
    assert long.per_candidate - short.per_candidate == 2 * 5 * 2 * 8


def test_events_of_a_group_share_its_weight() -> None:
    ranker, model = model_of()
    batch = batch_of()
    state, ragged = ranker.encode(batch.requests), Ragged(batch.offsets, batch.num_rows)
    candidate = ranker.embedding.candidate(batch.candidates)
    maps = {found.history: found.weights[0] for found in model.attention(state, candidate, ragged)}
    oldest_first = torch.cat([maps["global"][..., :5], maps["real_time"][..., :4]], dim=2)
    groups = oldest_first.flip(2)
    for first in range(0, 8, 2):
        torch.testing.assert_close(groups[..., first], groups[..., first + 1])
    total = oldest_first.sum(dim=2)
    assert (total > 0).all()
    assert (total < 1).all()


def test_updates_make_the_stream() -> None:
    ranker, model = model_of()
    batch = batch_of()
    candidate = ranker.embedding.candidate(batch.candidates)
    updates = model.updates(ranker.encode(batch.requests), candidate, Ragged(batch.offsets, batch.num_rows))
    assert [u.name for u in updates] == [f"block {b} {part}" for b in (1, 2, 3) for part in ("attention", "ffn")]
    for before, after in pairwise(updates):
        assert torch.equal(before.stream + before.added, after.stream)


def test_behind_a_module_all_fields_are_the_candidates() -> None:
    ranker = build_ranker(INPUTS, TINY.model_copy(update={"refine": DRMConfig()}), seed=0)
    assert isinstance(ranker.backbone, Refined)
    assert isinstance(ranker.backbone.model, LONGER)
    assert ranker.backbone.model.request_globals is None


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="token_dim must be a multiple of num_heads; token_dim is 30, num_heads is 4"):
        parse_config(LONGERConfig, {"token_dim": 30, "merge_size": 2}, "model")
    with pytest.raises(ConfigError, match="multiple of merge_size; token_dim is 32, merge_size is 5: change one"):
        parse_config(LONGERConfig, {"token_dim": 32, "merge_size": 5}, "model")
    for key in ("num_candidate_globals", "recent_queries", "num_layers", "merge_size"):
        with pytest.raises(ConfigError, match=key):
            parse_config(LONGERConfig, {key: 0}, "model")
    with pytest.raises(ConfigError, match="query_kind"):
        parse_config(LONGERConfig, {"query_kind": "uniform"}, "model")


def test_a_history_must_be_there() -> None:
    with pytest.raises(ConfigError, match="reads a history, and the data has none"):
        build_ranker(make_inputs(histories=()), TINY, seed=0)
    with pytest.raises(ConfigError, match=r"reads a history, and model.histories is empty"):
        build_ranker(INPUTS, TINY.model_copy(update={"histories": ()}), seed=0)
    with pytest.raises(ConfigError, match=r"got 'realtime'; .* Did you mean 'real_time'\?"):
        build_ranker(INPUTS, TINY.model_copy(update={"histories": ("realtime",)}), seed=0)
