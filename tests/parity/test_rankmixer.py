"""RankMixer against its equations."""

import pytest
import torch

from factories import make_inputs
from hemix.models.rankmixer import RankMixerConfig
from hemix.nn.token_experts import ExpertsConfig
from parity import naive_rankmixer
from parity.check import MARKED, assert_parity, batch_of, perturbed

GROUPS = (
    ("user", "item", "distance", "global.item", "real_time.item"),
    ("hour", "tags"),
    ("genres", "category", "hour", "image", "global.genres", "real_time.category", "price"),
    ("age", "profile", "global.gap", "global.action", "global.rating", "global.price", "global.category"),
    ("real_time.gap", "real_time.action", "real_time.rating", "real_time.price", "real_time.genres"),
)
"""Tokens of the request alone, of the candidate alone, and of both; 5 do not divide the width."""
SIZES = {"embedding_dim": 4, "token_dim": 12, "ffn_expansion": 2, "tower_hidden": (5, 3)}
SMALL = {**SIZES, "attention_hidden": (6,)}
MEAN = {**SIZES, "history_pooling": "mean"}
GROUPED = RankMixerConfig(**SMALL, token_groups=GROUPS)
CUT = {"tokenizer": "auto_split", "num_tokens": 4}
CONFIGS = {
    "mean": RankMixerConfig(**MEAN, token_groups=GROUPS),
    "pre norm": RankMixerConfig(**SMALL, token_groups=GROUPS, norm_position="pre"),
    "auto split": RankMixerConfig(**SMALL, **CUT),
    "auto split, mean": RankMixerConfig(**MEAN, **CUT),
    "auto split, more pieces than fields": RankMixerConfig(**SMALL, tokenizer="auto_split", num_tokens=31),
    "one history": RankMixerConfig(**SMALL, **CUT, histories=("real_time",)),
    "deep attention": RankMixerConfig(**{**SMALL, "attention_hidden": (6, 3)}, **CUT, num_blocks=1),
    "experts": RankMixerConfig(**SMALL, **CUT, experts=ExpertsConfig(num_experts=3)),
    "experts, one router": RankMixerConfig(**SMALL, **CUT, experts=ExpertsConfig(num_experts=2, dense_training=False)),
    "experts, pre norm": RankMixerConfig(
        **SMALL, token_groups=GROUPS, norm_position="pre", experts=ExpertsConfig(num_experts=2)
    ),
}


@pytest.mark.parametrize("batch", MARKED)
def test_batches(batch: str) -> None:
    inputs = make_inputs()
    ranker, rows = perturbed(inputs, GROUPED), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_rankmixer.score(parameters, GROUPED, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", CONFIGS)
def test_settings_in_use(name: str) -> None:
    """In evaluation: an expert is computed for the rows that are routed to it alone."""
    inputs, config = make_inputs(num_tasks=1), CONFIGS[name]
    ranker, rows = perturbed(inputs, config).eval(), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_rankmixer.score(parameters, config, inputs, rows))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, config in CONFIGS.items() if config.experts])
def test_experts_in_training(name: str) -> None:
    """Each row takes one of the two routers, the same in every block."""
    inputs, config = make_inputs(), CONFIGS[name]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "from 1 to 50 candidates")
    torch.manual_seed(3)
    assert_parity(
        ranker,
        rows,
        lambda parameters: naive_rankmixer.score(
            parameters, config, inputs, rows, ranker.backbone.blocks[0].ffn.dense_rows
        ),
    )
