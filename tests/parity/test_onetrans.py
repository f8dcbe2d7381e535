"""OneTrans against its equations, every row with its own copy of the events."""

from typing import Any

import pytest

from factories import make_inputs
from hemix.models.onetrans import OneTransConfig, model
from hemix.nn import cached_attention
from parity import naive_onetrans
from parity.check import MARKED, assert_parity, batch_of, perturbed

SMALL: dict[str, Any] = {
    "embedding_dim": 4,
    "token_dim": 6,
    "num_heads": 3,
    "num_blocks": 3,
    "ffn_expansion": 2,
    "num_tokens": 2,
    "tower_hidden": (5, 4),
}
GROUPS = (("user", "item"), ("hour", "item"), ("category",))
SETTINGS: dict[str, dict[str, Any]] = {
    "recency": {"position": "recency"},
    "no separator": {"separator": False},
    "full": {"attention": "full"},
    "full, shared": {"attention": "full", "shared_parameters": True},
    "shared": {"shared_parameters": True, "num_blocks": 2},
    "no pyramid": {"pyramid": False},
    "steep pyramid": {"num_blocks": 4, "separator": False, "position": "recency"},
    "one block": {"num_blocks": 1},
    "mean": {"pooling": "mean"},
    "groups": {"tokenizer": "group", "token_groups": GROUPS, "num_tokens": None},
    "one history": {"histories": ("real_time",)},
    "no history": {"histories": ()},
}


@pytest.mark.parametrize("batch", MARKED)
def test_batches(batch: str) -> None:
    inputs, config = make_inputs(), OneTransConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_onetrans.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_settings(name: str) -> None:
    """Requests with both histories, with either and with none."""
    inputs, config = make_inputs(plain=True, num_tasks=1), OneTransConfig(**{**SMALL, **SETTINGS[name]})
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_onetrans.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 2 * 3 * 21 * 2, 2 * 3 * 21 * 7])
def test_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One candidate at a time, a few candidates, a few requests; and one request at a time."""
    monkeypatch.setattr(cached_attention, "CHUNK", chunk)
    monkeypatch.setattr(model, "CHUNK", chunk)
    inputs, config = make_inputs(plain=True, num_tasks=1), OneTransConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_onetrans.score(parameters, config, inputs, rows))
