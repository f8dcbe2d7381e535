"""What HeMix shows of its inside is what happens in the forward pass: beside tests/conformance/test_inside.py."""

import pytest
import torch
from torch import Tensor

from conformance.rankers import CONFIGS, perturbed_ranker
from factories import make_batch, make_inputs
from hemix.models.hemix import HeMix, HeMixConfig
from hemix.nn.fields import Fields, State
from hemix.nn.ragged import Ragged
from hemix.ranker import encode_embedded

INPUTS = make_inputs()
NAMES = [name for name, config in CONFIGS.items() if isinstance(config, HeMixConfig) and config.refine is None]


def opened(name: str) -> tuple[HeMix, tuple[State, Fields, Ragged], Tensor]:
    """The model, what it is given, and its logits."""
    ranker = perturbed_ranker(name, INPUTS, by=0.3).double().eval()
    batch = make_batch(INPUTS, dtype=torch.float64)
    x = ranker.embed(batch)
    assert isinstance(ranker.backbone, HeMix)
    given = encode_embedded(ranker.backbone, x), x.candidate, Ragged(x.offsets, batch.num_rows)
    return ranker.backbone, given, ranker(batch)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_the_answers_are_what_is_mixed(name: str) -> None:
    """They are the rows of the mixer's input, dynamic before fixed, real-time before global; merged ones are alike."""
    model, given, _ = opened(name)
    kinds = ("dynamic", "fixed") if model.config.num_dynamic_global else ("fixed",)
    maps = {(found.history, found.kind): found.answers for found in model.attention(*given)}
    assert maps.keys() == {(history, kind) for history in ("real_time", "global") for kind in kinds}
    sequences = ("global",) if model.config.merge_histories else ("real_time", "global")
    answers = torch.cat([maps[history, kind] for history in sequences for kind in kinds], dim=1)
    assert torch.equal(model.mixer_input(*given)[:, : answers.shape[1]], answers)


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_updates_are_those_of_the_blocks(name: str) -> None:
    """Two per block; where norms come before, the stream is the sum of what was added."""
    model, given, logits = opened(name)
    updates = model.updates(*given)
    assert [update.name for update in updates] == [
        f"block {block} {part}" for block in range(1, len(model.blocks) + 1) for part in ("mixing", "ffn")
    ]
    x = model.mixer_input(*given)
    assert torch.equal(updates[0].stream, x)
    for block, update in zip(model.blocks, updates[::2], strict=True):
        torch.testing.assert_close(update.stream, x)
        x = block(x)
    torch.testing.assert_close(model.towers(model.pool(model.final_norm(x))), logits)
    if model.config.pre_norm:
        total = updates[0].stream + torch.stack([update.added for update in updates]).sum(dim=0)
        torch.testing.assert_close(total, x)
