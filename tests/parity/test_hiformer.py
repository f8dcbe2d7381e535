"""HiFormer against its equations."""

import pytest

from factories import make_inputs
from hemix.models.hiformer import HiFormerConfig
from parity import naive_hiformer
from parity.check import MARKED, assert_parity, batch_of, perturbed

SIZES = {"embedding_dim": 4, "num_layers": 2, "ffn_expansion": 2, "tower_hidden": (5, 3)}
SMALL = {**SIZES, "attention_hidden": (6,), "rank": 5}
MEAN = {**SIZES, "history_pooling": "mean", "rank": 5}
PER_TOKEN = {**SIZES, "attention_hidden": (6,), "projection": "per_token"}
CONFIGS = {
    "mean": HiFormerConfig(**MEAN),
    "post norm": HiFormerConfig(**SMALL, norm_position="post"),
    "full rank": HiFormerConfig(**{**SMALL, "rank": None}),
    "per token": HiFormerConfig(**PER_TOKEN),
    "per token, one layer": HiFormerConfig(**{**PER_TOKEN, "num_layers": 1}),
    "per token, not pruned": HiFormerConfig(**PER_TOKEN, prune_last=False),
    "not pruned": HiFormerConfig(**SMALL, prune_last=False),
    "mapped": HiFormerConfig(**SMALL, token_dim=6, num_heads=3),
    "mapped, mean": HiFormerConfig(**MEAN, token_dim=6, norm_position="post"),
    "no output projection": HiFormerConfig(**SMALL, output_projection=False),
    "one head": HiFormerConfig(**SMALL, num_heads=1, histories=("global",)),
}


@pytest.mark.parametrize("batch", MARKED)
def test_batches(batch: str) -> None:
    inputs, config = make_inputs(), HiFormerConfig(**SMALL)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_hiformer.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_settings(name: str) -> None:
    inputs, config = make_inputs(), CONFIGS[name]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "switches")
    assert_parity(ranker, rows, lambda parameters: naive_hiformer.score(parameters, config, inputs, rows))
