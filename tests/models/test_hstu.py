"""HSTU: counts, what may be seen of what, places and times, what its attention shows, and what is refused."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from factories import DAY, make_batch, make_inputs
from hemix.batch import Batch, Inputs
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.histories import under
from hemix.models.hstu import HSTU, HSTUConfig
from hemix.models.hstu.relative_bias import NEVER, NUM_BUCKETS, Moments, RelativeBias, cells
from hemix.nn.ragged import Ragged
from hemix.ranker import Ranker, build_ranker, encode_embedded

SMALL: dict[str, Any] = {"embedding_dim": 8, "token_dim": 12, "attention_dim": 3, "linear_dim": 5, "hidden": (7,)}
INPUTS = make_inputs()
LENGTHS: dict[str, Sequence[int]] = {"global": (4, 0, 9), "real_time": (2, 3, 0)}
NAMES = ("global", "real_time", "of the request")
REQUEST, CANDIDATE, EVENT = 5 * 8, 6 * 8, 7 * 8
HOUR = DAY // 24


def ranker(inputs: Inputs = INPUTS, **settings: Any) -> Ranker:
    """In evaluation; biases are far from their small start values."""
    model = build_ranker(inputs, HSTUConfig(**{**SMALL, **settings}), seed=0).double().eval()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".bias." in name:
                parameter.normal_(generator=random)
    return model


def batch(**changes: Any) -> Batch:
    return make_batch(INPUTS, counts=(2, 3, 1), lengths=LENGTHS, dtype=torch.float64, **changes)


def shifted(rows: Batch, *, requests: int = 0, **histories: int) -> Batch:
    """Later by so many microseconds."""
    moved = {
        name: replace(history, times=history.times + histories.get(name, 0))
        for name, history in rows.requests.histories.items()
    }
    return replace(rows, requests=replace(rows.requests, times=rows.requests.times + requests, histories=moved))


@pytest.mark.parametrize("num_layers", [1, 3])
@pytest.mark.parametrize(("position", "time"), [(True, True), (False, True), (False, False)])
def test_closed_form_of_the_count(num_layers: int, position: bool, time: bool) -> None:
    """18 events at most: 19 distances."""
    config = HSTUConfig(**SMALL, num_heads=4, num_layers=num_layers, position_bias=position, time_bias=time)
    d, heads, a, v, h = 12, 4, 3, 5, 7
    maps = 2 * (EVENT * d + d) + REQUEST * d + d + CANDIDATE * d + d
    first, second = d * 2 * heads * (a + v) + 2 * heads * (a + v), heads * v * d + d
    layer = 2 * d + first + 2 * heads * v + second + 19 * position + NUM_BUCKETS * time
    head = 2 * d + d * h + h + h * 2 + 2
    backbone = build_ranker(INPUTS, config, seed=0).backbone
    assert isinstance(backbone, HSTU)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == maps + num_layers * layer + head


@pytest.mark.parametrize("num_layers", [1, 3])
def test_closed_form_of_the_cost(num_layers: int) -> None:
    """18 events and the request, in the last layer keys and values alone: half of the first map."""
    d, heads, a, v, h = 12, 4, 3, 5, 7
    first = 2 * heads * (a + v) * d

    def seeing(keys: int) -> int:
        return keys * heads * (a + v) + heads * v * d

    inner = num_layers - 1
    per_request = 18 * EVENT * d + REQUEST * d + 19 * (inner * first + first // 2)
    per_request += inner * (9 * seeing(9) + 9 * seeing(18) + seeing(19))
    per_candidate = CANDIDATE * d + num_layers * (first + seeing(19)) + d * h + h * 2
    backbone = ranker(num_heads=4, num_layers=num_layers).backbone
    assert isinstance(backbone, HSTU)
    cost = backbone.cost({"global": 9, "real_time": 9})
    assert (cost.per_request, cost.per_candidate) == (per_request, per_candidate)


def test_cells_by_pencil() -> None:
    """Seconds: up to 1 -> 0; 2 -> ln 2 / .301 = 2.3; an hour -> 27.2; a day -> 37.8. Later or absent keys: the end."""
    seconds = [0, 1, 2, 3600, 86_400, 7, 7]
    keys = Moments(
        torch.tensor([[5, 4, 3, 2, 0, 6, 1]], dtype=torch.int32),
        10 * DAY - 1_000_000 * torch.tensor([seconds]),
        torch.tensor([[True] * 6 + [False]]),
    )
    found = cells(torch.tensor([[5]], dtype=torch.int32), torch.tensor([[10 * DAY]]), keys, 5)
    end = 5 * NUM_BUCKETS
    expected = [0, NUM_BUCKETS, 2 * NUM_BUCKETS + 2, 3 * NUM_BUCKETS + 27, 4 * NUM_BUCKETS + 37, end, end]
    assert found.flatten().tolist() == expected


def test_a_table_is_all_pairs_and_never() -> None:
    bias = RelativeBias(3, position=True, time=True)
    assert bias.position is not None
    assert bias.time is not None
    table = bias()
    assert table.shape == (3 * NUM_BUCKETS + 1,)
    torch.testing.assert_close(table[2 * NUM_BUCKETS + 7], bias.position[2] + bias.time[7])
    never = torch.full((1,), NEVER, requires_grad=True)
    strength = torch.nn.functional.silu(never)
    assert strength.item() == 0
    assert torch.autograd.grad(strength.sum(), never)[0].item() == 0


def blocks(model: Ranker, rows: Batch) -> dict[str, Tensor]:
    """Keys and values of the events of both histories, and of the request."""
    state = model.encode(rows.requests)
    return {f"{name}.{kind}": under(name, state)[kind] for name in NAMES for kind in ("keys", "values")}


@torch.no_grad()
def test_events_see_what_was_before_them() -> None:
    """An event of today changes itself, what follows, and the request; nothing before. Nobody sees the request."""
    model, rows = ranker(num_layers=3), batch()
    before = blocks(model, rows)
    rows.requests.histories["real_time"].events.ids[1, 1, 1] += 1
    event = blocks(model, rows)
    same = {key: torch.isclose(found, before[key]).all(dim=4) for key, found in event.items()}
    assert all(found[[0, 2]].all() for found in same.values())
    for kind in ("keys", "values"):
        older, recent, request = (same[f"{name}.{kind}"][1] for name in NAMES)
        assert older.all()
        assert recent[:, :, 0].all()
        assert not recent[:, :, 1].any()
        for later in (recent[:, :, 2], request[:, :, 0]):
            assert later[0].all(), "the first layer has the tokens as they are"
            assert not later[1:].any()
    rows.requests.columns.ids[:, 0] += 1
    asked = blocks(model, rows)
    assert {key for key, found in asked.items() if not torch.equal(found, event[key])} == {
        "of the request.keys",
        "of the request.values",
    }


@torch.no_grad()
def test_the_older_history_is_remembered_in_all_layers() -> None:
    """What is kept from one request of a user to the next is what the first history is to all tokens behind it."""
    model, rows = ranker(num_layers=3), batch()
    memory = model.remember(rows.requests)
    assert set(memory) == {f"global.{key}" for key in ("keys", "values", "places", "times", "attended")}
    assert memory["global.keys"].shape[:2] == (3, 3)
    later = model.encode_now(shifted(rows, requests=HOUR).requests, memory)
    assert all(later[key] is value for key, value in memory.items())


@torch.no_grad()
def test_distances_in_time_alone_matter() -> None:
    model, rows = ranker(), batch()
    found = model(rows)
    torch.testing.assert_close(model(shifted(rows, requests=5 * DAY, **dict.fromkeys(LENGTHS, 5 * DAY))), found)
    assert not torch.isclose(model(shifted(rows, requests=30 * DAY)), found).any()
    aged = model(shifted(rows, **{"global": -300 * DAY}))
    assert (~torch.isclose(aged, found)).all(dim=1).tolist() == [True, True, False, False, False, True]
    deaf = ranker(time_bias=False)
    assert torch.equal(deaf(shifted(rows, requests=30 * DAY)), deaf(rows))


@torch.no_grad()
@pytest.mark.parametrize("position", [True, False])
def test_the_order_of_events_is_known_by_their_places(position: bool) -> None:
    """In one layer, without times. In several the mask tells it as well."""
    model, rows = ranker(time_bias=False, position_bias=position, num_layers=1), batch()
    found = model(rows)
    events = rows.requests.histories["global"].events
    for columns in (events.ids, events.numbers):
        columns[2] = columns[2].flip(0).clone()
    assert torch.allclose(model(rows)[5], found[5]) is not position


@torch.no_grad()
def test_attention_is_divided_by_the_longest_sequence() -> None:
    """A constant of the data: twice the length, half the answers."""
    longer = replace(INPUTS, histories=tuple(replace(history, max_length=19) for history in INPUTS.histories))
    rows, found = batch(), []
    for inputs in (INPUTS, longer):
        model = ranker(inputs, num_layers=1, position_bias=False, time_bias=False)
        x = model.embed(rows)
        assert isinstance(model.backbone, HSTU)
        maps = model.backbone.attention(encode_embedded(model.backbone, x), x.candidate, Ragged(x.offsets, 6))
        found.append(maps[0].answers)
    torch.testing.assert_close(found[0] * (9 + 9 + 2), found[1] * (19 + 19 + 2))


@torch.no_grad()
def test_attention_is_that_of_the_last_layer() -> None:
    """Weights times values of the events, with those of the request and of the candidate itself, are the answers."""
    model, rows = ranker(num_heads=2), batch()
    x, backbone = model.embed(rows), model.backbone
    assert isinstance(backbone, HSTU)
    state, ragged = encode_embedded(backbone, x), Ragged(x.offsets, 6)
    maps = backbone.attention(state, x.candidate, ragged)
    assert [(found.history, found.kind) for found in maps] == [("global", "target"), ("real_time", "target")]
    updates = backbone.updates(state, x.candidate, ragged)
    layer = backbone.stack._layers[-1]
    u, v, q, k = layer.project(updates[-1].stream)
    table = layer.bias()
    asked = under("of the request", state)
    keys, values = (ragged.spread(asked[kind])[:, -1] for kind in ("keys", "values"))
    expected = torch.zeros_like(v)
    for key, value in ((k, v), (keys, values)):
        pair = (q * key).sum(dim=3, keepdim=True) + table[0]
        expected = expected + pair * torch.sigmoid(pair) / 20 * value
    for found in maps:
        values = ragged.spread(under(found.history, state)["values"])[:, -1]
        expected = expected + torch.einsum("nqht,nhtd->nhqd", found.weights, values)
    expected = expected.transpose(1, 2).flatten(2)
    torch.testing.assert_close(maps[0].answers, expected)
    torch.testing.assert_close(updates[-1].added, layer.second(layer.answer_norm(expected) * u))


@torch.no_grad()
def test_updates_add_up_to_what_is_scored() -> None:
    model, rows = ranker(num_layers=3), batch()
    x, backbone = model.embed(rows), model.backbone
    assert isinstance(backbone, HSTU)
    updates = backbone.updates(encode_embedded(backbone, x), x.candidate, Ragged(x.offsets, 6))
    assert [update.name for update in updates] == ["layer 1", "layer 2", "layer 3"]
    torch.testing.assert_close(updates[0].stream[:, 0], backbone.candidate(x.candidate.values))
    last = updates[0].stream + sum(update.added for update in updates)
    torch.testing.assert_close(backbone.head(backbone.norm(last[:, 0])), model(rows))


def test_dropout_is_of_training_alone() -> None:
    model, rows = ranker(dropout=0.5), batch()
    assert torch.equal(model(rows), model(rows))
    model.train()
    assert not torch.isclose(model(rows), model(rows)).all()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="num_layers"):
        parse_config(HSTUConfig, {"num_layers": 0}, "model")
    with pytest.raises(ConfigError, match="dropout"):
        parse_config(HSTUConfig, {"dropout": 1.0}, "model")
    with pytest.raises(ConfigError, match=r"hidden\.1"):
        parse_config(HSTUConfig, {"hidden": [8, 0]}, "model")
    with pytest.raises(ConfigError, match="Did you mean 'real_time'"):
        build_ranker(INPUTS, HSTUConfig(histories=("realtime",)), seed=0)
