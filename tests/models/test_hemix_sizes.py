"""Parameters of HeMix against the formulas of docs/models/hemix.md, for every switch and preset; counted on meta."""

from itertools import pairwise

import pytest
import torch

from factories import make_inputs
from hemix.batch import FieldSpec, HistorySpec, Inputs, TableSpec, TaskSpec
from hemix.errors import ConfigError
from hemix.models.hemix import PRESETS, HeMixConfig
from hemix.ranker import ParameterCount, Ranker, build_ranker, count_parameters
from hemix_switches import GROUPS, SMALL, SWITCHES, switched

TASKS = 3
INPUTS = make_inputs(num_tasks=TASKS)
"""5 request fields, 6 candidate fields, 7 event fields."""


def closed_form(
    config: HeMixConfig, *, request: int, candidate: int, event: int, tasks: int, crosses: int = 0
) -> dict[str, int]:
    """Dense parameters of each part, from the widths of the fields of request, candidate, event and their crosses."""
    d, norm = config.token_dim, (2 if config.norm_kind == "layer_norm" else 1) * config.token_dim
    groups = [group for group in ("global", "real_time") if getattr(config, f"{group}_history") is not None]
    dynamic = {group: getattr(config, f"num_dynamic_{group}") for group in groups}
    fixed = {group: getattr(config, f"num_fixed_{group}") for group in groups}
    n_dynamic, n_fixed = sum(dynamic.values()), sum(fixed.values())
    m = config.feature_tokens
    n = m + n_dynamic + n_fixed + (tasks if config.pooling == "task_token" else 0)
    maps = {"per_history": len(groups), "shared": min(1, len(groups))}[config.event_projection] * (event * d + d)
    sequences = 1 if config.merge_histories else len(groups)
    queries = (n_dynamic + n_fixed + 3 * sequences) * d * d + n_fixed * d
    queries += (n_dynamic + n_fixed) * d if config.empty_history == "learned" else 0
    queries += 2 * norm * sequences if config.attention_norm else 0
    own_maps = maps if config.event_projection == "per_history" else 0
    asked = config.num_dynamic_global + config.num_dynamic_real_time
    second = config.user_only_dynamic and config.tokenizer != "semantic_group"
    pooled = n * d if config.pooling == "flatten" else d
    return {
        "tokenizer": tokenizer(config, request + candidate + crosses, m, crosses),
        "query_tokenizer": tokenizer(config, request, asked) if second else 0,
        "events": maps - own_maps,
        "queries": own_maps + queries,
        "task_tokens": tasks * d if config.pooling == "task_token" else 0,
        "blocks": config.num_blocks * block(config, n, norm),
        "final_norm": norm if config.has_final_norm else 0,
        "towers": tasks * sum(a * b + b for a, b in pairwise([pooled, *config.tower_hidden, 1])),
    }


def tokenizer(config: HeMixConfig, fields: int, m: int, crosses: int = 0) -> int:
    d = config.token_dim
    if config.tokenizer == "semantic_group":
        widths = [config.embedding_dim * len(group) for group in GROUPS]
        widths[-1] += crosses
        return sum(width * d + d for width in widths) + 2 * m * d
    if config.tokenizer == "per_token_linear":
        return m * (fields * d + 3 * d)
    hidden = config.tokenizer_hidden or min(2 * m * d, 4096)
    return fields * hidden + hidden + hidden * m * d + m * d + 2 * m * d


def block(config: HeMixConfig, n: int, norm: int) -> int:
    d, k = config.token_dim, config.ffn_expansion
    mixing = {
        "hetero": 2 * n * d * config.mixing_rank + config.num_mixing_heads * config.mixing_rank + n * d,
        "rankmixer": 0,
        "self_attention": 4 * d * d,
        "identity": 0,
    }[config.mixer]
    ffn = {
        "per_token": n * (2 * k * d * d + k * d + d),
        "shared": 2 * k * d * d + k * d + d,
        "per_token_swiglu": n * (3 * k * d * d + 2 * k * d + d),
    }[config.ffn]
    return mixing + ffn + (norm if config.mixer == "identity" else 2 * norm)


def check(config: HeMixConfig) -> ParameterCount:
    dim = config.embedding_dim
    shared = sum(len(history.shared) for history in config.used_histories(INPUTS))
    crosses = shared if config.history_crosses else 0
    expected = closed_form(config, request=5 * dim, candidate=6 * dim, event=7 * dim, tasks=TASKS, crosses=crosses)
    count = count_parameters(INPUTS, config)
    found = {part: number for part, number in count.by_part.items() if part != "embedding"}
    assert found == {part: number for part, number in expected.items() if number}
    return count


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_has_the_parameters_of_its_formula(name: str) -> None:
    check(switched(name))


@pytest.mark.parametrize(
    "change", [{"num_blocks": 4}, {"real_time_history": None}, {"tokenizer_hidden": 7}, {"norm": "rms_norm"}]
)
def test_sizes_and_norms_too(change: dict[str, object]) -> None:
    check(HeMixConfig.model_validate({**SMALL, **change}))


@pytest.mark.parametrize(
    ("name", "num_tokens", "millions"),
    [
        ("tiny", 12, 0.1485),
        ("public", 24, 10.5),
        ("unirank", 12, 20.2),
        ("small", 24, 109.7),
        ("mid", 24, 480.7),
        ("large", 24, 1476.9),
    ],
)
def test_presets(name: str, num_tokens: int, millions: float) -> None:
    """Blocks and queries, without tokenizer and towers; HeteroMixing adds 2 L N d d_r weights, as the paper counts."""
    config = PRESETS[name]
    count = count_parameters(INPUTS, config) if name == "unirank" else check(config)
    assert (count.by_part["blocks"] + count.by_part["queries"]) / 1e6 == pytest.approx(millions, rel=5e-3)
    with torch.device("meta"):
        named = Ranker(INPUTS, config).named_parameters()
    weights = sum(value.numel() for key, value in named if ".mixing." in key and key.endswith("weight"))
    assert weights == 2 * config.num_blocks * num_tokens * config.token_dim * config.mixing_rank


@pytest.mark.parametrize(("tasks", "fields", "event_fields", "logged"), [(6, 37, 6, 21_027_686), (4, 7, 3, 20_441_444)])
def test_unirank_has_the_published_counts(tasks: int, fields: int, event_fields: int, logged: int) -> None:
    """Dense parameters that a public implementation logged for KuaiRand and for QK-Video; embeddings of width 16."""
    ids = tuple(FieldSpec(name=f"field {i}", kind="id", start=i, table="ids") for i in range(fields))
    events = ids[:event_fields]
    inputs = Inputs(
        request=ids[:3],
        candidate=ids[3:],
        histories=tuple(
            HistorySpec(name=name, fields=events, shared=(), max_length=20, part="all")
            for name in ("global", "real_time")
        ),
        tables=(TableSpec(name="ids", num_ids=10),),
        tasks=tuple(TaskSpec(name=f"task {k}") for k in range(tasks)),
    )
    assert count_parameters(inputs, PRESETS["unirank"]).dense == logged


def test_a_preset_beyond_memory_is_refused_before_it_is_built() -> None:
    """1.5 G parameters, and four times as many numbers to train them."""
    with pytest.raises(ConfigError, match=r"needs about 24.\d GB to train .* 8.0 GB are left. .*smaller model.preset"):
        build_ranker(INPUTS, PRESETS["large"], seed=0, memory=8_000_000_000)
