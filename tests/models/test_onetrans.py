"""OneTrans: counts, who sees whom, the pyramid, and configuration."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from factories import make_batch, make_inputs
from hemix.batch import Batch, Columns, HistorySpec
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.onetrans import OneTrans, OneTransConfig
from hemix.models.onetrans.model import asking_events
from hemix.nn.fields import Fields, State
from hemix.nn.ragged import Ragged
from hemix.ranker import Ranker, build_ranker, count_parameters

INPUTS = make_inputs(plain=True)
COUNTS = (2, 3, 1)
LENGTHS = {"global": (4, 9, 0), "real_time": (3, 5, 2)}
GROUPS = (("user", "item"), ("hour",), ("category",))
SMALL: dict[str, Any] = {
    "embedding_dim": 4,
    "num_tokens": 3,
    "token_dim": 12,
    "num_heads": 3,
    "ffn_expansion": 2,
    "tower_hidden": (5,),
}


def config(**change: Any) -> OneTransConfig:
    return OneTransConfig(**{**SMALL, **change})


def opened(ranker: Ranker, batch: Batch) -> tuple[OneTrans, State, Fields, Ragged]:
    assert isinstance(ranker.backbone, OneTrans)
    candidate = ranker.embedding.candidate(batch.candidates)
    return ranker.backbone, ranker.encode(batch.requests), candidate, Ragged(batch.offsets, batch.num_rows)


def layers(*widths: int) -> int:
    """Weights and biases of the linear maps between these widths."""
    return sum(a * b + b for a, b in pairwise(widths))


def closed_form(config: OneTransConfig, *, event: int, fields: int, tasks: int) -> dict[str, int]:
    d, m, k, blocks = config.token_dim, config.feature_tokens, config.ffn_expansion, config.num_blocks
    histories = 2 if config.histories is None else len(config.histories)
    separators = max(0, histories - 1) if config.separator else 0
    ffn = 2 * k * d * d + k * d + d
    if config.shared_parameters:
        maps = blocks * (3 * d * d + ffn)
    else:
        of_events = (blocks * 2 * d * d + (blocks - 1) * (d * d + ffn)) if histories else 0
        maps = blocks * m * (3 * d * d + ffn) + of_events
    hidden = config.tokenizer_hidden or 2 * m * d
    widths = [config.embedding_dim * len(group) for group in GROUPS]
    tokenizer = {
        "auto_split": layers(fields, hidden, m * d) + 2 * m * d,
        "group": sum(width * d + d for width in widths) + 2 * m * d,
    }
    parts = {
        "events": histories * layers(event, d),
        "separator": d if separators else 0,
        "positions": (9 * histories + separators) * d if config.position == "recency" else 0,
        "tokenizer": tokenizer[config.tokenizer],
        "blocks": maps + blocks * (d * d + 2 * d),
        "towers": tasks * layers(m * d if config.pooling == "flatten" else d, *config.tower_hidden, 1),
    }
    return {part: number for part, number in parts.items() if number}


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"tokenizer_hidden": 7, "num_blocks": 1},
        {"shared_parameters": True, "attention": "full", "pyramid": False},
        {"separator": False, "position": "recency", "pooling": "mean"},
        {"tokenizer": "group", "token_groups": GROUPS, "num_blocks": 4, "position": "recency"},
        {"histories": ("global",)},
        {"histories": ()},
    ],
)
def test_parameters_are_as_many_as_the_formula_says(change: dict[str, Any]) -> None:
    count = count_parameters(INPUTS, config(**change))
    expected = closed_form(config(**change), event=4 * 4, fields=4 * 4, tasks=2)
    assert {part: number for part, number in count.by_part.items() if part != "embedding"} == expected


def test_events_that_ask_become_fewer() -> None:
    """The sizes of OneTrans_S; in the last block nobody would read what events find."""
    assert asking_events(1190, 12, 6, pyramid=True) == [1190, 954, 719, 483, 248, 0]
    assert asking_events(100, 8, 3, pyramid=True) == [100, 54, 0]
    assert asking_events(100, 8, 3, pyramid=False) == [100, 100, 0]
    assert asking_events(5, 8, 4, pyramid=True) == [5, 5, 5, 0]
    assert asking_events(0, 8, 2, pyramid=True) == [0, 0]
    assert asking_events(100, 8, 1, pyramid=True) == [0]


@pytest.mark.parametrize(("pyramid", "entering"), [(True, [19, 19, 14, 8]), (False, [19, 19, 19, 19])])
def test_a_block_sees_the_events_that_left_the_one_before(pyramid: bool, entering: list[int]) -> None:
    """9 events, a separator, 9 events; 3 tokens."""
    ranker = build_ranker(INPUTS, config(num_blocks=4, pyramid=pyramid), seed=0)
    longest = {"global": (9, 0, 0), "real_time": (9, 0, 0)}
    state = ranker.encode(make_batch(INPUTS, counts=COUNTS, lengths=longest).requests)
    assert [state[f"keys.{block}"].shape[2] for block in range(4)] == entering


def with_event(batch: Batch, name: str, place: int) -> Batch:
    """Another event at this place of the first request's history."""
    history = batch.requests.histories[name]
    ids = history.events.ids.clone()
    ids[0, place] = ids[0, place] % 3 + 1
    changed = replace(history, events=Columns(ids=ids, numbers=history.events.numbers))
    return replace(batch, requests=replace(batch.requests, histories={**batch.requests.histories, name: changed}))


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_events_see_earlier_events(attention: str) -> None:
    """The third last event of 4 + separator + 3; state stands latest first."""
    ranker = build_ranker(INPUTS, config(attention=attention, pyramid=False), seed=0)
    batch = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS)
    before, after = (ranker.encode(x.requests) for x in (batch, with_event(batch, "real_time", 0)))
    for block in (0, 1):
        moved = (before[f"values.{block}"] != after[f"values.{block}"]).any(dim=3).any(dim=1) & before["attended"]
        assert not moved[1:].any()
        expected = {0: [2], 1: [0, 1, 2] if attention == "causal" else list(range(8))}
        assert moved[0].nonzero().flatten().tolist() == expected[block]


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_tokens_see_earlier_tokens(attention: str) -> None:
    """The hour is in the second group alone: it reaches the second and the third token, under `full` all."""
    ranker = build_ranker(INPUTS, config(tokenizer="group", token_groups=GROUPS, attention=attention), seed=0)
    batch = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS)
    columns = batch.requests.columns
    ids = columns.ids.clone()
    ids[:, 4] = ids[:, 4] % 20 + 1
    other = replace(batch, requests=replace(batch.requests, columns=Columns(ids=ids, numbers=columns.numbers)))

    def last(batch: Batch) -> Tensor:
        backbone, *given = opened(ranker, batch)
        update = backbone.updates(*given)[-1]
        return update.stream + update.added

    moved = (last(batch) != last(other)).any(dim=2)
    assert moved.tolist() == [[attention == "full", True, True]] * batch.num_rows


@pytest.mark.parametrize("change", [{}, {"position": "recency"}, {"tokenizer": "group", "shared_parameters": True}])
def test_updates_make_the_stream(change: dict[str, Any]) -> None:
    """Two per block; what is added is what the next one finds, and the last one what is read."""
    ranker = build_ranker(INPUTS, config(**change), seed=0).eval()
    batch = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS)
    backbone, *given = opened(ranker, batch)
    updates = backbone.updates(*given)
    assert [update.name for update in updates] == [
        f"block {block} {part}" for block in (1, 2, 3) for part in ("attention", "ffn")
    ]
    assert torch.equal(updates[0].stream, backbone.tokens(*given))
    assert all(torch.equal(before.stream + before.added, after.stream) for before, after in pairwise(updates))
    last = backbone.pool(updates[-1].stream + updates[-1].added)
    torch.testing.assert_close(backbone.towers(last), ranker(batch))


def test_what_is_encoded_is_without_a_candidate() -> None:
    """Keys and values of the events are the request's; the tokens of the features alone are the candidate's."""
    ranker = build_ranker(INPUTS, config(), seed=0)
    state = ranker.encode(make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS).requests)
    assert {key for key in state if key.startswith(("keys", "values"))} == {
        f"{kind}.{block}" for kind in ("keys", "values") for block in range(3)
    }
    assert set(ranker.remember(make_batch(INPUTS, counts=COUNTS).requests)) == {"global.tokens", "global.attended"}


def reversed_events(batch: Batch) -> Batch:
    histories = {}
    for name, history in batch.requests.histories.items():
        steps = torch.arange(history.events.ids.shape[1])
        place = torch.where(steps < history.lengths[:, None], history.lengths[:, None] - 1 - steps, steps)
        request = torch.arange(len(COUNTS))[:, None]
        events = Columns(ids=history.events.ids[request, place], numbers=history.events.numbers[request, place])
        histories[name] = replace(history, events=events)
    return replace(batch, requests=replace(batch.requests, histories=histories))


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"attention": "full", "pyramid": False}, False),
        ({"attention": "full", "pyramid": False, "position": "recency"}, True),
        ({"attention": "full"}, True),
        ({"pyramid": False}, True),
    ],
)
def test_order_is_seen_by_mask_position_or_pyramid(change: dict[str, Any], seen: bool) -> None:
    ranker = build_ranker(INPUTS, config(**change), seed=0).double()
    batch = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS, dtype=torch.float64)
    same = torch.allclose(ranker(batch), ranker(reversed_events(batch)), rtol=0, atol=1e-12)
    assert same is not seen


def test_older_events_come_before_recent_ones_however_they_are_named() -> None:
    batch = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS)
    scores = [
        build_ranker(INPUTS, config(histories=names), seed=0)(batch)
        for names in (("global", "real_time"), ("real_time", "global"))
    ]
    assert torch.equal(*scores)


def test_a_whole_history_comes_last() -> None:
    whole: HistorySpec = replace(INPUTS.histories[0], name="all", part="all")
    inputs = replace(INPUTS, histories=(whole, *INPUTS.histories))
    ranker = build_ranker(inputs, config(), seed=0)
    assert isinstance(ranker.backbone, OneTrans)
    assert list(ranker.backbone._events) == ["global", "real_time", "all"]
    assert ranker.backbone.max_length == 9 + 1 + 9 + 1 + 9


def test_a_separator_stands_between_histories() -> None:
    ranker = build_ranker(INPUTS, config(), seed=0)
    batch = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS)
    before, state = ranker(batch), ranker.encode(batch.requests)
    assert state["attended"].sum(dim=1).tolist() == [4 + 1 + 3, 9 + 1 + 5, 0 + 1 + 2]
    with torch.no_grad():
        ranker.backbone.separator += 1
    moved = (state["keys.0"] != ranker.encode(batch.requests)["keys.0"]).any(dim=3).any(dim=1)
    assert [row.nonzero().flatten().tolist() for row in moved] == [[3], [5], [2]]
    assert not torch.equal(before, ranker(batch))


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "heads": ({"token_dim": 30}, "token_dim must be a multiple of num_heads; token_dim is 30, num_heads is 4"),
    "groups of another tokenizer": ({"token_groups": [["user"]]}, "token_groups belongs to tokenizer 'group'"),
    "hidden of another tokenizer": (
        {"tokenizer": "group", "tokenizer_hidden": 8},
        "tokenizer_hidden belongs to tokenizer 'auto_split'; tokenizer is 'group': change one",
    ),
    "tokens and groups": (
        {"tokenizer": "group", "token_groups": [["user"]], "num_tokens": 2},
        "num_tokens is 2, token_groups has 1; leave num_tokens out",
    ),
    "no blocks": ({"num_blocks": 0}, "num_blocks"),
    "an attention": ({"attention": "causl"}, "Did you mean 'causal'"),
    "a key": ({"num_layers": 2}, "unknown key 'num_layers'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_settings_that_do_not_fit_each_other(name: str) -> None:
    values, message = WRONG[name]
    with pytest.raises(ConfigError, match=message):
        parse_config(OneTransConfig, values, "model")


def test_settings_that_do_not_fit_the_data() -> None:
    with pytest.raises(ConfigError, match=r"got 'realtime'; .* Did you mean 'real_time'\?"):
        build_ranker(INPUTS, config(histories=("realtime",)), seed=0)
    with pytest.raises(ConfigError, match="4 features for 5 tokens"):
        build_ranker(INPUTS, config(tokenizer="group", num_tokens=5), seed=0)
    with pytest.raises(ConfigError, match="hour, category are in none"):
        build_ranker(INPUTS, config(tokenizer="group", token_groups=(("user", "item"),), num_tokens=None), seed=0)


def test_tokens_are_counted() -> None:
    assert OneTransConfig().feature_tokens == 8
    assert OneTransConfig(num_tokens=3).feature_tokens == 3
    assert OneTransConfig(tokenizer="group", token_groups=GROUPS).feature_tokens == 3


def test_without_histories_tokens_see_each_other() -> None:
    inputs = make_inputs(histories=())
    ranker = build_ranker(inputs, config(), seed=0)
    batch = make_batch(inputs, counts=COUNTS)
    assert ranker(batch).isfinite().all()
    backbone, *given = opened(ranker, batch)
    assert backbone.attention(*given) == []
