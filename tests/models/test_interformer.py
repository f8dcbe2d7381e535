"""InterFormer: counts, places of events, summaries, what its attention shows, and what is refused."""

from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from factories import make_batch, make_inputs
from hemix.batch import Inputs
from hemix.errors import ConfigError
from hemix.models.interformer import InterFormer, InterFormerConfig
from hemix.models.interformer.sequence import Fusion
from hemix.models.interformer.summary import Gate, build_sequence_summary, latest
from hemix.nn.fields import Layout
from hemix.nn.ragged import Ragged
from hemix.ranker import Ranker, build_ranker, encode_embedded

SMALL: dict[str, Any] = {"embedding_dim": 8, "num_summaries": 3, "interaction_hidden": (5,), "hidden": (7,)}
INPUTS = make_inputs()
N, D, EVENT = 9, 8, 7 * 8
"""Tokens of `INPUTS`: the numbers as one, four request fields and four of the candidate; widths of token and event."""


def ranker(inputs: Inputs = INPUTS, **settings: Any) -> Ranker:
    return build_ranker(inputs, InterFormerConfig(**{**SMALL, **settings}), seed=0)


@pytest.mark.parametrize("interaction", ["dot", "dcnv2", "dhen"])
@pytest.mark.parametrize("num_layers", [1, 3])
def test_closed_form_of_the_count(interaction: str, num_layers: int) -> None:
    """Both ways, masknet, linear PFFN: by hand, part by part."""
    rank = {} if interaction == "dot" else {"cross_rank": 4}
    config = InterFormerConfig(**SMALL, **rank, interaction=interaction, num_layers=num_layers)
    summary = 3 + 2 + 2
    z = N + summary
    fusion = 2 * (EVENT * D + D) + 2 * ((2 * D) ** 2 + 2 * D) + 2 * D * D + D
    gate = D * D + D
    fields = 3 * N + gate
    events = 2 * D + 4 * D * D + gate
    layer = 3 * D + 4 * D * D + 4 * D
    dot = (z * D + z * (z - 1) // 2) * 5 + 5 + 5 * N * D + N * D
    cross = 2 * (2 * z * D * 4 + z * D) + z * D * 5 + 5 + (z * D + 5) * N * D + N * D
    each = {"dot": dot + 2 * D, "dcnv2": cross + 2 * D, "dhen": dot + cross + z * N + 2 * D}[interaction]
    classifier = (3 + summary) * D * 7 + 7 + 7 * 2 + 2
    dense = 2 * 3 * D + D
    expected = dense + fusion + (num_layers + 1) * (fields + events) + num_layers * (layer + each) + classifier
    backbone = build_ranker(INPUTS, config, seed=0).backbone
    assert isinstance(backbone, InterFormer)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == expected


@torch.no_grad()
def fused(fusion: str, events: list[Tensor], lengths: list[list[int]]) -> list[Tensor]:
    """By request, the real places. Maps are the identity, masks are one; the second history counts ten times."""
    layouts = {str(k): Layout(names=("x",), widths=(2,)) for k in range(len(events))}
    part = Fusion(layouts, 2, InterFormerConfig(fusion=fusion)).requires_grad_(False)
    for parameter in part.parameters():
        parameter.zero_()
    if part.mask is not None and part.compress is not None:
        part.mask[2].bias.fill_(1.0)
        part.compress.weight.copy_(torch.cat([torch.eye(2), 10 * torch.eye(2)], dim=1))
    for layer in part.maps:
        layer.weight.copy_(torch.eye(2))
    counts = [torch.tensor(own) for own in lengths]
    mapped = [part.map(str(k), own) for k, own in enumerate(events)]
    return [row[:length] for row, length in zip(part(mapped, counts), part.places(counts)[1], strict=True)]


def test_places_of_events() -> None:
    """The latest events side by side, or one history behind the other: 1 and 3 events, then 2 and none."""
    one = torch.tensor([[[1.0, 1.0], [9.0, 9.0]], [[2.0, 2.0], [3.0, 3.0]]])
    two = torch.tensor([[[4.0, 4.0], [5.0, 5.0], [6.0, 6.0]], [[9.0, 9.0], [9.0, 9.0], [9.0, 9.0]]])
    side = fused("masknet", [one, two], [[1, 2], [3, 0]])
    assert [row[:, 0].tolist() for row in side] == [[40, 50, 61], [2, 3]]
    behind = fused("merge", [one, two], [[1, 2], [3, 0]])
    assert [row[:, 0].tolist() for row in behind] == [[1, 4, 5, 6], [2, 3]]


def test_latest_events_first() -> None:
    s = torch.arange(10.0).view(2, 5, 1)
    found = latest(s, 1, 3, torch.tensor([4, 2]))
    assert found[:, :, 0].tolist() == [[4, 3, 2], [7, 6, 0]]


@pytest.mark.parametrize(("kind", "value"), [("product", 1.5 / (1 + 2.718281828**-3)), ("literal", 0.98901306)])
def test_gates_by_pencil(kind: Any, value: float) -> None:
    """z = 1.5, W = 2, b = 0: z sigmoid(3), and sigmoid(1.5 * 3) = sigmoid(4.5)."""
    gate = Gate(kind, 1)
    assert gate.map is not None
    with torch.no_grad():
        gate.map.weight.fill_(2.0)
        gate.map.bias.zero_()
    assert gate(torch.tensor([[[1.5]]])).item() == pytest.approx(value, rel=1e-6)
    swish = Gate("swish", 1)
    swish.map = gate.map
    assert swish(torch.tensor([[[1.5]]])).item() == pytest.approx(4.5 * 0.98901306, rel=1e-6)


@pytest.mark.parametrize(("aggregation", "tokens"), [("selective", 7), ("mean", 1), ("mlp", 7), ("attention", 7)])
def test_tokens_of_a_summary(aggregation: str, tokens: int) -> None:
    summary = build_sequence_summary(3, 8, InterFormerConfig(**SMALL, aggregation=aggregation), 9)
    s, lengths = torch.randn(4, 8, 8), torch.tensor([5, 0, 1, 3])
    present = torch.arange(8) < 3 + lengths[:, None]
    found = summary(s, present, lengths)
    assert found.shape == (4, tokens, 8)
    assert summary.num_tokens == tokens
    changed = torch.where(present[:, :, None], s, s + 1)
    torch.testing.assert_close(summary(changed, present, lengths), found)


@torch.no_grad()
def test_the_order_of_events_matters_by_rotary_positions_alone() -> None:
    """Without MHA and without recent tokens nothing else knows where an event stands."""
    batch = make_batch(INPUTS, counts=(2,), lengths={"global": (4,), "real_time": (0,)})
    events = batch.requests.histories["global"].events
    events.ids[:], events.numbers[:] = events.ids.flip(1).clone(), events.numbers.flip(1).clone()
    for settings, same in (({"self_attention": False, "num_recent": 0}, True), ({"num_recent": 0}, False)):
        model = ranker(**settings).eval()
        found = model(batch)
        events.ids[:], events.numbers[:] = events.ids.flip(1).clone(), events.numbers.flip(1).clone()
        assert torch.allclose(model(batch), found, atol=1e-6) == same


def perturbed(**settings: Any) -> tuple[Ranker, InterFormer]:
    """In float64, no parameter at its start value."""
    model, random = ranker(**settings).double().eval(), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.backbone.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=random)
    assert isinstance(model.backbone, InterFormer)
    return model, model.backbone


@torch.no_grad()
@pytest.mark.parametrize("residual", [True, False])
def test_weights_of_a_layer_are_those_of_its_forward_pass(residual: bool) -> None:
    """All places of a row: the weights times the values are what MHA adds to the places behind PFFN."""
    _, backbone = perturbed(residual=residual)
    layer = backbone._sequences[0]
    s, x_sum = (torch.randn(3, count, D, dtype=torch.float64) for count in (9, 3))
    present = torch.arange(9) < torch.tensor([9, 3, 5])[:, None]
    after, weights, attention = layer(s, x_sum, present), layer.weights(s, x_sum, present), layer.attention
    assert attention is not None
    assert not weights.transpose(2, 3)[~present[:, None].expand(-1, 9, -1)].any()
    layer.attention = None
    guided = layer(s, x_sum, present)
    values = attention.value(layer.attention_norm(guided)).unflatten(2, (2, -1))
    added = attention.output(torch.einsum("bqhp,bphd->bqhd", weights, values).flatten(2))
    torch.testing.assert_close(guided + added if residual else added, after)


SHOWN: dict[str, tuple[int, ...]] = {"global": (4, 0, 2, 1), "real_time": (2, 3, 0, 5)}
"""Events of the histories of four requests."""


@torch.no_grad()
@pytest.mark.parametrize("fusion", ["merge", "masknet"])
@pytest.mark.parametrize("flow", ["both", "s2n"])
def test_attention_is_that_of_the_forward_pass(fusion: str, flow: str) -> None:
    """Each event of each history has the weight of its place, which is counted here by hand."""
    model, backbone = perturbed(fusion=fusion, flow=flow)
    batch = make_batch(INPUTS, counts=(2, 1, 3, 2), lengths=SHOWN, dtype=torch.float64)
    x = model.embed(batch)
    state, ragged = encode_embedded(backbone, x), Ragged(x.offsets, 8)
    seen: list[tuple[Any, Tensor]] = []
    layer, summary = backbone._sequences[-1], backbone._sequence_summaries[-1]
    layer.register_forward_hook(lambda _, given, after: seen.append((given, after)))
    maps = backbone.attention(state, x.candidate, ragged)
    (given, after), pooling = seen[-1], summary.pooling
    whole = {"fixed": pooling.weights(after, given[2])}
    answers = {"fixed": pooling(after, given[2])}
    heads = torch.einsum("bqhp,bphd->bqhd", whole["fixed"], pooling.value(after).unflatten(2, (2, -1)))
    torch.testing.assert_close(pooling.output(heads.flatten(2)), answers["fixed"])
    if flow == "both":
        whole["dynamic"], answers["dynamic"] = layer.weights(*given)[:, :3], after[:, :3]
    else:
        whole, answers = ({"fixed": ragged.spread(found["fixed"])} for found in (whole, answers))
    assert [(found.kind, found.history) for found in maps] == [(kind, name) for kind in sorted(whole) for name in SHOWN]
    for found in maps:
        assert not found.adds_to_one
        torch.testing.assert_close(found.answers, answers[found.kind])
        expected = torch.zeros_like(found.weights)
        for n, r in enumerate(ragged.spread(torch.arange(4)).tolist()):
            own, earlier = SHOWN[found.history][r], SHOWN["global"][r] if found.history == "real_time" else 0
            first = 3 + (earlier if fusion == "merge" else max(lengths[r] for lengths in SHOWN.values()) - own)
            expected[n, :, :, :own] = whole[found.kind][n, :, :, first : first + own]
        torch.testing.assert_close(found.weights, expected)


@pytest.mark.parametrize(
    "settings",
    [{"self_attention": False, "num_pooled": 0}, {"flow": "sole"}, {"flow": "sep", "aggregation": "mean"}],
)
def test_nothing_to_show(settings: dict[str, Any]) -> None:
    model = ranker(**settings)
    batch = make_batch(INPUTS, counts=(2, 3))
    x = model.embed(batch)
    assert isinstance(model.backbone, InterFormer)
    assert model.backbone.attention(encode_embedded(model.backbone, x), x.candidate, Ragged(x.offsets, 5)) == []


@torch.no_grad()
@pytest.mark.parametrize("flow", ["s2n", "sep", "sole"])
def test_a_sequence_that_no_field_guides_belongs_to_the_request(flow: str) -> None:
    """A candidate is scored by its summaries alone, and pays for no event."""
    model = ranker(flow=flow).eval()
    batch = make_batch(INPUTS, counts=(2, 3))
    x = model.embed(batch)
    state = encode_embedded(model.backbone, x)
    gone = {key: value.fill_(torch.nan) if key.endswith("events") else value for key, value in state.items()}
    assert torch.equal(model.backbone.score(gone, x.candidate, Ragged(x.offsets, 5)), ranker(flow=flow).eval()(batch))
    short, long = (model.backbone.cost({"global": length, "real_time": 3}) for length in (4, 9))
    assert short.per_candidate == long.per_candidate
    assert short.per_request < long.per_request


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        (
            {"aggregation": "mean", "num_pooled": 1},
            "num_pooled .* aggregation is 'mean'; num_pooled is 1: leave it out",
        ),
        ({"aggregation": "mean", "num_recent": 0}, "num_recent"),
        ({"interaction": "dot", "cross_layers": 1}, "cross_layers .* interaction is 'dot'"),
        ({"interaction": "dot", "cross_rank": 4}, "cross_rank"),
        ({"interaction": "dot", "dhen_layers": 2}, "dhen_layers"),
        ({"interaction": "dcnv2", "dhen_layers": 2}, "dhen_layers .* interaction is 'dcnv2'"),
        ({"flow": "s2n", "personal": "mlp"}, "personal 'mlp' needs .*; flow is 's2n': leave personal out, or change"),
        ({"flow": "sep", "personal": "mlp"}, "personal 'mlp'"),
        ({"flow": "sole", "aggregation": "mlp"}, "aggregation .* flow is 'sole'; aggregation is 'mlp'"),
        ({"flow": "sole", "personal": "none"}, "personal"),
        ({"flow": "sole", "self_attention": False}, "self_attention"),
        ({"flow": "sole", "residual": False}, "residual"),
        ({"flow": "sole", "num_heads": 1}, "num_heads"),
        ({"flow": "sole", "num_pooled": 0}, "num_pooled"),
        (
            {"histories": (), "flow": "sep"},
            r"flow .* histories is \[\]; flow is 'sep': leave it out, or change histories",
        ),
        ({"histories": (), "aggregation": "mean"}, "aggregation"),
        ({"histories": (), "residual": False}, "residual"),
        ({"histories": (), "personal": "none"}, "personal"),
        ({"histories": (), "fusion": "merge"}, "fusion"),
        ({"activation": "dice"}, "'relu', 'prelu' or 'swish'"),
    ],
)
def test_what_nothing_reads_is_refused(settings: dict[str, Any], refused: str) -> None:
    with pytest.raises(ValidationError, match=refused):
        InterFormerConfig(**settings)


def test_whole_files_are_read_again() -> None:
    """With every default written out."""
    for settings in ({"flow": "sole"}, {"histories": ()}, {"interaction": "dot"}, {"aggregation": "mean"}):
        config = InterFormerConfig.model_validate(settings)
        assert InterFormerConfig.model_validate_json(config.model_dump_json()) == config


def test_heads_must_fit_where_there_are_any() -> None:
    """Rotary positions turn pairs; learned queries only cut the width; without either there are no heads."""
    inputs = make_inputs(plain=True)
    with pytest.raises(
        ConfigError, match=r"must be equal and even .*: it is 10, model\.num_heads 2\. .* multiple of 4"
    ):
        ranker(inputs, embedding_dim=10)
    with pytest.raises(ConfigError, match=r"must be equal: it is 10, model\.num_heads 4\. .* multiple of 4"):
        ranker(inputs, embedding_dim=10, num_heads=4, self_attention=False)
    batch = make_batch(inputs, counts=(2, 1))
    for settings in ({"self_attention": False}, {"flow": "sole"}, {"histories": ()}):
        assert ranker(inputs, embedding_dim=10, **settings)(batch).isfinite().all()
    ranker(inputs, embedding_dim=9, num_heads=4, num_pooled=0, self_attention=False)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"model\.histories must name a history of the data, got 'recent'"):
        ranker(histories=("recent",))
