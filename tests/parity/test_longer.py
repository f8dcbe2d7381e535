"""LONGER against its equations: what is made once per request against a sequence repeated for every row."""

from dataclasses import replace

import pytest

from factories import make_inputs
from hemix.models.longer import LONGERConfig
from hemix.nn import cached_attention
from parity import naive_longer
from parity.check import MARKED, assert_parity, batch_of, perturbed

SMALL = {
    "embedding_dim": 4,
    "token_dim": 12,
    "num_heads": 3,
    "merge_size": 2,
    "recent_queries": 2,
    "num_layers": 2,
    "ffn_expansion": 2,
    "hidden": (7, 5),
}
CONFIGS = {
    "one layer of self-attention": LONGERConfig(**{**SMALL, "num_layers": 1}),
    "three events a token": LONGERConfig(**{**SMALL, "merge_size": 3}),
    "more events a token than there are": LONGERConfig(**{**SMALL, "merge_size": 12, "recent_queries": 1}),
    "no merging": LONGERConfig(**{**SMALL, "merge_size": 1}),
    "side by side as they are": LONGERConfig(**SMALL, inner_layers=0),
    "two layers in a group": LONGERConfig(**SMALL, inner_layers=2),
    "every token is a query": LONGERConfig(**{**SMALL, "recent_queries": 50}),
    "learned queries": LONGERConfig(**SMALL, query_kind="learnable"),
    "learned queries, mean": LONGERConfig(**SMALL, query_kind="learnable", query_mean=True, pooling="mean"),
    "mean of the queries": LONGERConfig(**SMALL, query_mean=True),
    "mean of the globals": LONGERConfig(**SMALL, num_candidate_globals=3, pooling="mean"),
    "one global each": LONGERConfig(**SMALL, num_request_globals=1, num_candidate_globals=1),
    "no request globals": LONGERConfig(**SMALL, num_request_globals=0, query_mean=True),
    "one history": LONGERConfig(**SMALL, histories=("real_time",)),
    "histories out of order": LONGERConfig(**SMALL, histories=("real_time", "global")),
}


@pytest.mark.parametrize("batch", MARKED)
def test_batches(batch: str) -> None:
    inputs, config = make_inputs(), LONGERConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_longer.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 2 * 3 * 12 * 2])
def test_chunks(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One candidate at a time, and a few."""
    monkeypatch.setattr(cached_attention, "CHUNK", chunk)
    inputs, config = make_inputs(plain=True, num_tasks=1), LONGERConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_longer.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_settings(name: str) -> None:
    """Requests with both histories, with either and with none."""
    inputs, config = make_inputs(plain=True, num_tasks=1), CONFIGS[name]
    for batch in ("ragged", "switches"):
        ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
        assert_parity(ranker, rows, lambda parameters, rows=rows: naive_longer.score(parameters, config, inputs, rows))


@pytest.mark.slow
def test_a_history_without_a_cut_comes_last() -> None:
    inputs, config = make_inputs(plain=True, num_tasks=1), LONGERConfig(**SMALL)
    whole = replace(inputs.histories[0], part="all")
    inputs = replace(inputs, histories=(whole, inputs.histories[1]))
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "switches")
    assert_parity(ranker, rows, lambda parameters: naive_longer.score(parameters, config, inputs, rows))
