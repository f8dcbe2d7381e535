"""What models show of their inside is what happens in the forward pass."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from conformance.rankers import CONFIGS
from factories import make_batch, make_inputs
from hemix.models import Attentive, Backbone, Residual
from hemix.models.backbone import AttentionMap
from hemix.models.bst import BST
from hemix.models.dien import DIEN
from hemix.models.din import DIN
from hemix.models.dlrm import DLRM
from hemix.models.flat import Flat
from hemix.models.hemix import HeMix
from hemix.models.hiformer import HiFormer
from hemix.models.histories import under
from hemix.models.hstu import HSTU
from hemix.models.interformer import InterFormer
from hemix.models.longer import LONGER
from hemix.models.onetrans import OneTrans
from hemix.models.rankmixer import RankMixer
from hemix.models.refined import Refined
from hemix.models.sim import SIM
from hemix.nn.fields import Fields, State
from hemix.nn.ragged import Ragged
from hemix.ranker import Ranker, build_ranker, encode_embedded, score_embedded

INPUTS = make_inputs()
COUNTS = (1, 4, 2, 7, 1, 3)
LENGTHS = {"global": (0, 9, 0, 3, 1, 2), "real_time": (2, 0, 0, 9, 1, 4)}


@pytest.fixture(params=CONFIGS, scope="module")
def ranker(request: pytest.FixtureRequest) -> Ranker:
    ranker = build_ranker(INPUTS, CONFIGS[request.param], seed=1).double()
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in ranker.backbone.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=random)
    return ranker.eval()


def steps(
    ranker: Ranker, lengths: dict[str, tuple[int, ...]] | None = None
) -> tuple[Backbone, State, Fields, Ragged, Tensor]:
    """The model itself, and what it is given: behind a refinement module, refined fields."""
    batch = make_batch(INPUTS, counts=COUNTS, lengths=lengths or LENGTHS, dtype=torch.float64)
    x = ranker.embed(batch)
    backbone, state, ragged = ranker.backbone, encode_embedded(ranker.backbone, x), Ragged(x.offsets, batch.num_rows)
    candidate = x.candidate
    if isinstance(backbone, Refined):
        backbone, candidate = backbone.model, backbone.refined(state, candidate, ragged)
    if isinstance(backbone, Flat):
        assert not isinstance(backbone, Attentive | Residual)
        pytest.skip("a flat model has neither attention nor blocks to show")
    return backbone, state, candidate, ragged, ranker(batch)


def test_embedded_batches_score_the_same(ranker: Ranker) -> None:
    batch = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS, dtype=torch.float64)
    assert torch.equal(score_embedded(ranker.backbone, ranker.embed(batch)), ranker(batch))


@torch.no_grad()
def test_weights_are_there_for_events_only(ranker: Ranker) -> None:
    backbone, state, candidate, ragged, _ = steps(ranker)
    assert isinstance(backbone, Attentive)
    for found in backbone.attention(state, candidate, ragged):
        events = torch.arange(found.weights.shape[3]) < ragged.spread(torch.tensor(LENGTHS[found.history]))[:, None]
        shown = events[:, None, None, :].expand_as(found.weights)
        assert (found.weights[~shown] == 0).all()
        assert found.weights[shown].abs().sum() > 0
        if found.adds_to_one:
            has_events = events.any(dim=1).double()[:, None, None].expand(found.weights.shape[:3])
            torch.testing.assert_close(found.weights.sum(dim=3), has_events)


@torch.no_grad()
def test_weights_give_the_answers(ranker: Ranker) -> None:
    """The explicit weights times the values are what the forward pass takes from the history, to 1e-5."""
    backbone, state, candidate, ragged, _ = steps(ranker)
    assert isinstance(backbone, Attentive)
    if isinstance(backbone, InterFormer | HSTU):
        pytest.skip("its answers are of all places of a sequence: tests/models/")
    maps = backbone.attention(state, candidate, ragged)
    if isinstance(backbone, HeMix):
        assert {(found.history, found.kind) for found in maps} == {
            (name, kind) for name in LENGTHS for kind in kinds(backbone)
        }
    merged = isinstance(backbone, BST | LONGER) or (isinstance(backbone, HeMix) and backbone.config.merge_histories)
    for found in maps:
        parts = [other for other in maps if other.kind == found.kind] if merged else [found]
        expected = sum(values_by(backbone, part, state, ragged) for part in parts)
        attended = torch.cat([under(part.history, state)["attended"] for part in parts], dim=1)
        has_events = ragged.spread(attended).any(dim=1)
        torch.testing.assert_close(found.answers[has_events], expected[has_events], rtol=1e-5, atol=1e-5)


def values_by(backbone: object, found: AttentionMap, state: State, ragged: Ragged) -> Tensor:
    encoded = under(found.history, state)
    if isinstance(backbone, LONGER):
        values = values_of_groups(backbone, found.history, state)
        heads = torch.einsum("nqht,nhtd->nqhd", found.weights, ragged.spread(values))
        return heads.flatten(2) @ backbone.blocks[0].output.weight.T
    if isinstance(backbone, DIN | DLRM | HiFormer | RankMixer):
        return (found.weights[:, :, 0] @ ragged.spread(encoded["events"])).double()
    if isinstance(backbone, DIEN):
        weights = found.weights[:, 0, 0].to(encoded["evolving"].dtype)
        return backbone._interests[found.history].evolve(weights, encoded, ragged)[:, None]
    if isinstance(backbone, SIM):
        return values_of_sim(backbone, found, encoded, ragged)
    if isinstance(backbone, OneTrans):
        return values_of_the_first_block(backbone, found, state, ragged)
    if isinstance(backbone, BST):
        return backbone.blocks[0].output(values_of_candidate(backbone, found, encoded, ragged))
    assert isinstance(backbone, HeMix)
    group = next(group for group, name in backbone._history.items() if name == found.history)
    heads = torch.einsum("nqht,nhtd->nqhd", found.weights, ragged.spread(encoded["values"]))
    return backbone.queries["merged" if backbone.config.merge_histories else group].output(heads.flatten(2))


def values_of_sim(backbone: SIM, found: AttentionMap, encoded: State, ragged: Ragged) -> Tensor:
    """Searched: events with their intervals, by head. Read whole: as in DIEN and DIN."""
    if found.history in backbone._searched:
        return torch.einsum("nqht,ntz->nqhz", found.weights, ragged.spread(encoded["z"])).flatten(2)
    if "events" in encoded:
        return found.weights[:, :, 0] @ ragged.spread(encoded["events"])
    return backbone._short[found.history].evolve(found.weights[:, 0, 0], encoded, ragged)[:, None]


def values_of_groups(backbone: LONGER, history: str, state: State) -> Tensor:
    """Of each event, in the first layer, the value of the token that it went into."""
    values = state["values.0"]
    first = values.shape[2] - -(
        -sum(state[f"{name}.events"].shape[1] for name in LENGTHS) // backbone.config.merge_size
    )
    found = values.new_zeros(*values.shape[:2], state[f"{history}.events"].shape[1], values.shape[3])
    for r in range(len(values)):
        order = [(name, t) for name in ("global", "real_time") for t in range(LENGTHS[name][r])]
        for age, (name, t) in enumerate(reversed(order)):
            if name == history:
                found[r, :, t] = values[r, :, first + age // backbone.config.merge_size]
    return found


def values_of_the_first_block(backbone: OneTrans, found: AttentionMap, state: State, ragged: Ragged) -> Tensor:
    """An event is so many places from the end as there are later ones, separators and later histories included."""
    encoded, block = under(found.history, state), backbone.blocks[0]
    x, there = encoded["tokens"], encoded["attended"].long()
    if backbone.positions is not None:
        names = list(backbone._events)
        later = names[names.index(found.history) + 1 :]
        after = sum(under(name, state)["attended"].sum(dim=1) + (backbone.separator is not None) for name in later)
        places = there.flip(1).cumsum(dim=1).flip(1) - there
        x = x + backbone.positions[places + (after[:, None] if later else 0)]
    values = block.value.of_events(block.attention_norm(x)).unflatten(2, (block.num_heads, -1))
    return block.output(torch.einsum("nqht,nthd->nqhd", found.weights, ragged.spread(values)).flatten(2))


def values_of_candidate(backbone: BST, found: AttentionMap, encoded: State, ragged: Ragged) -> Tensor:
    """Heads side by side, of events whose position counts back over the events of both histories."""
    tokens = encoded["tokens"]
    if backbone.position is not None:
        newer = torch.tensor(LENGTHS["real_time" if found.history == "global" else "global"])
        behind = newer[:, None] if found.history == "global" else 0
        order = behind + torch.tensor(LENGTHS[found.history])[:, None] - torch.arange(1, tokens.shape[1] + 1)
        tokens = tokens + backbone.position[order.clamp(min=0)]
    values = backbone.blocks[0].value(tokens).unflatten(2, (backbone.config.num_heads, -1))
    return torch.einsum("nqht,nthd->nqhd", found.weights, ragged.spread(values)).flatten(2)


def kinds(backbone: HeMix) -> tuple[str, ...]:
    return ("dynamic", "fixed") if backbone.config.num_dynamic_global else ("fixed",)


@torch.no_grad()
def test_the_answers_are_what_is_mixed(ranker: Ranker) -> None:
    """The maps of HeMix are the rows of the mixer's input, dynamic before fixed, real-time before global."""
    backbone, state, candidate, ragged, _ = steps(ranker)
    if not isinstance(backbone, HeMix):
        pytest.skip("has no mixer")
    maps = {(found.history, found.kind): found.answers for found in backbone.attention(state, candidate, ragged)}
    sequences = ("global",) if backbone.config.merge_histories else ("real_time", "global")
    order = [(name, kind) for name in sequences for kind in kinds(backbone)]
    answers = torch.cat([maps[key] for key in order], dim=1)
    assert torch.equal(backbone.mixer_input(state, candidate, ragged)[:, : answers.shape[1]], answers)


@torch.no_grad()
def test_no_history_at_all(ranker: Ranker) -> None:
    none = (0,) * len(COUNTS)
    backbone, state, candidate, ragged, _ = steps(ranker, {"global": none, "real_time": none})
    assert isinstance(backbone, Attentive)
    assert all(found.weights.numel() == 0 for found in backbone.attention(state, candidate, ragged))


@torch.no_grad()
def test_updates_are_those_of_the_blocks(ranker: Ranker) -> None:
    """Two per block; where norms come before, the stream is the sum of what was added."""
    backbone, state, candidate, ragged, logits = steps(ranker)
    if isinstance(backbone, OneTrans):
        updates = backbone.updates(state, candidate, ragged)
        names = [
            f"block {block} {part}" for block in range(1, len(backbone.blocks) + 1) for part in ("attention", "ffn")
        ]
        assert [update.name for update in updates] == names
        assert torch.equal(updates[0].stream, backbone.tokens(state, candidate, ragged))
        assert all(torch.equal(before.stream + before.added, after.stream) for before, after in pairwise(updates))
        last = updates[-1]
        torch.testing.assert_close(backbone.towers(backbone.pool(last.stream + last.added)), logits)
        return
    if isinstance(backbone, HSTU):
        pytest.skip("its blocks are layers of one row: tests/models/test_hstu.py")
    if not isinstance(backbone, HeMix):
        assert isinstance(backbone, Residual) is isinstance(backbone, LONGER | HiFormer | RankMixer)
        return
    updates = backbone.updates(state, candidate, ragged)
    assert [update.name for update in updates] == [
        f"block {block} {part}" for block in range(1, len(backbone.blocks) + 1) for part in ("mixing", "ffn")
    ]
    x = backbone.mixer_input(state, candidate, ragged)
    assert torch.equal(updates[0].stream, x)
    for block, update in zip(backbone.blocks, updates[::2], strict=True):
        torch.testing.assert_close(update.stream, x)
        x = block(x)
    torch.testing.assert_close(backbone.towers(backbone.pool(backbone.final_norm(x))), logits)
    if len(backbone.blocks) == 4:
        total = updates[0].stream + torch.stack([update.added for update in updates]).sum(dim=0)
        torch.testing.assert_close(total, x)


@torch.no_grad()
def test_a_module_in_front_hides_nothing(ranker: Ranker) -> None:
    """What a refined model shows is what the model behind shows of refined fields; of a flat one nothing."""
    if not isinstance(ranker.backbone, Refined):
        pytest.skip("no module in front of it")
    batch = make_batch(INPUTS, counts=COUNTS, lengths=LENGTHS, dtype=torch.float64)
    x = ranker.embed(batch)
    front, whole = (
        ranker.backbone,
        (encode_embedded(ranker.backbone, x), x.candidate, Ragged(x.offsets, batch.num_rows)),
    )
    behind, *given, _ = steps(ranker)
    assert isinstance(behind, Attentive)
    for shown, own in zip(front.attention(*whole), behind.attention(*given), strict=True):
        assert torch.equal(shown.weights, own.weights)
    updates = behind.updates(*given) if isinstance(behind, Residual) else ()
    for shown, own in zip(front.updates(*whole), updates, strict=True):
        assert torch.equal(shown.added, own.added)
