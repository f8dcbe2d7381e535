"""HSTU against its equations: the whole sequence of every row, once more for each of its candidates."""

from dataclasses import replace
from typing import Any

import pytest

from factories import make_inputs
from hemix.models.hstu import HSTUConfig, stack
from parity import naive_hstu
from parity.check import MARKED, assert_parity, batch_of, perturbed

SMALL: dict[str, Any] = {
    "embedding_dim": 4,
    "token_dim": 6,
    "num_heads": 2,
    "attention_dim": 3,
    "linear_dim": 5,
    "hidden": (7,),
    "dropout": 0.0,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "one layer": {"num_layers": 1},
    "three layers": {"num_layers": 3},
    "one head": {"num_heads": 1},
    "no position bias": {"position_bias": False},
    "no time bias": {"time_bias": False},
    "no bias": {"position_bias": False, "time_bias": False},
    "one history": {"histories": ("real_time",)},
    "no history": {"histories": ()},
    "the recent history named first": {"histories": ("real_time", "global")},
    "towers alone": {"hidden": ()},
    "two hidden layers": {"hidden": (7, 4)},
}


@pytest.mark.parametrize("batch", MARKED)
def test_batches(batch: str) -> None:
    inputs, config = make_inputs(), HSTUConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_hstu.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_settings(name: str) -> None:
    inputs, config = make_inputs(plain=True, num_tasks=1), HSTUConfig(**{**SMALL, **CONFIGS[name]})
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_hstu.score(parameters, config, inputs, rows))


@pytest.mark.slow
def test_three_histories() -> None:
    """The second and the third see those before them; a history that is not cut comes last."""
    inputs, config = make_inputs(plain=True, num_tasks=1), HSTUConfig(**SMALL)
    clicks = replace(inputs.histories[1], name="clicks", part="all")
    inputs = replace(inputs, histories=(*inputs.histories, clicks))
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_hstu.score(parameters, config, inputs, rows))


@pytest.mark.slow
def test_a_request_without_fields_has_no_token() -> None:
    inputs, config = replace(make_inputs(plain=True, num_tasks=1), request=()), HSTUConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_hstu.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize(("chunk", "kept"), [(1, 2**26), (2 * 9 * 9 * 3, 2**26), (2**20, 0)])
def test_chunks(chunk: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One request at a time, a few, and with scores that are made again in the backward pass."""
    monkeypatch.setattr(stack, "CHUNK", chunk)
    monkeypatch.setattr(stack, "KEPT", kept)
    inputs, config = make_inputs(), HSTUConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_hstu.score(parameters, config, inputs, rows))
