"""InterFormer against its equations, row by row."""

import pytest

from factories import make_inputs
from hemix.models.interformer import InterFormerConfig, model
from parity import naive_interformer
from parity.check import MARKED, assert_parity, batch_of, perturbed

SMALL = {"embedding_dim": 4, "num_heads": 2, "num_summaries": 2, "interaction_hidden": (5,), "cross_rank": 3}
SMALL |= {"hidden": (7, 6)}
CONFIGS = {
    "dot": {"interaction": "dot", "cross_rank": 32},
    "dcnv2": {"interaction": "dcnv2", "interaction_hidden": (5, 4), "cross_layers": 1},
    "two layers of dhen": {"dhen_layers": 2},
    "one layer": {"num_layers": 1},
    "three layers": {"num_layers": 3},
    "no PMA": {"num_pooled": 0},
    "no recent": {"num_recent": 0},
    "CLS alone": {"num_pooled": 0, "num_recent": 0},
    "more recent than events": {"num_recent": 12},
    "one history": {"histories": ("real_time",)},
    "no history": {"histories": ()},
    "merged": {"fusion": "merge"},
    "named in another order": {"fusion": "merge", "histories": ("real_time", "global")},
    "literal gate": {"gating": "literal"},
    "swish gate": {"gating": "swish"},
    "no gate": {"gating": "none"},
    "network of PFFN": {"personal": "mlp"},
    "no PFFN": {"personal": "none"},
    "no MHA": {"self_attention": False},
    "neither": {"personal": "none", "self_attention": False},
    "as printed": {"residual": False, "gating": "literal", "interaction": "dcnv2"},
    "mean": {"aggregation": "mean"},
    "mlp": {"aggregation": "mlp"},
    "mlp of merged": {"aggregation": "mlp", "fusion": "merge"},
    "attention": {"aggregation": "attention"},
    "n2s": {"flow": "n2s"},
    "s2n": {"flow": "s2n"},
    "sep": {"flow": "sep"},
    "sole": {"flow": "sole"},
    "sole, merged": {"flow": "sole", "fusion": "merge"},
}


@pytest.mark.parametrize("batch", MARKED)
def test_batches(batch: str) -> None:
    inputs, config = make_inputs(), InterFormerConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_interformer.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_settings(name: str) -> None:
    inputs, config = make_inputs(plain=True, num_tasks=1), InterFormerConfig(**{**SMALL, **CONFIGS[name]})
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_interformer.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("rows_at_once", [1, 3, 10])
@pytest.mark.parametrize("flow", ["both", "s2n", "sep"])
def test_chunks(flow: str, rows_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row or request at a time, a few of like length; never all rows."""
    inputs, config = make_inputs(), InterFormerConfig(**{**SMALL, "flow": flow})
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    monkeypatch.setattr(model, "CHUNK", rows_at_once * (2 + 9) * 4)
    assert_parity(ranker, rows, lambda parameters: naive_interformer.score(parameters, config, inputs, rows))
