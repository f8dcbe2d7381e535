"""DLRM against its equations."""

from dataclasses import replace

import pytest

from factories import make_inputs
from hemix.models.dlrm import DLRMConfig
from parity import naive_dlrm
from parity.check import BATCHES, assert_parity, batch_of, perturbed

SMALL = {"embedding_dim": 4, "bottom_hidden": (5,), "top_hidden": (9, 6)}
POOLING = {"mean": {}, "target_attention": {"history_pooling": "target_attention", "attention_hidden": (6,)}}
CONFIGS = {
    "products only": DLRMConfig(**SMALL, embeddings_to_top=False),
    "attention": DLRMConfig(**SMALL, **POOLING["target_attention"]),
    "attention, products only": DLRMConfig(**SMALL, **POOLING["target_attention"], embeddings_to_top=False),
    "one history": DLRMConfig(**SMALL, histories=("global",)),
}


@pytest.mark.parametrize("pooling", POOLING)
@pytest.mark.parametrize("batch", BATCHES)
def test_batches(batch: str, pooling: str) -> None:
    inputs, config = make_inputs(), DLRMConfig(**SMALL, **POOLING[pooling])
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_dlrm.score(parameters, config, inputs, rows))


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("name", CONFIGS)
def test_settings(name: str, plain: bool) -> None:
    inputs, config = make_inputs(plain=plain, num_tasks=1), CONFIGS[name]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "same number of candidates")
    assert_parity(ranker, rows, lambda parameters: naive_dlrm.score(parameters, config, inputs, rows))


def test_flat_table() -> None:
    """No history at all, one candidate per request: the original setting."""
    inputs, config = make_inputs(histories=()), DLRMConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_dlrm.score(parameters, config, inputs, rows))


@pytest.mark.parametrize("embeddings_to_top", [True, False])
def test_numbers_of_the_request_alone(embeddings_to_top: bool) -> None:
    """Then z_0 is the same for all candidates of a request."""
    inputs, config = make_inputs(), DLRMConfig(**SMALL, embeddings_to_top=embeddings_to_top)
    inputs = replace(inputs, candidate=tuple(field for field in inputs.candidate if field.kind != "number"))
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_dlrm.score(parameters, config, inputs, rows))
