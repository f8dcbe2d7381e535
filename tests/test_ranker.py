"""Sizes known before a model is built. What all rankers do is in tests/conformance."""

from dataclasses import replace

import pytest
import torch

from factories import make_batch, make_inputs
from hemix.batch import TableSpec
from hemix.errors import ConfigError
from hemix.models.din import DINConfig
from hemix.models.dlrm import DLRMConfig
from hemix.models.hemix import PRESETS, HeMixConfig
from hemix.ranker import build_ranker, check_memory, count_parameters

INPUTS = make_inputs()
HUGE = replace(INPUTS, tables=(*INPUTS.tables, TableSpec(name="visitor", num_ids=10**12)))


@pytest.mark.parametrize(
    "config", [PRESETS["tiny"], DLRMConfig(), DLRMConfig(history_pooling="target_attention"), DINConfig()]
)
def test_count_equals_what_is_built(config: HeMixConfig | DLRMConfig | DINConfig) -> None:
    count = count_parameters(INPUTS, config)
    ranker = build_ranker(INPUTS, config, seed=0)
    tables = sum(table.numel() for table in ranker.embedding.tables)
    assert count.tables == tables == 16 * sum(table.num_ids for table in INPUTS.tables)
    assert count.tables + count.dense == sum(p.numel() for p in ranker.parameters())
    assert sum(count.by_part.values()) == count.tables + count.dense


def test_a_model_too_large_for_memory_is_refused_before_it_is_built() -> None:
    """16 TB of embeddings."""
    with pytest.raises(ConfigError, match=r"needs about 80000.0 GB to train .*'visitor', 1,000,000,000,000 ids"):
        build_ranker(HUGE, DINConfig(), seed=0)


def test_memory_is_what_training_needs() -> None:
    count = count_parameters(INPUTS, DINConfig())
    needed = check_memory(INPUTS, DINConfig(), memory=10**12)
    assert needed == 4 * (1.25 * count.tables + 4 * count.dense)
    assert check_memory(INPUTS, DINConfig(), memory=needed) == needed
    with pytest.raises(ConfigError, match="must fit into memory"):
        check_memory(INPUTS, DINConfig(), memory=needed - 1)
    dense = check_memory(INPUTS, DINConfig(), table_optimizer="adam", memory=10**12)
    assert dense == 16 * (count.tables + count.dense) > needed


def test_a_model_is_told_when_requests_and_events_were_and_what() -> None:
    """Of candidates there is no time; fields that are chosen from others keep theirs, and their ids."""
    batch = make_batch(INPUTS)
    x = build_ranker(INPUTS, DINConfig(), seed=0).embed(batch)
    assert x.request.times is batch.requests.times
    assert x.request.select(["user"]).times is batch.requests.times
    assert x.candidate.times is None
    for name, (events, _) in x.histories.items():
        assert events.times is batch.requests.histories[name].times
        assert events.ids is batch.requests.histories[name].events.ids
    assert x.request.ids is batch.requests.columns.ids
    assert x.candidate.select(["item"]).ids is batch.candidates.ids


def test_counting_leaves_the_random_state_alone() -> None:
    before = torch.random.get_rng_state()
    count_parameters(INPUTS, PRESETS["tiny"])
    assert torch.equal(torch.random.get_rng_state(), before)
