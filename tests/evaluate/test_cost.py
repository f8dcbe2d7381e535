"""Costs by formula against torch's counter, which watches the model run; what moves them, and by how much."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from conformance.rankers import CONFIGS, FORMS
from factories import make_batch, make_inputs
from hemix.batch import Inputs
from hemix.evaluate.cost import model_cost
from hemix.models import MODELS, ModelConfig
from hemix.models.bst import BSTConfig
from hemix.models.dien import DIENConfig
from hemix.models.din import DINConfig
from hemix.models.dlrm import DLRMConfig
from hemix.models.hemix import PRESETS, HeMixConfig
from hemix.models.hstu import HSTUConfig
from hemix.models.interformer import InterFormerConfig
from hemix.models.longer import LONGERConfig
from hemix.models.onetrans import OneTransConfig
from hemix.models.sim import SIMConfig
from hemix.nn.cost import Cost
from hemix.nn.token_experts import PerTokenExperts
from hemix.ranker import Ranker, build_ranker
from hemix_switches import SWITCHES, switched

CANDIDATES = (2, 5)
INTERFORMER: dict[str, Any] = {"embedding_dim": 8, "interaction_hidden": (5,), "hidden": (6,)}
OTHERS: dict[str, ModelConfig] = {
    "no histories": HeMixConfig(global_history=None, real_time_history=None, token_dim=16),
    "one history": HeMixConfig(real_time_history=None, token_dim=16),
    "bst, candidate": BSTConfig(embedding_dim=4, num_blocks=3, pooling="candidate", tower_hidden=(4,)),
    "bst, concat": BSTConfig(embedding_dim=4, num_blocks=2, concat_length=3, histories=("real_time",)),
    "bst, apart, mean": BSTConfig(embedding_dim=4, num_blocks=2, pooling="mean", events_see_candidate=False),
    "bst, apart, candidate": BSTConfig(embedding_dim=4, pooling="candidate", events_see_candidate=False),
    "din, deep": DINConfig(embedding_dim=4, attention_hidden=(6, 3), hidden=(9, 5), tower_hidden=(4,)),
    "interformer, networks": InterFormerConfig(
        **INTERFORMER, personal="mlp", aggregation="mlp", interaction="dot", fusion="merge", tower_hidden=(4,)
    ),
    "interformer, attention": InterFormerConfig(**INTERFORMER, aggregation="attention", gating="none", dhen_layers=2),
    "interformer, apart": InterFormerConfig(
        **INTERFORMER, flow="sep", aggregation="mean", interaction="dcnv2", cross_rank=3
    ),
    "interformer, sole": InterFormerConfig(**INTERFORMER, flow="sole", cross_rank=3),
    "interformer, no history": InterFormerConfig(**INTERFORMER, histories=()),
    "dien, agru": DIENConfig(embedding_dim=4, evolution="agru", hidden=(9, 5), tower_hidden=(4,)),
    "longer, more layers": LONGERConfig(
        token_dim=12, num_heads=2, merge_size=3, inner_layers=2, recent_queries=2, num_layers=3, num_request_globals=0
    ),
    "longer, no merging": LONGERConfig(token_dim=8, merge_size=1, histories=("global",), query_mean=True),
    "onetrans, no histories": OneTransConfig(histories=(), token_dim=16),
    "onetrans, one block": OneTransConfig(token_dim=16, num_blocks=1, tokenizer_hidden=9),
    "onetrans, one history": OneTransConfig(token_dim=16, num_blocks=5, num_tokens=2, histories=("global",)),
    "hstu, three layers": HSTUConfig(embedding_dim=4, token_dim=6, num_layers=3, num_heads=1, hidden=(5, 4)),
    "hstu, no history": HSTUConfig(embedding_dim=4, token_dim=6, histories=(), tower_hidden=(4,)),
    "sim, all found": SIMConfig(embedding_dim=4, top_k=100, histories=("real_time",), hidden=(5,)),
    "sim, hard": SIMConfig(
        embedding_dim=4, search="hard", match="item", time_intervals=False, top_k=2, short_term="din", hidden=(5,)
    ),
    "dlrm, products only": DLRMConfig(embedding_dim=4, embeddings_to_top=False, histories=("global",)),
}


def counted(inputs: Inputs, config: ModelConfig) -> Cost:
    """Score one request with few and with more candidates: the difference is theirs, the rest is the request's.

    Experts that rows are routed to are counted with every gate open.
    """
    ranker = build_ranker(inputs, config, seed=0).eval().requires_grad_(False)
    for part in ranker.modules():
        if isinstance(part, PerTokenExperts) and part.router.bias is not None:
            part.router.bias += 100
    few, many = (_products(ranker, count) for count in CANDIDATES)
    per_candidate = (many - few) // (CANDIDATES[1] - CANDIDATES[0])
    return Cost(per_request=few - CANDIDATES[0] * per_candidate, per_candidate=per_candidate)


def _products(ranker: Ranker, candidates: int) -> int:
    longest = {history.name: (history.max_length,) for history in ranker.inputs.histories}
    batch = make_batch(ranker.inputs, counts=(candidates,), lengths=longest)
    # only the unfused form of attention shows its products to the counter
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        ranker(batch)
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("name", [*FORMS, *OTHERS])
def test_formulas_agree_with_the_counter(name: str) -> None:
    config = {**CONFIGS, **OTHERS}[name]
    assert model_cost(make_inputs(), config) == counted(make_inputs(), config)


@pytest.mark.parametrize("name", SWITCHES)
def test_formulas_of_every_switch(name: str) -> None:
    config = switched(name)
    assert model_cost(make_inputs(), config) == counted(make_inputs(), config)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_larger_vocabularies_cost_nothing(name: str) -> None:
    inputs = make_inputs()
    larger = replace(inputs, tables=tuple(replace(table, num_ids=10**12) for table in inputs.tables))
    assert model_cost(larger, MODELS[name].config()) == model_cost(inputs, MODELS[name].config())


def longer(inputs: Inputs, events: int) -> Inputs:
    return replace(inputs, histories=tuple(replace(history, max_length=events) for history in inputs.histories))


def test_dynamic_queries_pay_for_each_event_twice() -> None:
    """Ten more events: 2 histories x 10 events x 4 queries x width 128, once for the weights, once for the sum."""
    inputs = make_inputs()
    long, short = model_cost(longer(inputs, 19), HeMixConfig()), model_cost(longer(inputs, 9), HeMixConfig())
    assert long.per_candidate - short.per_candidate == 2 * 10 * 4 * 128 * 2


def test_user_only_queries_cost_a_candidate_nothing() -> None:
    inputs = make_inputs()
    config = HeMixConfig(user_only_dynamic=True)
    assert model_cost(longer(inputs, 1000), config).per_candidate == model_cost(inputs, config).per_candidate
    assert model_cost(longer(inputs, 1000), config).per_request > model_cost(inputs, config).per_request


def test_no_events_no_attention() -> None:
    for config in (HeMixConfig(), DINConfig(), DIENConfig(), DLRMConfig(history_pooling="target_attention")):
        assert model_cost(longer(make_inputs(), 0), config).per_candidate > 0


@pytest.mark.parametrize(("name", "giga"), [("public", 0.02005), ("small", 0.208), ("mid", 0.934), ("large", 2.907)])
def test_presets_cost_what_the_blocks_cost(name: str, giga: float) -> None:
    """FLOPs of the blocks per candidate: twice L (2 N d d_r + 2 k N d^2)."""
    config = PRESETS[name]
    blocks = model_cost(make_inputs(), config).per_candidate
    without = model_cost(make_inputs(), config.model_copy(update={"num_blocks": 0})).per_candidate
    assert 2 * (blocks - without) / 1e9 == pytest.approx(giga, rel=0.01)
