"""InterFormer: counts, places of events, summaries, what its attention shows, and what is refused."""

from typing import Any

import pytest
import torch
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
    config = InterFormerConfig(**SMALL, interaction=interaction, num_layers=num_layers, cross_rank=4, cross_layers=2)
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


@torch.no_grad()
def test_attention_is_that_of_the_forward_pass() -> None:
    """Over events and CLS together the weights add up to one; what is not of an event is what CLS tokens get."""
    model = ranker(fusion="merge").double().eval()
    batch = make_batch(INPUTS, counts=(2, 3), lengths={"global": (4, 0), "real_time": (2, 3)}, dtype=torch.float64)
    x = model.embed(batch)
    state, ragged, backbone = encode_embedded(model.backbone, x), Ragged(x.offsets, 5), model.backbone
    assert isinstance(backbone, InterFormer)
    maps = backbone.attention(state, x.candidate, ragged)
    assert [(found.history, found.kind) for found in maps] == [
        (name, kind) for kind in ("dynamic", "fixed") for name in ("global", "real_time")
    ]
    for one, other in (maps[:2], maps[2:]):
        total = one.weights.sum(dim=3) + other.weights.sum(dim=3)
        assert (total > 0).all()
        assert (total < 1).all()
    passed = backbone._run(backbone._rows(state, x.candidate, ragged))
    assert passed.s is not None
    pooling = backbone._sequence_summaries[-1].pooling
    whole = pooling.weights(passed.s, passed.present)
    torch.testing.assert_close(whole.sum(dim=3), torch.ones_like(whole[..., 0]))
    heads = torch.einsum("bqhp,bphd->bqhd", whole, pooling.value(passed.s).unflatten(2, (2, -1)))
    torch.testing.assert_close(pooling.output(heads.flatten(2)), maps[2].answers)


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


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"must be even .*: it is 8, model\.num_heads 8\. Choose .* multiple of 16"):
        ranker(num_heads=8)
    with pytest.raises(ConfigError, match=r"model\.histories must name a history of the data, got 'recent'"):
        ranker(histories=("recent",))
