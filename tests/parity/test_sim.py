"""SIM against its equations, one row, one event and one head at a time."""

from typing import Any

import pytest

from factories import make_inputs
from hemix.models.sim import SIMConfig
from parity import naive_sim
from parity.check import MARKED, assert_parity, batch_of, perturbed

SMALL: dict[str, Any] = {"embedding_dim": 4, "top_k": 2, "num_heads": 2, "attention_dim": 6, "hidden": (9, 5)}
SOFT = {**SMALL, "search_dim": 3, "short_term": "din"}
HARD = {**SMALL, "search": "hard", "match": "category"}
CONFIGS: dict[str, dict[str, Any]] = {
    "hard, one found": {**HARD, "top_k": 1},
    "hard, both searched": {**HARD, "searched": ("real_time", "global")},
    "hard, one history": {**HARD, "histories": ("real_time",)},
    "hard, by item": {**HARD, "match": "item", "top_k": 9, "short_term": "din"},
    "soft, all found": {**SOFT, "top_k": 50},
    "soft, no intervals": {**SOFT, "time_intervals": False},
    "soft, the recent history searched": {**SOFT, "searched": ("real_time",), "short_term": "dien"},
    "soft, the recent history named first": {**SOFT, "histories": ("real_time", "global")},
    "soft, one head": {**SOFT, "num_heads": 1, "hidden": (5,), "activation": "prelu"},
}


@pytest.mark.parametrize("batch", MARKED)
@pytest.mark.parametrize("settings", [HARD, SOFT], ids=["hard", "soft"])
def test_batches(settings: dict[str, Any], batch: str) -> None:
    inputs, config = make_inputs(), SIMConfig(**settings)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_sim.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_settings(name: str) -> None:
    inputs, config = make_inputs(plain=True, num_tasks=1), SIMConfig(**CONFIGS[name])
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_sim.score(parameters, config, inputs, rows))
