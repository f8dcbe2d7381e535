"""CL4CTR: closed forms against sums over pairs, masks, what is shared with the model, bad settings."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from factories import make_batch, make_inputs
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.experiment import Experiment
from hemix.models import ModelConfig
from hemix.models.dcn import DCNConfig
from hemix.models.deepfm import DeepFMConfig
from hemix.models.dlrm import DLRMConfig
from hemix.models.fm import FMConfig
from hemix.objectives import CL4CTR, CL4CTRConfig, LogLossConfig, build_objective
from hemix.objectives.cl4ctr import batch_alignment, batch_uniformity, table_alignment, table_uniformity
from hemix.ranker import Ranker, build_ranker
from hemix.training.optimizers import RowwiseAdagrad

INPUTS = make_inputs(num_tasks=2)
FIELDS = 6
"""Of ids: user, hour and tags of the request; item, category and genres of the candidate; no number, no vector."""


def random_numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def cosine(one: Tensor, other: Tensor) -> Tensor:
    return one @ other / (one.norm() * other.norm())


def test_alignment_of_a_batch_is_the_mean_over_pairs() -> None:
    x = random_numbers(6, 3, 4)
    pairs = [(x[a, f] - x[b, f]).square().sum() for a in range(6) for b in range(a + 1, 6) for f in range(3)]
    torch.testing.assert_close(batch_alignment(x), torch.stack(pairs).mean())
    assert batch_alignment(x[:1]) == 0


def test_uniformity_of_a_batch_is_the_mean_over_pairs_of_fields() -> None:
    x = random_numbers(6, 3, 4)
    pairs = [cosine(x[a, f], x[a, g]) for a in range(6) for f in range(3) for g in range(3) if f != g]
    torch.testing.assert_close(batch_uniformity(x), torch.stack(pairs).mean())


def test_closed_forms_of_tables_are_the_sums_over_all_pairs() -> None:
    tables = [random_numbers(n, 4, seed=n) for n in (5, 1, 3)]
    values = [(f, e) for f, table in enumerate(tables) for e in table]
    same = [(e - g).square().sum() for f, e in values for h, g in values if f == h]
    other = [cosine(e, g) for f, e in values for h, g in values if f != h]
    torch.testing.assert_close(table_alignment(tables), torch.stack(same).mean())
    torch.testing.assert_close(table_uniformity(tables), torch.stack(other).mean())


def test_a_zero_vector_has_no_direction() -> None:
    x = random_numbers(2, 3, 4)
    x[0, 1] = 0
    x.requires_grad_()
    batch_uniformity(x).backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def objective_and_ranker(model: ModelConfig, **settings: Any) -> tuple[CL4CTR, Ranker]:
    ranker = build_ranker(INPUTS, model, seed=0)
    objective = build_objective(CL4CTRConfig(**settings), ranker)
    assert isinstance(objective, CL4CTR)
    return objective, ranker


@pytest.mark.parametrize(("mask", "groups"), [("random", 100 * 6 * 8), ("feature", 100 * 6), ("dimension", 100 * 8)])
def test_masks_hide_a_share_of_what_they_group(mask: str, groups: int) -> None:
    """Ones and zeros; a group is masked as a whole."""
    objective, _ = objective_and_ranker(FMConfig(embedding_dim=8), mask=mask, mask_share=0.3)
    drawn = objective.draw_mask(torch.zeros(100, 6, 8))
    assert set(drawn.unique().tolist()) == {0.0, 1.0}
    assert drawn.mean().item() == pytest.approx(0.7, abs=4 * (0.21 / groups) ** 0.5)
    if mask == "feature":
        assert (drawn == drawn[:, :, :1]).all()
    if mask == "dimension":
        assert (drawn == drawn[:, :1]).all()


@pytest.mark.parametrize("at_once", [1024, 2])
def test_without_masks_both_views_differ_by_their_projection_only(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hemix.objectives.cl4ctr.ROWS_AT_ONCE", at_once)
    objective, _ = objective_and_ranker(FMConfig(embedding_dim=8), mask_share=0.0)
    objective.eval()
    x = random_numbers(5, 6, 8).float()
    encoded = objective.encoder(x).flatten(1)
    one, other = (projection(encoded) for projection in objective.projections)
    expected = torch.stack([(a - b).square().sum() for a, b in zip(one, other, strict=True)]).mean()
    torch.testing.assert_close(objective.contrast(x), expected)


def test_rows_are_encoded_on_their_own() -> None:
    """The released code mixes rows: its encoder reads them as a sequence, or its output is cut across them."""
    objective, _ = objective_and_ranker(FMConfig(embedding_dim=8))
    objective.eval()
    x = random_numbers(5, 6, 8).float()
    changed = x.clone()
    changed[2] += 1
    same = (objective.encoder(x) == objective.encoder(changed)).flatten(1).all(dim=1)
    assert same.tolist() == [True, True, False, True, True]


@pytest.mark.parametrize("model", [FMConfig(embedding_dim=8), DLRMConfig(embedding_dim=8)])
def test_the_total_is_the_sum_of_its_parts(model: ModelConfig) -> None:
    objective, ranker = objective_and_ranker(model, alpha=0.5, beta=0.25, task_weights={"order": 2.0})
    loss = objective(ranker, make_batch(INPUTS))
    parts = loss.parts
    assert list(parts) == ["click", "order", "contrastive", "alignment", "uniformity"]
    expected = parts["click"] + 2 * parts["order"] + 0.5 * parts["contrastive"]
    torch.testing.assert_close(loss.total, expected + 0.25 * (parts["alignment"] + parts["uniformity"]))
    assert not any(part.requires_grad for part in parts.values())


def test_fields_are_those_of_ids_on_every_row() -> None:
    """Of the vectors alone, where there are first-order weights beside them."""
    for model in (FMConfig(embedding_dim=8), DLRMConfig(embedding_dim=8), DeepFMConfig(embedding_dim=8)):
        objective, ranker = objective_and_ranker(model)
        assert objective.projections[0].in_features == FIELDS * 8
        objective(ranker, make_batch(INPUTS)).total.backward()
        assert all(parameter.grad is not None for parameter in objective.parameters())


def test_gradients_of_a_batch_are_sparse_and_of_tables_dense() -> None:
    batch = make_batch(INPUTS)
    for scope, sparse in (("batch", True), ("table", False)):
        objective, ranker = objective_and_ranker(FMConfig(embedding_dim=8), scope=scope)
        objective(ranker, batch).total.backward()
        gradient = ranker.embedding.tables[0].grad
        assert gradient is not None
        assert gradient.is_sparse == sparse
        assert (gradient.to_dense()[0] == 0).all()


@pytest.mark.slow
def test_it_pulls_values_of_a_field_together() -> None:
    """Alignment alone: after some steps values of a field are closer to each other than before."""
    objective, ranker = objective_and_ranker(FMConfig(embedding_dim=8), alpha=0.0, beta=100.0)
    before = objective(ranker, make_batch(INPUTS)).parts["alignment"]
    optimizer = RowwiseAdagrad(ranker.embedding.tables)
    for seed in range(30):
        ranker.zero_grad()
        objective(ranker, make_batch(INPUTS, seed=seed)).total.backward()
        optimizer.step()
    assert objective(ranker, make_batch(INPUTS)).parts["alignment"] < 0.8 * before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": {"name": "cl4ctr", "scope": "table"}}, "'rowwise_adagrad' cannot take; set it to 'adam'"),
        ({"objective": {"name": "cl4ctr"}, "model": {"name": "lr"}}, "model 'lr' has none"),
        ({"objective": {"name": "cl4ctr", "mask": "row"}}, "mask: .*'random'"),
        ({"objective": {"name": "cl4ctr", "mask_share": 1.0}}, "mask_share: .*less than 1"),
    ],
)
def test_what_does_not_fit_is_refused_before_training(change: dict[str, Any], message: str) -> None:
    data = {
        "tables": {"rows": {"path": "rows.csv"}},
        "examples": {"table": "rows", "user": "user", "item": "item"},
        "labels": [{"name": "click"}],
        "features": {"candidate": [{"kind": "categorical", "column": "item"}]},
        "split": {"by": "random", "fractions": [0.8, 0.1, 0.1]},
    }
    with pytest.raises(ConfigError, match=message):
        parse_config(Experiment, {"data": data, "model": {"name": "fm"}, **change}, "experiment")


def test_fields_that_cannot_be_compared_are_refused() -> None:
    tables = tuple(replace(table, dim=4) if table.name == "item" else table for table in INPUTS.tables)
    with pytest.raises(ConfigError, match=r"objective 'cl4ctr' needs fields of one width, got .*item 4"):
        build_objective(CL4CTRConfig(), build_ranker(replace(INPUTS, tables=tables), DCNConfig(), seed=0))
    numbers = tuple(field for field in INPUTS.candidate if field.table is None)
    single = replace(INPUTS, request=(), candidate=(INPUTS.candidate[0], *numbers), histories=())
    with pytest.raises(ConfigError, match="compares fields of ids; the data has 1"):
        build_objective(CL4CTRConfig(), build_ranker(single, FMConfig(), seed=0))
    with pytest.raises(ConfigError, match="num_heads must divide the width of a field; it is 3, the width 8"):
        build_objective(CL4CTRConfig(num_heads=3), build_ranker(INPUTS, FMConfig(embedding_dim=8), seed=0))


def test_a_log_loss_is_what_is_left_without_weights() -> None:
    objective, ranker = objective_and_ranker(FMConfig(embedding_dim=8), alpha=0.0, beta=0.0)
    batch = make_batch(INPUTS)
    torch.testing.assert_close(
        objective(ranker, batch).total, build_objective(LogLossConfig(), ranker)(ranker, batch).total
    )
