"""DIN against its equations, the first attention layer not factorised."""

import pytest

from factories import make_inputs
from hemix.models.din import DINConfig
from hemix.nn import target_attention
from parity import naive_din
from parity.check import BATCHES, assert_parity, batch_of, perturbed

SMALL = {"embedding_dim": 4, "attention_hidden": (6,), "hidden": (9, 5)}
CONFIGS = {
    "softmax": DINConfig(**SMALL, attention_softmax=True),
    "relu": DINConfig(**SMALL, activation="relu", attention_activation="relu"),
    "prelu": DINConfig(**SMALL, activation="prelu"),
    "deep attention": DINConfig(embedding_dim=4, attention_hidden=(6, 3), hidden=(5,)),
    "one history": DINConfig(**SMALL, histories=("real_time",)),
}


@pytest.mark.parametrize("batch", BATCHES)
def test_batches(batch: str) -> None:
    inputs, config = make_inputs(), DINConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_din.score(parameters, config, inputs, rows))


@pytest.mark.parametrize("name", CONFIGS)
def test_settings(name: str) -> None:
    inputs, config = make_inputs(plain=True, num_tasks=1), CONFIGS[name]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_din.score(parameters, config, inputs, rows))


def test_evaluation_uses_the_moving_averages_of_dice() -> None:
    inputs, config = make_inputs(), DINConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    ranker(rows)
    ranker.eval()
    assert_parity(ranker, rows, lambda parameters: naive_din.score(parameters, config, inputs, rows, training=False))


@pytest.mark.parametrize("chunk", [1, 9 * 6 * 2, 9 * 6 * 7])
def test_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One candidate at a time, a few candidates, a few requests."""
    monkeypatch.setattr(target_attention, "CHUNK", chunk)
    inputs, config = make_inputs(plain=True, num_tasks=1), CONFIGS["softmax"]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_din.score(parameters, config, inputs, rows))
