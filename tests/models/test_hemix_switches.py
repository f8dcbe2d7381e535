"""What each switch of HeMix changes and what it leaves alone, presets in an experiment file, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from factories import make_batch, make_inputs
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.hemix import PRESETS, HeMix, HeMixConfig
from hemix.nn.fields import Layout
from hemix.nn.mixing import HeadMixing, SelfAttention
from hemix.nn.ragged import Ragged
from hemix.nn.token_ffn import SharedFFN
from hemix.nn.tokenizers import GroupTokenizer, feature_groups
from hemix.ranker import Ranker, build_ranker
from hemix_switches import GROUPED, GROUPS, SMALL

INPUTS = make_inputs()
COUNTS = (2, 3, 1)
LENGTHS = {"global": (4, 6, 3), "real_time": (3, 5, 2)}


def config(**change: Any) -> HeMixConfig:
    return HeMixConfig.model_validate({**SMALL, **change})


def mixer_input(ranker: Ranker, *, shift: float = 0.0, seed: int = 0) -> Tensor:
    """[T_R ; T_G ; NS] of a batch, `shift` added to all fields of the candidates."""
    batch = make_batch(ranker.inputs, counts=COUNTS, lengths=LENGTHS, seed=seed)
    assert isinstance(ranker.backbone, HeMix)
    fields = ranker.embedding.candidate(batch.candidates)
    fields = replace(fields, values=fields.values + shift)
    return ranker.backbone.mixer_input(ranker.encode(batch.requests), fields, Ragged(batch.offsets, batch.num_rows))


@pytest.mark.parametrize(
    ("change", "answers"),
    [
        ({"num_dynamic_global": 0}, 6),
        ({"num_dynamic_real_time": 0}, 5),
        ({"num_dynamic_global": 0, "num_dynamic_real_time": 0}, 3),
        ({"num_fixed_global": 0, "num_fixed_real_time": 0}, 5),
        ({"merge_histories": True}, 8),
        ({"user_only_dynamic": True}, 8),
    ],
)
def test_switching_queries_leaves_the_feature_tokens_alone(change: dict[str, Any], answers: int) -> None:
    """The last five rows: bit for bit those of the whole model, with the same weights behind them."""
    whole = mixer_input(build_ranker(INPUTS, config(), seed=3))
    without = mixer_input(build_ranker(INPUTS, config(**change), seed=3))
    assert (whole.shape[1], without.shape[1]) == (8 + 5, answers + 5)
    assert torch.equal(whole[:, -5:], without[:, -5:])


def test_cells_switch_off_one_by_one() -> None:
    """Rows of T: dynamic and fixed over the real-time history (3 + 2), then over the global one (2 + 1)."""
    whole = mixer_input(build_ranker(INPUTS, config(), seed=3))
    without = mixer_input(build_ranker(INPUTS, config(num_dynamic_real_time=0), seed=3))
    assert torch.equal(whole[:, 5:8], without[:, 2:5])


@pytest.mark.parametrize("change", [{}, {"merge_histories": True}, {"tokenizer": "per_token_linear"}])
def test_user_only_queries_do_not_see_the_candidate(change: dict[str, Any]) -> None:
    ranker = build_ranker(INPUTS, config(user_only_dynamic=True, **change), seed=0)
    before, after = mixer_input(ranker), mixer_input(ranker, shift=1.0)
    assert torch.equal(before[:, :8], after[:, :8])
    assert not torch.equal(before[:, 8:], after[:, 8:])
    assert not torch.equal(before[:, :3], mixer_input(ranker, seed=1)[:, :3])


def test_a_group_of_request_features_does_not_see_the_candidate() -> None:
    """Groups 1 and 3 have no feature of the candidate."""
    ranker = build_ranker(INPUTS, config(**GROUPED), seed=0)
    before, after = mixer_input(ranker)[:, 8:], mixer_input(ranker, shift=1.0)[:, 8:]
    assert [torch.equal(before[:, m], after[:, m]) for m in range(4)] == [False, True, False, True]


def test_a_token_sees_its_group_alone() -> None:
    ranker = build_ranker(INPUTS, config(**GROUPED), seed=0)
    assert isinstance(ranker.backbone, HeMix)
    assert isinstance(ranker.backbone.tokenizer, GroupTokenizer)
    batch = make_batch(INPUTS, counts=COUNTS)
    request, candidate = ranker.embedding.request(batch.requests.columns), ranker.embedding.candidate(batch.candidates)
    spread = Ragged(batch.offsets, batch.num_rows).spread(ranker.backbone.tokenizer.encode(request))
    before = ranker.backbone.tokenizer(candidate, spread)
    for place, name in enumerate(candidate.names):
        pieces = list(candidate.values.split(candidate.widths, dim=1))
        pieces[place] = pieces[place] + 1
        after = ranker.backbone.tokenizer(replace(candidate, values=torch.cat(pieces, dim=1)), spread)
        moved = [not torch.equal(before[:, m], after[:, m]) for m in range(len(GROUPS))]
        assert moved == [name in group for group in GROUPS]


def test_the_order_of_histories_in_a_merged_sequence_means_nothing() -> None:
    """One softmax over both: with one map of events, their names can be swapped."""
    inputs = make_inputs(plain=True)
    ranker = build_ranker(inputs, config(merge_histories=True, event_projection="shared"), seed=0)
    swapped = config(
        merge_histories=True, event_projection="shared", global_history="real_time", real_time_history="global"
    )
    other = build_ranker(inputs, swapped, seed=0)
    other.load_state_dict(ranker.state_dict())
    torch.testing.assert_close(mixer_input(other), mixer_input(ranker))


@given(tokens=st.integers(1, 9), width=st.integers(1, 20))
def test_rankmixer_permutes(tokens: int, width: int) -> None:
    """Nothing is lost or padded; where there is room, every new token holds a part of every old one."""
    x = torch.arange(float(tokens * width)).view(1, tokens, width)
    mixed = HeadMixing(tokens, width)(x)
    assert torch.equal(mixed.flatten().sort().values, x.flatten())
    for token in mixed[0]:
        parts = (token // width).long().bincount(minlength=tokens)
        assert set(parts.tolist()) <= {width // tokens, -(-width // tokens)}


def test_rankmixer_by_pencil() -> None:
    """Even: slices of two. Uneven: four values cannot be one of each of three tokens."""
    even = HeadMixing(2, 4)(torch.arange(8.0).view(1, 2, 4))
    assert even.tolist() == [[[0, 1, 4, 5], [2, 3, 6, 7]]]
    uneven = HeadMixing(3, 4)(torch.arange(12.0).view(1, 3, 4))
    assert uneven.tolist() == [[[0, 1, 4, 8], [2, 5, 6, 9], [3, 7, 10, 11]]]


def test_shared_maps_treat_tokens_alike() -> None:
    """Permuting the tokens permutes what self-attention and the shared FFN add to them."""
    x, order = torch.randn(4, 5, 12), torch.randperm(5)
    for part in (SelfAttention(5, 12, 3), SharedFFN(5, 12, 2)):
        torch.testing.assert_close(part(x[:, order]), part(x)[:, order], rtol=1e-4, atol=1e-6)


def test_groups_are_cut_from_each_side_in_turn() -> None:
    request, candidate = (
        Layout(names=("a", "b", "c", "d"), widths=(4,) * 4),
        Layout(names=("x", "y", "z"), widths=(4,) * 3),
    )

    def groups(num_tokens: int, *, left: Layout = request, right: Layout = candidate) -> list[str]:
        return ["".join(group) for group in feature_groups(None, num_tokens, left, right)]

    none = Layout(names=(), widths=())
    assert groups(4) == ["ab", "xy", "cd", "z"]
    assert groups(7) == ["a", "x", "b", "y", "c", "z", "d"]
    assert groups(2) == ["abcd", "xyz"]
    assert groups(1) == ["abcdxyz"]
    assert groups(2, left=none) == ["xy", "z"]
    assert groups(3, right=none) == ["ab", "c", "d"]
    for count in range(1, 8):
        assert sorted("".join(groups(count))) == list("abcdxyz")


def test_a_preset_is_a_set_of_defaults() -> None:
    """Keys that are written win; what is kept has numbers in place of the name, and reads back equal."""
    found = parse_config(HeMixConfig, yaml.safe_load("{preset: tiny, num_blocks: 5}"), "model")
    assert found == PRESETS["tiny"].model_copy(update={"num_blocks": 5})
    assert (found.token_dim, found.num_blocks) == (32, 5)
    dumped = found.model_dump(mode="json")
    assert "preset" not in dumped
    assert HeMixConfig.model_validate(dumped) == found
    assert PRESETS["public"] == HeMixConfig()


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "unknown preset": ({"preset": "tinny"}, r"preset: .*'tiny'.*got 'tinny'"),
    "attention heads": (
        {"token_dim": 30, "num_attention_heads": 4, "num_mixing_heads": 3},
        "token_dim must be a multiple of num_attention_heads; token_dim is 30",
    ),
    "mixing heads": ({"token_dim": 30, "num_attention_heads": 3}, "num_mixing_heads is 4"),
    "heads of self-attention": ({"mixer": "self_attention", "num_mixing_heads": 5}, "num_mixing_heads is 5"),
    "negative": ({"num_fixed_global": -1}, "num_fixed_global"),
    "one history twice": ({"real_time_history": "global"}, "both 'global'; set one of them to null"),
    "a history nobody asks": (
        {"num_tokens": 4, "num_dynamic_global": 0, "num_fixed_global": 0},
        "num_dynamic_global and num_fixed_global are both 0: set one of them, or global_history to null",
    ),
    "merged with one": ({"merge_histories": True, "real_time_history": None}, "real_time_history is null"),
    "tokens left open": ({"num_dynamic_global": 0}, "where a num_dynamic is 0, set num_tokens"),
    "too few tokens": ({"num_tokens": 3}, "4 are asked for, there are 3 tokens"),
    "groups of another tokenizer": ({"token_groups": [["user"]]}, "tokenizer is 'auto_split_mlp'"),
    "tokens and groups": (
        {"tokenizer": "semantic_group", "token_groups": [["user"]], "num_tokens": 2},
        "num_tokens is 2, token_groups has 1",
    ),
    "too few groups": ({"tokenizer": "semantic_group", "token_groups": [["user"]]}, "there are 1 tokens"),
    "task token unmixed": ({"pooling": "task_token", "mixer": "identity"}, "it would see nothing"),
    "task token and experts": ({"pooling": "task_token", "towers": {"name": "mmoe"}}, "towers 'mmoe' are experts"),
    "crosses with nothing": (
        {"history_crosses": True, "global_history": None, "real_time_history": None},
        "history_crosses needs a history, and both are null",
    ),
    "no dynamic query to restrict": (
        {"user_only_dynamic": True, "num_tokens": 4, "num_dynamic_global": 0, "num_dynamic_real_time": 0},
        "there are none; set it to false",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_that_do_not_fit_each_other(name: str) -> None:
    values, message = WRONG[name]
    with pytest.raises(ConfigError, match=message):
        parse_config(HeMixConfig, values, "model")


def test_unused_heads_need_not_divide() -> None:
    assert config(mixer="rankmixer", num_mixing_heads=5).num_mixing_heads == 5


UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "unknown feature": (
        {"tokenizer": "semantic_group", "token_groups": (("user", "itm"), ("hour",), ("tags",))},
        r"Unknown model.token_groups.0: feature 'itm'; .* Did you mean 'item'",
    ),
    "feature in no group": ({**GROUPED, "token_groups": GROUPS[:3]}, "tags, age, profile are in none"),
    "empty group": ({**GROUPED, "token_groups": (*GROUPS, ())}, r"model.token_groups.4 is \[\]"),
    "feature twice": ({**GROUPED, "token_groups": (*GROUPS, ("user", "user"))}, "each once"),
    "more tokens than features": ({"tokenizer": "semantic_group", "num_tokens": 12}, "11 features for 12 tokens"),
    "too few request groups": ({**GROUPED, "user_only_dynamic": True}, "3 are asked for, 2 groups"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_settings_that_do_not_fit_the_data(name: str) -> None:
    change, message = UNFIT[name]
    values = {**SMALL, **({"num_tokens": None} if "token_groups" in change else {}), **change}
    with pytest.raises(ConfigError, match=message):
        build_ranker(INPUTS, HeMixConfig.model_validate(values), seed=0)


def test_one_map_needs_one_kind_of_event() -> None:
    fewer = replace(INPUTS.histories[1], fields=INPUTS.histories[1].fields[:-1], shared=())
    inputs = replace(INPUTS, histories=(INPUTS.histories[0], fewer))
    with pytest.raises(ConfigError, match=r"needs histories with the same fields; one has .*price \(4\), the other"):
        build_ranker(inputs, config(event_projection="shared"), seed=0)


def test_crosses_need_a_shared_field() -> None:
    inputs = replace(INPUTS, histories=(INPUTS.histories[0], replace(INPUTS.histories[1], shared=())))
    with pytest.raises(ConfigError, match=r"history 'real_time' shares none\. Add item_features to data\.histories"):
        build_ranker(inputs, config(history_crosses=True), seed=0)


def test_queries_of_the_user_need_something_of_the_user() -> None:
    with pytest.raises(ConfigError, match=r"model.user_only_dynamic makes queries of the request's features"):
        build_ranker(replace(INPUTS, request=()), config(user_only_dynamic=True), seed=0)
