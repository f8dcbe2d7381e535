"""BST: what its documentation promises of counts, of who sees whom, and of configuration."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import pytest
import torch
from torch import Tensor

from factories import make_batch, make_inputs
from hemix.batch import Batch, Columns, Inputs
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.evaluate.cost import model_cost
from hemix.models.bst import BST, BSTConfig
from hemix.nn.ragged import Ragged
from hemix.nn.transformer_block import TransformerBlock
from hemix.ranker import Ranker, build_ranker, count_parameters

SMALL: dict[str, Any] = {"embedding_dim": 4, "token_dim": 8, "num_heads": 2, "hidden": (9, 5)}
LENGTHS: dict[str, Sequence[int]] = {"global": (6, 0, 2, 9), "real_time": (2, 3, 0, 9)}
COUNTS = (3, 2, 4, 3)
Pooling = Literal["concat", "candidate", "mean"]


def layers(widths: tuple[int, ...]) -> int:
    """Weights and biases of the linear maps between these widths."""
    return sum(a * b + b for a, b in pairwise(widths))


@pytest.mark.parametrize(("pooling", "rows"), [("concat", 8), ("candidate", 1), ("mean", 1)])
@pytest.mark.parametrize("apart", [False, True])
def test_parameters_are_as_many_as_the_formula_says(pooling: Pooling, rows: int, apart: bool) -> None:
    inputs = make_inputs(plain=True, num_tasks=3)
    config = BSTConfig(
        token_dim=24,
        num_blocks=2,
        hidden=(40, 20),
        pooling=pooling,
        events_see_candidate=not apart,
        concat_length=7 if pooling == "concat" else 20,
    )
    request, candidate, shared, other, width = 2 * 16, 2 * 16, 2 * 16, 2 * 16, 24
    count = count_parameters(inputs, config)
    assert count.by_part == {
        "embedding": count.tables,
        "tokens": (shared + 2 * other) * width + 3 * width,
        "position": (9 + 9) * width,
        "blocks": 2 * (4 * width**2 + layers((width, 4 * width, width)) + 4 * width),
        "first": layers((request + candidate + rows * width, 40)),
        "rest": layers((40, 20, 3)),
    }


def test_no_more_rows_are_read_than_events_can_be_there() -> None:
    inputs = make_inputs(plain=True)
    assert count_parameters(inputs, BSTConfig(concat_length=18)) == count_parameters(inputs, BSTConfig())


def ranker_of(config: BSTConfig, inputs: Inputs | None = None) -> Ranker:
    """In float64 and evaluation; no parameter is at its start value."""
    ranker = build_ranker(inputs or make_inputs(), config, seed=1).double().eval()
    random = torch.Generator().manual_seed(2)
    assert isinstance(ranker.backbone, BST)
    with torch.no_grad():
        for parameter in ranker.backbone.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=random, dtype=torch.float64)
    return ranker


def rows_of_events(config: BSTConfig) -> list[Tensor]:
    """Logits that read nothing but rows of events, for the candidates of each request."""
    ranker = ranker_of(config)
    backbone = ranker.backbone
    assert isinstance(backbone, BST)
    batch = make_batch(ranker.inputs, counts=COUNTS, lengths=LENGTHS, dtype=torch.float64)
    request, candidate = ranker.embedding.layouts.request.width, ranker.embedding.layouts.candidate.width
    with torch.no_grad():
        weight, rows = backbone.first.linear.weight, config.concat_length * config.token_dim
        weight[:, :request] = 0.0
        start = request if config.events_see_candidate else request + rows
        weight[:, start : start + candidate] = 0.0
        weight[:, -config.token_dim :] = 0.0
        return list(ranker(batch).split(COUNTS))


@pytest.mark.parametrize("num_blocks", [1, 2])
def test_who_sees_the_candidate(num_blocks: int) -> None:
    """Rows of events are the same for all candidates, or other ones for each, as the setting says."""
    config = BSTConfig(**SMALL, num_blocks=num_blocks, concat_length=4)
    for logits in rows_of_events(config):
        assert (logits - logits[0])[1:].abs().amax(dim=1).min() > 1e-6
    for logits in rows_of_events(config.model_copy(update={"events_see_candidate": False})):
        torch.testing.assert_close(logits, logits[:1].expand_as(logits))


def test_one_block_read_at_the_candidate_is_the_same_in_both_settings() -> None:
    """Only behind a second block has the candidate's row seen what events saw of it."""
    for num_blocks, same in ((1, True), (2, False)):
        seen = BSTConfig(**SMALL, num_blocks=num_blocks, pooling="candidate")
        apart = seen.model_copy(update={"events_see_candidate": False})
        first, second = ranker_of(seen), ranker_of(apart)
        batch = make_batch(first.inputs, counts=COUNTS, lengths=LENGTHS, dtype=torch.float64)
        assert torch.allclose(first(batch), second(batch)) is same


def reversed_events(batch: Batch) -> Batch:
    histories = {}
    for name, history in batch.requests.histories.items():
        ids, numbers = history.events.ids.clone(), history.events.numbers.clone()
        for r, length in enumerate(history.lengths.tolist()):
            for x in (ids, numbers):
                x[r, :length] = x[r, :length].flip(0)
        histories[name] = replace(history, events=Columns(ids=ids, numbers=numbers))
    return replace(batch, requests=replace(batch.requests, histories=histories))


@pytest.mark.parametrize("pooling", ["mean", "candidate", "concat"])
@pytest.mark.parametrize("apart", [False, True])
def test_order_is_seen_by_position_and_by_what_is_read(pooling: Pooling, apart: bool) -> None:
    for position in ("recency", "none"):
        config = BSTConfig(**SMALL, num_blocks=2, pooling=pooling, position=position, events_see_candidate=not apart)
        ranker = ranker_of(config)
        batch = make_batch(ranker.inputs, counts=COUNTS, lengths=LENGTHS, dtype=torch.float64)
        same = torch.allclose(ranker(reversed_events(batch)), ranker(batch))
        assert same is (position == "none" and pooling != "concat")


def test_only_the_latest_rows_are_read() -> None:
    """With keys and values of zero nobody sees anybody, and an event counts if its row is among the latest."""
    ranker = ranker_of(BSTConfig(**SMALL, concat_length=3, position="none"))
    block = ranker.get_submodule("backbone.blocks.0")
    assert isinstance(block, TransformerBlock)
    with torch.no_grad():
        block.value.weight.zero_()
    batch = make_batch(ranker.inputs, counts=(1,), lengths={"global": (4,), "real_time": (2,)}, dtype=torch.float64)
    expected, counted = ranker(batch), []
    for name, length in (("global", 4), ("real_time", 2)):
        for t in range(length):
            history = batch.requests.histories[name]
            ids = history.events.ids.clone()
            ids[0, t] = 3 - ids[0, t].clamp(max=2)
            changed = replace(history, events=replace(history.events, ids=ids))
            requests = replace(batch.requests, histories={**batch.requests.histories, name: changed})
            counted.append(not torch.equal(ranker(replace(batch, requests=requests)), expected))
    assert counted == [False, False, False, True, True, True]


def test_attention_of_the_candidate_leaves_some_for_itself() -> None:
    ranker = ranker_of(BSTConfig(**SMALL))
    batch = make_batch(ranker.inputs, counts=COUNTS, lengths=LENGTHS, dtype=torch.float64)
    state = ranker.encode(batch.requests)
    x = ranker.embed(batch)
    backbone = ranker.backbone
    assert isinstance(backbone, BST)
    maps = backbone.attention(state, x.candidate, Ragged(batch.offsets, batch.num_rows))
    assert [found.history for found in maps] == ["global", "real_time"]
    total = torch.cat([found.weights for found in maps], dim=3).sum(dim=3)
    assert ((total > 0) & (total < 1)).all()


def test_dropout_is_on_in_training_only() -> None:
    ranker = ranker_of(BSTConfig(**SMALL, dropout=0.5))
    batch = make_batch(ranker.inputs, dtype=torch.float64)
    assert torch.equal(ranker(batch), ranker(batch))
    ranker.train()
    assert not torch.equal(ranker(batch), ranker(batch))


def longer(inputs: Inputs, events: int) -> Inputs:
    return replace(inputs, histories=tuple(replace(history, max_length=events) for history in inputs.histories))


def test_what_an_event_costs_a_candidate() -> None:
    """Two products of its row's width where only the latest rows are read, or where events do not see the candidate."""
    for config, extra in (
        (BSTConfig(), 2 * 64),
        (BSTConfig(num_blocks=3, events_see_candidate=False), 3 * 2 * 64),
        (BSTConfig(pooling="mean"), 2 * 64 + (64 + 64**2 + 2 * 4 * 64**2)),
    ):
        few, many = (model_cost(longer(make_inputs(), events), config).per_candidate for events in (50, 60))
        assert many - few == 2 * 10 * extra


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="token_dim must be a multiple of num_heads; token_dim is 20, num_heads is 8"):
        parse_config(BSTConfig, {"token_dim": 20}, "model")
    with pytest.raises(ConfigError, match="hidden"):
        parse_config(BSTConfig, {"hidden": []}, "model")
    with pytest.raises(ConfigError, match="dropout"):
        parse_config(BSTConfig, {"dropout": 1.0}, "model")
    with pytest.raises(ConfigError, match=r"position.*'recency' or 'none'"):
        parse_config(BSTConfig, {"position": "time"}, "model")


def test_a_sequence_is_needed_and_must_share_a_field() -> None:
    with pytest.raises(ConfigError, match="got no history"):
        build_ranker(make_inputs(histories=()), BSTConfig(), seed=0)
    with pytest.raises(ConfigError, match="got no history"):
        build_ranker(make_inputs(), BSTConfig(histories=()), seed=0)
    with pytest.raises(ConfigError, match=r"got 'realtime'; .* Did you mean 'real_time'\?"):
        build_ranker(make_inputs(), BSTConfig(histories=("realtime",)), seed=0)
    inputs = make_inputs()
    alone = replace(inputs.histories[0], shared=())
    with pytest.raises(ConfigError, match="history 'global' shares none"):
        build_ranker(replace(inputs, histories=(alone, inputs.histories[1])), BSTConfig(), seed=0)
