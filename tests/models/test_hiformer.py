"""HiFormer: counts, pruning, what is computed once per request, configuration."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from factories import make_batch, make_inputs, unirank_inputs
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.evaluate.cost import model_cost
from hemix.models.hiformer import HiFormerConfig
from hemix.nn.ragged import Ragged
from hemix.ranker import build_ranker, count_parameters, encode_embedded

INPUTS = make_inputs()
"""5 request fields, 6 candidate fields, 7 event fields in each of two histories, 2 tasks."""
SMALL = {"embedding_dim": 4, "attention_hidden": (6,), "num_layers": 3, "rank": 5, "tower_hidden": (5,)}
SWITCHES: dict[str, dict[str, object]] = {
    "as it is": {},
    "mean": {"history_pooling": "mean", "attention_hidden": (64,)},
    "post norm": {"norm_position": "post"},
    "full rank": {"rank": None},
    "per token": {"projection": "per_token", "rank": 64},
    "not pruned": {"prune_last": False},
    "per token, not pruned": {"projection": "per_token", "rank": 64, "prune_last": False},
    "mapped": {"token_dim": 6, "num_heads": 3},
    "no output projection": {"output_projection": False},
    "one layer": {"num_layers": 1},
}


def small(name: str) -> HiFormerConfig:
    return HiFormerConfig.model_validate({**SMALL, **SWITCHES[name]})


def layers(*widths: int) -> int:
    """Weights and biases of the linear maps between these widths."""
    return sum(a * b + b for a, b in pairwise(widths))


def layer(config: HiFormerConfig, tokens: int, outputs: int, d: int) -> int:
    """Parameters of a layer in which `outputs` tokens query."""

    def projection(count: int) -> int:
        if config.projection == "per_token":
            return count * d * d
        if config.rank is None:
            return tokens * count * d * d
        return config.rank * (tokens + count) * d

    k = config.ffn_expansion
    return (
        projection(outputs)
        + 2 * projection(tokens)
        + (outputs * d * d if config.output_projection else 0)
        + outputs * (2 * k * d * d + k * d + d)
        + 4 * d
    )


@pytest.mark.parametrize("name", SWITCHES)
def test_parameters_are_as_many_as_the_formula_says(name: str) -> None:
    config = small(name)
    tasks, fields, dim, shared, event = 2, 5 + 6 + 2 * 7, 4, 4 * 4, 7 * 4
    d, tokens = config.token_dim or dim, tasks + fields
    outputs = [tokens] * (config.num_layers - 1) + [tasks if config.prune_last else tokens]
    maps = fields * (dim * d + 3 * d) if config.token_dim else 0
    found = count_parameters(INPUTS, config).by_part
    found.pop("embedding")
    assert found.pop("request_tokens", 0) + found.pop("candidate_tokens", 0) == maps
    expected = {
        "attention": 2 * layers(3 * shared + event, 6, 1) if config.history_pooling == "target_attention" else 0,
        "task_tokens": tasks * d,
        "layers": sum(layer(config, tokens, count, d) for count in outputs),
        "final_norm": 2 * d if config.norm_position == "pre" else 0,
        "towers": tasks * layers(d, 5, 1),
    }
    assert found == {part: number for part, number in expected.items() if number}


def test_a_public_implementation_has_the_same_count() -> None:
    """UniRank's log for KuaiRand: 97,010,182, of which its attention to events, and our final norm."""
    config = HiFormerConfig(
        history_pooling="mean",
        token_dim=256,
        rank=256,
        output_projection=False,
        ffn_expansion=2,
        prune_last=False,
    )
    assert count_parameters(unirank_inputs(), config).dense == 97_010_182 - 4 * 96 * 256 + 2 * 256


@pytest.mark.parametrize("name", ["as it is", "per token", "full rank"])
def test_pruning_changes_no_score(name: str) -> None:
    """The pruned layer has the rows of the other's weights that belong to the tokens of the tasks."""
    config = small(name)
    whole = build_ranker(INPUTS, config.model_copy(update={"prune_last": False}), seed=1).eval()
    pruned = build_ranker(INPUTS, config, seed=2).eval()
    state = {
        key: value[tuple(slice(size) for size in own.shape)]
        for (key, value), own in zip(whole.state_dict().items(), pruned.state_dict().values(), strict=True)
    }
    pruned.load_state_dict(state)
    batch = make_batch(INPUTS)
    torch.testing.assert_close(pruned(batch), whole(batch))
    cheaper = [model_cost(INPUTS, part.config).per_candidate for part in (pruned, whole)]
    assert cheaper[0] < cheaper[1]


@pytest.mark.parametrize("projection", ["composite", "per_token"])
def test_fields_of_the_request_cost_a_candidate_less(projection: str) -> None:
    """The first layer begins on them once per request; the same fields on the candidate's side cost it more."""
    config = HiFormerConfig(history_pooling="mean", projection=projection)
    plain = make_inputs(plain=True, histories=())
    moved = replace(plain, request=(), candidate=(*plain.request, *plain.candidate))
    first, second = model_cost(plain, config), model_cost(moved, config)
    assert first.per_candidate < second.per_candidate
    assert first.per_request > second.per_request
    total = [cost.per_request + cost.per_candidate for cost in (first, second)]
    assert total[0] == total[1]


def test_a_low_rank_is_cheaper_than_one_matrix() -> None:
    low, full = (model_cost(INPUTS, HiFormerConfig(rank=rank)).per_candidate for rank in (16, None))
    assert low < full / 3


def test_each_task_has_a_token_of_its_own() -> None:
    """What its network in the last layer does, no other task sees."""
    ranker = build_ranker(INPUTS, small("per token"), seed=0).eval()
    batch = make_batch(INPUTS)
    before = ranker(batch)
    with torch.no_grad():
        weight = ranker.backbone.layers[-1].ffn.down.weight[1]
        weight += torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    after = ranker(batch)
    assert torch.equal(before[:, 0], after[:, 0])
    assert not torch.isclose(before[:, 1], after[:, 1]).any()


@pytest.mark.parametrize("name", ["as it is", "not pruned", "post norm"])
def test_updates_are_those_of_the_layers(name: str) -> None:
    """Two per layer, in a pruned last one to the tokens of the tasks; with norms before, they add up."""
    ranker = build_ranker(INPUTS, small(name), seed=0).eval()
    model, batch = ranker.backbone, make_batch(INPUTS)
    x, ragged = ranker.embed(batch), Ragged(batch.offsets, batch.num_rows)
    updates = model.updates(encode_embedded(model, x), x.candidate, ragged)
    assert [update.name for update in updates] == [
        f"layer {n} {part}" for n in (1, 2, 3) for part in ("attention", "ffn")
    ]
    assert [update.added.shape[1] for update in updates] == [27] * 4 + ([27] * 2 if name == "not pruned" else [2] * 2)
    last = (updates[-1].stream + updates[-1].added)[:, :2]
    if name == "post norm":
        last = model.layers[-1].ffn_norm(last)
    else:
        total = sum(update.added[:, :2] for update in updates)
        torch.testing.assert_close(last, model.task_tokens + total)
    torch.testing.assert_close(model.towers(model.final_norm(last)), ranker(batch))


def test_fields_must_be_equally_wide_or_mapped() -> None:
    inputs = make_inputs(plain=True)
    tables = tuple(replace(table, dim=4 if table.name == "item" else None) for table in inputs.tables)
    inputs = replace(inputs, tables=tables)
    with pytest.raises(ConfigError, match=r"'hiformer' without a token_dim needs fields of one width, got .*item 4"):
        build_ranker(inputs, HiFormerConfig(), seed=0)
    assert build_ranker(inputs, HiFormerConfig(token_dim=8), seed=0)(make_batch(inputs)).isfinite().all()


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ConfigError, match=r"model.num_heads wide; the fields are 16 wide, num_heads is 3"):
        build_ranker(INPUTS, HiFormerConfig(num_heads=3), seed=0)
    with pytest.raises(ConfigError, match="token_dim must be a multiple of num_heads; token_dim is 7, num_heads is 2"):
        parse_config(HiFormerConfig, {"token_dim": 7}, "model")
    with pytest.raises(ConfigError, match="rank"):
        parse_config(HiFormerConfig, {"rank": 0}, "model")


def test_without_histories_and_with_fields_of_one_side() -> None:
    plain = make_inputs(plain=True, histories=())
    for inputs in (plain, replace(plain, request=()), replace(plain, candidate=(), request=plain.request)):
        for token_dim in (None, 8):
            ranker = build_ranker(inputs, HiFormerConfig(token_dim=token_dim), seed=0)
            assert ranker(make_batch(inputs)).isfinite().all()
