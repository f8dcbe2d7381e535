"""DIEN against its equations, one row and one event at a time."""

import pytest

from factories import make_inputs
from hemix.models.dien import DIENConfig
from parity import naive_dien
from parity.check import MARKED, assert_parity, batch_of, perturbed

SMALL = {"embedding_dim": 4, "hidden": (9, 5)}
CONFIGS = {
    "agru": DIENConfig(**SMALL, evolution="agru"),
    "aigru": DIENConfig(**SMALL, evolution="aigru"),
    "gru": DIENConfig(**SMALL, evolution="gru"),
    "wide": DIENConfig(**SMALL, hidden_dim=17, activation="relu"),
    "narrow": DIENConfig(embedding_dim=4, hidden=(5,), hidden_dim=1, activation="prelu"),
    "one history": DIENConfig(**SMALL, histories=("real_time",)),
}


@pytest.mark.parametrize("batch", MARKED)
@pytest.mark.parametrize("evolution", ["augru", "gru"])
def test_batches(batch: str, evolution: str) -> None:
    inputs, config = make_inputs(), DIENConfig(**SMALL, evolution=evolution)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_dien.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_settings(name: str) -> None:
    inputs, config = make_inputs(plain=True, num_tasks=1), CONFIGS[name]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_dien.score(parameters, config, inputs, rows))


@pytest.mark.slow
def test_evaluation_uses_the_moving_averages_of_dice() -> None:
    inputs, config = make_inputs(), DIENConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    ranker(rows)
    ranker.eval()
    assert_parity(ranker, rows, lambda parameters: naive_dien.score(parameters, config, inputs, rows, training=False))
