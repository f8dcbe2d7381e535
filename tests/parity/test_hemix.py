"""HeMix against its equations."""

import pytest

from factories import make_inputs
from hemix.models.hemix import HeMixConfig
from hemix_switches import SWITCHES, switched
from parity import naive_hemix
from parity.check import BATCHES, assert_parity, batch_of, perturbed

SMALL = {
    "embedding_dim": 4,
    "token_dim": 12,
    "num_attention_heads": 3,
    "num_mixing_heads": 2,
    "mixing_rank": 3,
    "ffn_expansion": 2,
    "num_dynamic_global": 2,
    "num_dynamic_real_time": 3,
    "num_fixed_global": 1,
    "num_fixed_real_time": 2,
    "tower_hidden": (5, 4),
}
CONFIGS = {
    "post norm": HeMixConfig(**SMALL, num_blocks=2),
    "pre norm": HeMixConfig(**SMALL, num_blocks=4, tokenizer_hidden=9),
    "post norm, rms": HeMixConfig(**SMALL, num_blocks=1, norm_position="post", norm="rms_norm"),
    "pre norm, layer": HeMixConfig(**SMALL, num_blocks=1, norm_position="pre", norm="layer_norm"),
    "no global history": HeMixConfig(**SMALL, num_blocks=1, global_history=None),
    "no real-time history": HeMixConfig(**SMALL, num_blocks=1, real_time_history=None),
}


@pytest.mark.parametrize("batch", BATCHES)
def test_batches(batch: str) -> None:
    inputs, config = make_inputs(), CONFIGS["post norm"]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_hemix.score(parameters, config, inputs, rows))


@pytest.mark.parametrize("name", CONFIGS)
def test_settings(name: str) -> None:
    inputs, config = make_inputs(plain=True, num_tasks=1), CONFIGS[name]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_hemix.score(parameters, config, inputs, rows))


@pytest.mark.parametrize("name", SWITCHES)
def test_switches(name: str) -> None:
    """Requests with both histories, with either and with none."""
    config = switched(name)
    inputs = make_inputs(plain=config.token_groups is None)
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "switches")
    assert_parity(ranker, rows, lambda parameters: naive_hemix.score(parameters, config, inputs, rows))
