"""BST against its equations, every candidate with a sequence of its own through all blocks."""

from dataclasses import replace
from typing import Any

import pytest

from factories import make_inputs
from hemix.batch import Inputs
from hemix.models import bst
from hemix.models.bst import BSTConfig
from parity import naive_bst
from parity.check import MARKED, assert_parity, batch_of, perturbed

SMALL: dict[str, Any] = {
    "embedding_dim": 4,
    "token_dim": 6,
    "num_heads": 2,
    "ffn_expansion": 2,
    "hidden": (9, 5),
    "dropout": 0.0,
}
CONFIGS = {
    "candidate": BSTConfig(**SMALL, pooling="candidate"),
    "mean": BSTConfig(**SMALL, pooling="mean"),
    "few rows": BSTConfig(**SMALL, concat_length=3),
    "two blocks": BSTConfig(**SMALL, num_blocks=2),
    "two blocks, few rows": BSTConfig(**SMALL, num_blocks=2, concat_length=3),
    "two blocks, candidate": BSTConfig(**SMALL, num_blocks=2, pooling="candidate"),
    "three blocks, mean": BSTConfig(**SMALL, num_blocks=3, pooling="mean"),
    "apart": BSTConfig(**SMALL, events_see_candidate=False),
    "apart, mean": BSTConfig(**SMALL, events_see_candidate=False, pooling="mean"),
    "apart, candidate": BSTConfig(**SMALL, events_see_candidate=False, pooling="candidate"),
    "apart, three blocks": BSTConfig(**SMALL, events_see_candidate=False, num_blocks=3, concat_length=3),
    "apart, two blocks, mean": BSTConfig(**SMALL, events_see_candidate=False, num_blocks=2, pooling="mean"),
    "no position": BSTConfig(**SMALL, position="none"),
    "one history": BSTConfig(**SMALL, histories=("real_time",)),
    "other sizes": BSTConfig(embedding_dim=3, token_dim=6, num_heads=6, ffn_expansion=1, hidden=(5,), dropout=0.0),
}


@pytest.mark.parametrize("batch", MARKED)
@pytest.mark.parametrize("apart", [False, True])
def test_batches(batch: str, apart: bool) -> None:
    inputs, config = make_inputs(), BSTConfig(**SMALL, concat_length=5, events_see_candidate=not apart)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_bst.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("batch", MARKED)
def test_batches_through_two_blocks(batch: str) -> None:
    inputs, config = make_inputs(plain=True, num_tasks=1), BSTConfig(**SMALL, num_blocks=2, pooling="mean")
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_bst.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_settings(name: str) -> None:
    inputs, config = make_inputs(plain=True, num_tasks=1), CONFIGS[name]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_bst.score(parameters, config, inputs, rows))


def recent_first(inputs: Inputs) -> Inputs:
    """The recent history is named first, has other fields, and shares fewer."""
    older, recent = inputs.histories
    fields = tuple(field for field in recent.fields if field.name not in ("action", "price"))
    recent = replace(recent, fields=fields, shared=tuple(name for name in recent.shared if name != "price"))
    return replace(inputs, histories=(recent, older))


@pytest.mark.slow
@pytest.mark.parametrize("apart", [False, True])
def test_histories_with_different_fields_are_merged_oldest_first(apart: bool) -> None:
    inputs, config = recent_first(make_inputs()), BSTConfig(**SMALL, events_see_candidate=not apart, num_blocks=2)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    read = replace(inputs, histories=config.used_histories(inputs))
    assert [history.name for history in read.histories] == ["global", "real_time"]
    assert_parity(ranker, rows, lambda parameters: naive_bst.score(parameters, config, read, rows))


@pytest.mark.slow
@pytest.mark.parametrize("chunk", [1, 2 * 14 * 13, 7 * 14 * 13])
@pytest.mark.parametrize("name", ["few rows", "three blocks, mean", "apart, three blocks"])
def test_chunks(name: str, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One candidate at a time, a few candidates, a few requests; what is not kept is computed again."""
    monkeypatch.setattr(bst, "CHUNK", chunk)
    inputs, config = make_inputs(plain=True, num_tasks=1), CONFIGS[name]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_bst.score(parameters, config, inputs, rows))
