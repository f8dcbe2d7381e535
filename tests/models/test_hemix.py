"""What the paper notes say must hold of HeMix: shapes, counts and what may depend on what."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from factories import make_batch, make_inputs, take_requests
from hemix.batch import Columns, History, Inputs
from hemix.errors import ConfigError
from hemix.models.hemix import PRESETS, HeMix, HeMixConfig
from hemix.nn.mixer_block import MixerBlock
from hemix.nn.mixing import HeteroMixing, fuse, unfuse
from hemix.nn.ragged import Ragged
from hemix.nn.token_ffn import PerTokenFFN
from hemix.ranker import Ranker, build_ranker

TINY = PRESETS["tiny"]
INPUTS = make_inputs()
COUNTS = (2, 3, 1)
LENGTHS = {"global": (4, 6, 3), "real_time": (3, 5, 2)}


def mixer_input(ranker: Ranker, batch_seed: int = 0, change: dict[str, History] | None = None) -> Tensor:
    """[T_R ; T_G ; NS] of the batch; `change` replaces histories."""
    batch = make_batch(ranker.inputs, counts=COUNTS, lengths=LENGTHS, seed=batch_seed)
    histories = {**batch.requests.histories, **(change or {})}
    state = ranker.encode(replace(batch.requests, histories=histories))
    assert isinstance(ranker.backbone, HeMix)
    fields = ranker.embedding.candidate(batch.candidates)
    return ranker.backbone.mixer_input(state, fields, Ragged(batch.offsets, batch.num_rows))


def rows(config: HeMixConfig) -> dict[str, slice]:
    """Where the parts of the mixer's input stand."""
    sizes = {
        "dynamic real-time": config.num_dynamic_real_time,
        "fixed real-time": config.num_fixed_real_time,
        "dynamic global": config.num_dynamic_global,
        "fixed global": config.num_fixed_global,
        "features": config.num_dynamic_global + config.num_dynamic_real_time,
    }
    ends = torch.tensor(list(sizes.values())).cumsum(0).tolist()
    return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}


def changed(config: HeMixConfig, before: Tensor, after: Tensor) -> set[str]:
    return {name for name, part in rows(config).items() if not torch.equal(before[:, part], after[:, part])}


@given(rows=st.integers(1, 4), tokens=st.integers(1, 7), heads=st.integers(1, 6), width=st.integers(1, 3))
def test_unfuse_is_the_inverse_of_fuse(rows: int, tokens: int, heads: int, width: int) -> None:
    """For any number of heads, also one that is not the number of tokens."""
    x = torch.randn(rows, tokens, heads * width)
    fused = fuse(x, heads)
    assert fused.shape == (heads, rows, tokens * width)
    assert torch.equal(unfuse(fused, tokens), x)


def test_fuse_puts_slices_of_one_head_side_by_side() -> None:
    """Two tokens of width 4, two heads: head 0 holds the first halves."""
    x = torch.arange(8.0).view(1, 2, 4)
    assert fuse(x, 2).tolist() == [[[0, 1, 4, 5]], [[2, 3, 6, 7]]]


def test_mixing_adds_to_the_token_it_came_from() -> None:
    """With the identity as low-rank map of one head, slice h of a token comes back to slice h of that token."""
    mixing = HeteroMixing(num_tokens=2, width=4, num_heads=2, rank=4)
    with torch.no_grad():
        for parameter in mixing.parameters():
            parameter.zero_()
        mixing.reduce.weight[1] = torch.eye(4)
        mixing.expand.weight[1] = torch.eye(4)
    x = torch.rand(3, 2, 4)
    expected = x.clone()
    expected[:, :, :2] = 0
    torch.testing.assert_close(mixing(x), expected)


@pytest.mark.parametrize("position", ["post", "pre"])
def test_a_block_without_its_second_maps_is_its_norms(position: str) -> None:
    mixing, ffn = HeteroMixing(5, 12, num_heads=3, rank=4), PerTokenFFN(5, 12, expansion=2)
    block = MixerBlock(mixing, ffn, 12, "layer_norm", pre_norm=position == "pre")
    nn.init.zeros_(mixing.expand.weight)
    nn.init.zeros_(ffn.down.weight)
    x = torch.randn(4, 5, 12)
    expected = x if position == "pre" else nn.functional.layer_norm(nn.functional.layer_norm(x, (12,)), (12,))
    torch.testing.assert_close(block(x), expected)


def test_a_candidate_changes_dynamic_rows_only() -> None:
    ranker = build_ranker(INPUTS, TINY, seed=0)
    batch = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS)
    fields = ranker.embedding.candidate(batch.candidates)
    state, ragged = ranker.encode(batch.requests), Ragged(batch.offsets, batch.num_rows)
    assert isinstance(ranker.backbone, HeMix)
    before = ranker.backbone.mixer_input(state, fields, ragged)
    after = ranker.backbone.mixer_input(state, replace(fields, values=fields.values + 1), ragged)
    assert changed(TINY, before, after) == {"dynamic real-time", "dynamic global", "features"}


@pytest.mark.parametrize(("history", "expected"), [("real_time", "real-time"), ("global", "global")])
def test_an_event_changes_the_rows_of_its_history_only(history: str, expected: str) -> None:
    ranker = build_ranker(INPUTS, TINY, seed=0)
    other = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS, seed=1).requests.histories[history]
    found = changed(TINY, mixer_input(ranker), mixer_input(ranker, change={history: other}))
    assert found == {f"dynamic {expected}", f"fixed {expected}"}


def test_order_of_events_is_not_seen() -> None:
    """Nothing but a field of the event (its time gap) can tell order: reversing the events changes nothing."""
    ranker = build_ranker(INPUTS, TINY, seed=0)
    reversed_histories = {}
    for name, history in make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS).requests.histories.items():
        steps = torch.arange(history.events.ids.shape[1])
        place = torch.where(steps < history.lengths[:, None], history.lengths[:, None] - 1 - steps, steps)
        request = torch.arange(len(COUNTS))[:, None]
        events = Columns(ids=history.events.ids[request, place], numbers=history.events.numbers[request, place])
        reversed_histories[name] = replace(history, events=events)
    torch.testing.assert_close(mixer_input(ranker, change=reversed_histories), mixer_input(ranker))


def test_an_empty_history_gives_the_learned_vectors() -> None:
    ranker = build_ranker(INPUTS, TINY, seed=0)
    none = make_batch(INPUTS, counts=COUNTS, lengths={**LENGTHS, "global": (0, 0, 0)}).requests.histories["global"]
    x = mixer_input(ranker, change={"global": none})
    assert isinstance(ranker.backbone, HeMix)
    empty = ranker.backbone.queries["global"].empty
    places = rows(TINY)
    found = torch.cat([x[:, places["dynamic global"]], x[:, places["fixed global"]]], dim=1)
    assert torch.equal(found, empty.expand(sum(COUNTS), -1, -1))


def test_many_candidates_score_as_each_alone() -> None:
    ranker = build_ranker(INPUTS, TINY, seed=0).eval()
    batch = make_batch(INPUTS, counts=(40,))
    together = ranker(batch)
    assert together.std() > 0
    for row in (0, 17, 39):
        candidate = Columns(ids=batch.candidates.ids[row : row + 1], numbers=batch.candidates.numbers[row : row + 1])
        alone = ranker.score(ranker.encode(batch.requests), candidate, torch.tensor([0, 1]))
        torch.testing.assert_close(alone[0], together[row], rtol=1e-4, atol=1e-6)


def test_a_missing_history_must_be_given_up_by_name() -> None:
    inputs: Inputs = make_inputs(histories=("global",))
    with pytest.raises(ConfigError, match=r"model.real_time_history must name a history of the data, got 'real_time'"):
        build_ranker(inputs, TINY, seed=0)
    ranker = build_ranker(inputs, TINY.model_copy(update={"real_time_history": None}), seed=0)
    assert ranker(make_batch(inputs, counts=COUNTS)).isfinite().all()


def test_norms_follow_depth() -> None:
    assert (HeMixConfig(num_blocks=3).pre_norm, HeMixConfig(num_blocks=3).norm_kind) == (False, "layer_norm")
    assert (HeMixConfig(num_blocks=4).pre_norm, HeMixConfig(num_blocks=4).norm_kind) == (True, "rms_norm")
    assert HeMixConfig(num_blocks=4, norm_position="post").norm_kind == "layer_norm"
    assert HeMixConfig(num_blocks=1, norm="rms_norm").norm_kind == "rms_norm"


def test_a_history_may_come_whole() -> None:
    """A history without a cut is read for every request anew, not remembered."""
    whole = tuple(replace(history, part="all") for history in INPUTS.histories)
    ranker = build_ranker(replace(INPUTS, histories=whole), TINY, seed=0)
    batch = make_batch(INPUTS, counts=COUNTS)
    assert ranker.remember(batch.requests) == {}
    assert take_requests(batch, [0, 1, 2]).num_rows == len(ranker(batch))
