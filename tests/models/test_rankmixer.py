"""RankMixer: counts, tokens, experts and their penalty, configuration."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from factories import make_batch, make_inputs, unirank_inputs
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.rankmixer import RankMixerConfig
from hemix.nn.fields import Fields, Layout
from hemix.nn.ragged import Ragged
from hemix.nn.token_experts import ExpertsConfig, PerTokenExperts
from hemix.nn.tokenizers import ChunkTokenizer
from hemix.objectives import LogLossConfig, build_objective
from hemix.objectives.esmm import ESMMConfig
from hemix.ranker import Ranker, build_ranker, count_parameters, encode_embedded
from hemix.refine.drm import DRMConfig

INPUTS = make_inputs()
"""5 request fields, 6 candidate fields, 7 event fields in each of two histories."""
SIZES = {"embedding_dim": 4, "num_tokens": 5, "token_dim": 12, "tower_hidden": (5,)}
SMALL = {**SIZES, "attention_hidden": (6,)}
EXPERTS = RankMixerConfig(**SMALL, experts=ExpertsConfig(num_experts=3))


def layers(*widths: int) -> int:
    """Weights and biases of the linear maps between these widths."""
    return sum(a * b + b for a, b in pairwise(widths))


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"history_pooling": "mean", "attention_hidden": (64,)},
        {"norm_position": "pre"},
        {"tokenizer": "auto_split"},
        {"experts": {"num_experts": 3}},
        {"experts": {"num_experts": 3, "dense_training": False}},
    ],
)
def test_parameters_are_as_many_as_the_formula_says(change: dict[str, object]) -> None:
    config = RankMixerConfig.model_validate({**SMALL, "num_blocks": 3, **change})
    t, d, k, num_blocks, dim, tasks = 5, 12, 4, 3, 4, 2
    fields, shared, event = (5 + 6 + 2 * 7) * dim, 4 * dim, 7 * dim
    network = t * (2 * k * d * d + k * d + d)
    if config.experts is not None:
        routers = 2 if config.experts.dense_training else 1
        network = 3 * network + routers * t * (d * 3 + 3)
    expected = {
        "attention": 2 * layers(3 * shared + event, 6, 1) if config.history_pooling == "target_attention" else 0,
        "tokenizer": fields * d + t * d + 2 * t * d,
        "blocks": num_blocks * (network + 4 * d),
        "final_norm": 2 * d if config.norm_position == "pre" else 0,
        "towers": tasks * layers(d, 5, 1),
    }
    found = count_parameters(INPUTS, config).by_part
    found.pop("embedding")
    assert found == {part: number for part, number in expected.items() if number}


def test_networks_hold_the_parameters_that_the_paper_counts() -> None:
    """2 k L T D^2 weights: 113 M and 906 M at the paper's sizes for k = 3."""
    for (tokens, width), millions in (((16, 768), 113), ((32, 1536), 906)):
        config = RankMixerConfig(tokenizer="auto_split", num_tokens=tokens, token_dim=width, ffn_expansion=3)
        with torch.device("meta"):
            named = Ranker(INPUTS, config).named_parameters()
        weights = sum(value.numel() for name, value in named if ".ffn." in name and name.endswith("weight"))
        assert weights == 2 * 3 * 2 * tokens * width**2
        assert round(weights / 1e6) == millions


def test_a_public_implementation_has_the_same_count() -> None:
    """UniRank's log for KuaiRand: 3,682,822, of which its attention, which is another, and our final norm."""
    config = RankMixerConfig(
        history_pooling="mean",
        tokenizer="auto_split",
        num_tokens=4,
        token_dim=256,
        num_blocks=3,
        ffn_expansion=2,
        norm_position="pre",
    )
    assert count_parameters(unirank_inputs(), config).dense == 3_682_822 - 4 * 96 * 256 + 2 * 256


def test_pieces_are_equal_and_heed_no_field() -> None:
    """3 + 5 numbers of the request and 6 of the candidate, cut into 4: 3, 4, 3 and 4 of them."""
    request = Layout(names=("a", "b"), widths=(3, 5))
    candidate = Layout(names=("c",), widths=(6,))
    tokenizer = ChunkTokenizer(request, candidate, 4, 2)
    assert [part.linear.in_features for part in tokenizer.maps] == [3, 4, 3, 4]
    assert [part.request_width for part in tokenizer.maps] == [3, 4, 1, 0]
    x = torch.randn(1, 14)
    fields = [
        Fields(values=part, widths=layout.widths, names=layout.names)
        for part, layout in ((x[:, :8], request), (x[:, 8:], candidate))
    ]
    found = tokenizer(fields[1], tokenizer.encode(fields[0]))
    pieces = zip(tokenizer.maps, x.split([3, 4, 3, 4], dim=1), strict=True)
    expected = tokenizer.norm(torch.stack([part.linear(piece) for part, piece in pieces], dim=1))
    torch.testing.assert_close(found, expected)


def test_the_number_of_tokens_follows_the_features() -> None:
    for inputs, tokens in ((INPUTS, 8), (make_inputs(plain=True, histories=()), 4)):
        assert build_ranker(inputs, RankMixerConfig(), seed=0).backbone.tokenizer.num_tokens == tokens


@pytest.fixture
def mixture() -> PerTokenExperts:
    """Some gates open, some shut, in every token."""
    torch.manual_seed(0)
    mixture = PerTokenExperts(ExpertsConfig(num_experts=4), 3, 8, 2)
    with torch.no_grad():
        for parameter in mixture.parameters():
            parameter += 0.5 * torch.randn(parameter.shape)
    return mixture


def test_in_use_only_routed_rows_are_computed(mixture: PerTokenExperts, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(20, 3, 8)
    gates = mixture.gates(x)
    seen = []
    compute = mixture._expert
    monkeypatch.setattr(mixture, "_expert", lambda place, rows: seen.append((place, len(rows))) or compute(place, rows))
    found = mixture.eval()(x)
    torch.testing.assert_close(found, mixture.weighed(x, gates))
    routed = (gates > 0).sum(dim=0).flatten().tolist()
    assert seen == [(place, count) for place, count in enumerate(routed) if count]
    assert 0.2 < sum(routed) / gates.numel() < 0.8


def test_a_row_without_an_open_gate_gets_nothing(mixture: PerTokenExperts) -> None:
    with torch.no_grad():
        mixture.router.bias -= 100
    assert torch.equal(mixture.eval()(torch.randn(5, 3, 8)), torch.zeros(5, 3, 8))


def test_in_training_a_row_takes_the_router_that_was_drawn(mixture: PerTokenExperts) -> None:
    x = torch.randn(6, 3, 8)
    mixture.dense_rows = torch.tensor([True, False] * 3)
    found = mixture(x)
    assert mixture.dense_router is not None
    torch.testing.assert_close(found[0::2], mixture.weighed(x, mixture.gates(x, mixture.dense_router))[0::2])
    torch.testing.assert_close(found[1::2], mixture.weighed(x, mixture.gates(x))[1::2])


def test_about_half_of_the_rows_take_the_router_of_training() -> None:
    ranker, batch = build_ranker(INPUTS, EXPERTS, seed=0), make_batch(INPUTS, counts=(40,) * 10)
    ranker(batch)
    drawn = [block.ffn.dense_rows for block in ranker.backbone.blocks]
    assert 0.4 < drawn[0].float().mean() < 0.6
    assert all(torch.equal(drawn[0], other) for other in drawn[1:])


def test_penalty_is_of_open_gates_above_the_budget_and_of_shut_ones_below(mixture: PerTokenExperts) -> None:
    x = torch.randn(20, 3, 8)
    logits = mixture.router(x.transpose(0, 1))
    share = float((logits > 0).float().mean())
    for excess, moved in ((0.1, logits[logits > 0]), (-0.2, -logits[logits < 0])):
        mixture.config = ExpertsConfig(num_experts=4, active_share=share - excess, penalty=3.0)
        mixture(x)
        torch.testing.assert_close(mixture.penalty(), 3.0 * abs(excess) * moved.sum() / 60, rtol=1e-4, atol=0)
        assert mixture.penalty() is None


@pytest.mark.parametrize("refine", [None, DRMConfig()])
def test_the_penalty_reaches_every_loss(refine: DRMConfig | None) -> None:
    config = EXPERTS.model_copy(update={"refine": refine})
    batch = make_batch(INPUTS)
    for objective in (LogLossConfig(), ESMMConfig(click="click", conversion="order")):
        ranker = build_ranker(INPUTS, config, seed=0)
        torch.manual_seed(0)
        loss = build_objective(objective, ranker)(ranker, batch)
        assert list(loss.parts)[-1] == "penalty"
        # most gates are open by about 1/3 at the start: two blocks of about 1 * (0.8 - 0.5) * (3 / 3)
        assert 0.3 < loss.parts["penalty"] < 1.2
        torch.testing.assert_close(loss.total, sum(loss.parts.values()))
        assert loss.total.requires_grad


def test_without_experts_or_in_evaluation_there_is_no_penalty() -> None:
    batch = make_batch(INPUTS)
    for config in (RankMixerConfig(**SMALL), EXPERTS):
        ranker = build_ranker(INPUTS, config, seed=0)
        ranker.train(config.experts is None)
        assert list(build_objective(LogLossConfig(), ranker)(ranker, batch).parts) == ["click", "order"]
    ranker = build_ranker(INPUTS, EXPERTS, seed=0)
    assert build_objective(LogLossConfig(), ranker)(ranker, make_batch(INPUTS, counts=(0, 0))).total == 0


def test_the_penalty_is_of_the_router_of_use_alone() -> None:
    ranker, batch = build_ranker(INPUTS, EXPERTS, seed=0), make_batch(INPUTS)
    ranker(batch)
    ranker.penalty().backward()
    moved = {name for name, parameter in ranker.named_parameters() if parameter.grad is not None}
    routers = {f"backbone.blocks.{block}.ffn.router.{part}" for block in (0, 1) for part in ("weight", "bias")}
    assert moved == routers


@pytest.mark.slow
@pytest.mark.parametrize("share", [0.25, 0.6])
def test_training_brings_the_open_gates_to_the_budget(share: float) -> None:
    """From nearly all open, and though the labels are noise: the task alone would shut or open them as it pleases."""
    inputs = make_inputs(plain=True)
    experts = ExpertsConfig(num_experts=4, active_share=share)
    config = RankMixerConfig(**SIZES, history_pooling="mean", experts=experts)
    ranker = build_ranker(inputs, config, seed=0)
    objective = build_objective(LogLossConfig(), ranker)
    optimizer = torch.optim.AdamW(ranker.backbone.parameters(), lr=3e-3)
    batches = [make_batch(inputs, counts=(4,) * 16, seed=seed) for seed in range(10)]
    shares: list[float] = []
    for block in ranker.backbone.blocks:
        block.ffn.register_forward_pre_hook(
            lambda part, x: shares.append(float((part.gates(*x) > 0).float().mean())) and None
        )
    torch.manual_seed(0)
    for step in range(200):
        optimizer.zero_grad()
        objective(ranker, batches[step % 10]).total.backward()
        optimizer.step()
    assert min(shares[:2]) > 0.75
    for block in (0, 1):
        later = shares[block::2][100:]
        assert abs(sum(later) / len(later) - share) < 0.2


@pytest.mark.parametrize("norm_position", ["post", "pre"])
def test_updates_are_those_of_the_blocks(norm_position: str) -> None:
    """Two per block; where norms come before, the stream is the sum of what was added."""
    ranker = build_ranker(INPUTS, RankMixerConfig(**SMALL, norm_position=norm_position), seed=0).eval()
    model, batch = ranker.backbone, make_batch(INPUTS)
    x, ragged = ranker.embed(batch), Ragged(batch.offsets, batch.num_rows)
    given = (encode_embedded(model, x), x.candidate, ragged)
    updates = model.updates(*given)
    assert [update.name for update in updates] == ["block 1 mixing", "block 1 ffn", "block 2 mixing", "block 2 ffn"]
    assert torch.equal(updates[0].stream, model.tokens(*given))
    last = updates[-1].stream + updates[-1].added
    if norm_position == "post":
        last = model.blocks[-1].ffn_norm(last)
    torch.testing.assert_close(model.towers(model.final_norm(last).mean(dim=1)), ranker(batch))
    if norm_position == "pre":
        torch.testing.assert_close(last, updates[0].stream + sum(update.added for update in updates))


def test_features_must_be_enough_and_grouped() -> None:
    with pytest.raises(ConfigError, match="there are 25 features for 26 tokens"):
        build_ranker(INPUTS, RankMixerConfig(num_tokens=26), seed=0)
    with pytest.raises(ConfigError, match="there are 100 numbers for 101 pieces"):
        build_ranker(INPUTS, RankMixerConfig(embedding_dim=4, tokenizer="auto_split", num_tokens=101), seed=0)
    left_out = RankMixerConfig(token_groups=(("user", "tags", "hour", "age", "profile"), ("item", "global.item")))
    with pytest.raises(ConfigError, match=r"Every feature .* must be in a group .*, real_time.rating are in none"):
        build_ranker(INPUTS, left_out, seed=0)
    with pytest.raises(ConfigError, match="there is one token per group: num_tokens is 2, token_groups has 1"):
        parse_config(RankMixerConfig, {"num_tokens": 2, "token_groups": [["item"]]}, "model")
    with pytest.raises(ConfigError, match="token_groups belong to tokenizer 'semantic_group'"):
        parse_config(RankMixerConfig, {"tokenizer": "auto_split", "token_groups": [["item"]]}, "model")


@pytest.mark.parametrize("experts", [{"num_experts": 1}, {"active_share": 1.0}, {"penalty": 0}, {"budget": 1}])
def test_impossible_experts_are_refused(experts: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"experts.{next(iter(experts))}"):
        parse_config(RankMixerConfig, {"experts": experts}, "model")


def test_only_means_take_a_history_that_shares_no_field() -> None:
    histories = tuple(replace(history, shared=()) for history in INPUTS.histories)
    inputs = replace(INPUTS, histories=histories)
    with pytest.raises(ConfigError, match="history 'global' shares none"):
        build_ranker(inputs, RankMixerConfig(), seed=0)
    ranker = build_ranker(inputs, RankMixerConfig(history_pooling="mean"), seed=0)
    assert ranker(make_batch(inputs)).isfinite().all()
