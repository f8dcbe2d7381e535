"""Row-wise Adagrad against a naive dense formula, Adam on tables against torch's, decay on matrices only."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from conformance.rankers import CONFIGS, FORMS, objective_of
from factories import make_inputs
from hemix.errors import RunError, TrainingError
from hemix.nn.grouped_linear import GroupedLinear
from hemix.ranker import build_ranker
from hemix.training.config import TrainConfig
from hemix.training.gradients import clip_gradients, merge_sparse_gradients
from hemix.training.learner import Learner
from hemix.training.optimizers import Optimizers, RowwiseAdagrad

STEPS = st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=8), min_size=1, max_size=5)


def table_of(rows: int, width: int, seed: int = 0) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))


def lookup_loss(table: nn.Parameter, ids: torch.Tensor, *, sparse: bool) -> torch.Tensor:
    """A loss whose gradient differs by position, so that repeated ids have to be summed."""
    weights = torch.arange(1, ids.numel() + 1, dtype=table.dtype)[:, None]
    return (F.embedding(ids, table, sparse=sparse) * weights).square().sum()


def test_one_step_by_pencil() -> None:
    """Row 1 has gradient (3, 4): s = 12.5, update = -0.1 * (3, 4) / sqrt(12.5); row 0 stays."""
    table = nn.Parameter(torch.zeros(2, 2))
    optimizer = RowwiseAdagrad([table], lr=0.1, eps=0.0)
    (F.embedding(torch.tensor([1]), table, sparse=True) * torch.tensor([3.0, 4.0])).sum().backward()
    optimizer.step()
    expected = torch.tensor([[0.0, 0.0], [-0.3 / 12.5**0.5, -0.4 / 12.5**0.5]])
    torch.testing.assert_close(table.detach(), expected)


@given(steps=STEPS, width=st.integers(1, 4))
def test_rowwise_adagrad_equals_the_dense_formula(steps: list[list[int]], width: int) -> None:
    table, naive = table_of(6, width), table_of(6, width)
    optimizer = RowwiseAdagrad([table], lr=0.05, eps=1e-8)
    sums = torch.zeros(6, dtype=torch.float64)
    for ids in steps:
        table.grad = None
        lookup_loss(table, torch.tensor(ids), sparse=True).backward()
        optimizer.step()
        naive.grad = None
        lookup_loss(naive, torch.tensor(ids), sparse=False).backward()
        with torch.no_grad():
            sums += naive.grad.square().mean(1)
            naive -= torch.where(sums > 0, 0.05 / (sums.sqrt() + 1e-8), 0.0)[:, None] * naive.grad
    torch.testing.assert_close(table, naive, rtol=1e-9, atol=1e-12)


def test_weight_decay_of_tables_is_in_the_gradient() -> None:
    """Row 1 is (1, 2), its gradient (3, 4), decay 0.5: (3.5, 5), s = 18.625. Row 0 is not in the batch and stays."""
    table = nn.Parameter(torch.tensor([[5.0, 5.0], [1.0, 2.0]]))
    optimizer = RowwiseAdagrad([table], lr=0.1, eps=0.0, weight_decay=0.5)
    (F.embedding(torch.tensor([1]), table, sparse=True) * torch.tensor([3.0, 4.0])).sum().backward()
    optimizer.step()
    expected = torch.tensor([[5.0, 5.0], [1 - 0.35 / 18.625**0.5, 2 - 0.5 / 18.625**0.5]])
    torch.testing.assert_close(table.detach(), expected)


@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_weight_decay_of_tables_under_adam_is_that_of_torch(decay: float) -> None:
    """Coupled, on every row, whether it is in the batch or not."""
    table, dense = table_of(6, 3), table_of(6, 3)
    config = TrainConfig(table_optimizer="adam", table_weight_decay=decay)
    ours = Optimizers({"table": table}, ["table"], config)
    torchs = torch.optim.Adam([dense], lr=config.optimizer.lr, weight_decay=decay)
    for ids in ([0, 2], [2, 5]):
        for parameter, sparse, optimizer in ((table, True, ours), (dense, False, torchs)):
            parameter.grad = None
            lookup_loss(parameter, torch.tensor(ids), sparse=sparse).backward()
            optimizer.step()
    torch.testing.assert_close(table, dense, rtol=1e-9, atol=1e-12)


def test_rowwise_adagrad_leaves_other_rows_bitwise_alone() -> None:
    table = table_of(10, 3)
    before = table.detach().clone()
    optimizer = RowwiseAdagrad([table])
    lookup_loss(table, torch.tensor([2, 7, 2]), sparse=True).backward()
    optimizer.step()
    changed = (table.detach() != before).any(1).nonzero()[:, 0].tolist()
    assert changed == [2, 7]
    assert optimizer.state[table]["sum"].nonzero()[:, 0].tolist() == [2, 7]


def test_rowwise_adagrad_refuses_a_dense_gradient() -> None:
    table = table_of(3, 2)
    lookup_loss(table, torch.tensor([0]), sparse=False).backward()
    with pytest.raises(TrainingError, match=r"needs sparse gradients.*table_optimizer: adam"):
        RowwiseAdagrad([table]).step()


@given(steps=STEPS)
def test_adam_on_tables_equals_torch_adam_on_a_dense_table(steps: list[list[int]]) -> None:
    """Rows that a batch does not have move too: their momentum goes on."""
    config = TrainConfig.model_validate({"table_optimizer": "adam", "table_lr": 0.01})
    table, dense = table_of(6, 3), table_of(6, 3)
    ours = Optimizers({"table": table}, ["table"], config)
    torchs = torch.optim.Adam([dense], lr=0.01)
    for ids in steps:
        ours.zero_grad()
        lookup_loss(table, torch.tensor(ids), sparse=True).backward()
        merge_sparse_gradients([table])
        ours.step()
        dense.grad = None
        lookup_loss(dense, torch.tensor(ids), sparse=False).backward()
        torchs.step()
    torch.testing.assert_close(table, dense, rtol=1e-9, atol=1e-12)


def test_weight_decay_is_on_matrices_only() -> None:
    matrix, bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))
    config = TrainConfig.model_validate({"optimizer": {"lr": 0.1, "weight_decay": 0.5}})
    optimizers = Optimizers({"matrix": matrix, "bias": bias}, [], config)
    matrix.grad, bias.grad = torch.zeros(2, 2), torch.zeros(2)
    optimizers.step()
    torch.testing.assert_close(matrix.detach(), torch.full((2, 2), 0.95))
    torch.testing.assert_close(bias.detach(), torch.ones(2))


@pytest.mark.parametrize("name", FORMS)
def test_weight_decay_is_on_the_weights_of_maps(name: str) -> None:
    """Not on learned vectors, biases and scales per token, which have two axes too: one step without any gradient."""
    inputs = make_inputs()
    ranker = build_ranker(inputs, CONFIGS[name], seed=0)
    learner = Learner(ranker, objective_of(ranker), tables=ranker.embedding.tables)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.fill_(1.0)
            parameter.grad = torch.zeros_like(parameter)
    config = TrainConfig.model_validate({"optimizer": {"lr": 0.1, "weight_decay": 0.5}})
    dense = Optimizers(learner.trainable(), learner.table_names, config, learner.undecayed()).dense
    dense.step()
    decayed = {key for key, parameter in learner.named_parameters() if (parameter < 1).all()}
    maps = {f"{key}.weight" for key, part in learner.named_modules() if isinstance(part, nn.Linear | GroupedLinear)}
    recurrent = [key for key, part in learner.named_modules() if isinstance(part, nn.GRU)]
    maps |= {f"{key}.weight_{side}_l0" for key in recurrent for side in ("ih", "hh")}
    assert decayed == maps


@pytest.mark.parametrize("setting", [{"lr": 0.5}, {"betas": (0.5, 0.5)}, {"eps": 1.0}, {"weight_decay": 0.9}])
def test_each_setting_changes_the_update(setting: dict[str, object]) -> None:
    results = []
    for values in ({}, setting):
        matrix = nn.Parameter(torch.ones(2, 2))
        optimizers = Optimizers({"m": matrix}, [], TrainConfig.model_validate({"optimizer": values}))
        for gradient in (1.0, -0.3):
            matrix.grad = torch.full((2, 2), gradient)
            optimizers.step()
        results.append(matrix.detach().clone())
    assert not torch.equal(*results)


def test_table_learning_rates() -> None:
    """None means 0.02 for row-wise Adagrad and the dense rate for Adam."""
    rates = {}
    for kind, given_rate in (("rowwise_adagrad", None), ("adam", None), ("adam", 0.3)):
        values = {"table_optimizer": kind, "table_lr": given_rate, "optimizer": {"lr": 0.004}}
        optimizers = Optimizers({"t": table_of(2, 2)}, ["t"], TrainConfig.model_validate(values))
        rates[kind, given_rate] = optimizers.tables.param_groups[0]["lr"]
    assert rates == {("rowwise_adagrad", None): 0.02, ("adam", None): 0.004, ("adam", 0.3): 0.3}


def test_rate_factor_scales_every_group() -> None:
    named = {"t": table_of(2, 2), "w": table_of(2, 2), "b": nn.Parameter(torch.zeros(2))}
    optimizers = Optimizers(named, ["t"], TrainConfig())
    optimizers.set_rate_factor(0.5)
    optimizers.set_rate_factor(0.1)
    groups = [*optimizers.dense.param_groups, *optimizers.tables.param_groups]
    assert [group["lr"] for group in groups] == pytest.approx([1e-4, 1e-4, 2e-3])


@pytest.mark.parametrize("kind", ["rowwise_adagrad", "adam"])
def test_state_round_trip_continues_bit_for_bit(kind: str) -> None:
    config = TrainConfig.model_validate({"table_optimizer": kind})

    def build() -> tuple[dict[str, nn.Parameter], Optimizers]:
        named = {"t": table_of(5, 2), "w": table_of(2, 2, seed=1)}
        return named, Optimizers(named, ["t"], config)

    def step(named: dict[str, nn.Parameter], optimizers: Optimizers) -> None:
        optimizers.zero_grad()
        (lookup_loss(named["t"] @ named["w"], torch.tensor([1]), sparse=False) * 0).backward()
        optimizers.zero_grad()
        loss = (F.embedding(torch.tensor([1, 3, 1]), named["t"], sparse=True) @ named["w"]).square().sum()
        loss.backward()
        merge_sparse_gradients(named.values())
        optimizers.step()

    named, optimizers = build()
    step(named, optimizers)
    middle = {name: value.detach().clone() for name, value in named.items()}
    saved = {name: value.clone() for name, value in optimizers.state_dict().items()}
    step(named, optimizers)

    again, resumed = build()
    with torch.no_grad():
        for name, value in middle.items():
            again[name].copy_(value)
    resumed.load_state_dict(saved)
    step(again, resumed)
    assert all(torch.equal(named[name], again[name]) for name in named)


def test_state_of_another_model_is_refused() -> None:
    optimizers = Optimizers({"w": table_of(2, 2)}, [], TrainConfig())
    with pytest.raises(RunError, match="'other/step'"):
        optimizers.load_state_dict({"other/step": torch.zeros(())})


@given(ids=st.lists(st.integers(0, 4), min_size=1, max_size=9), bound=st.floats(0.01, 50.0))
def test_clipping_equals_clipping_of_dense_gradients(ids: list[int], bound: float) -> None:
    gradients = []
    for sparse in (True, False):
        table, matrix = table_of(5, 3), table_of(3, 2, seed=1)
        parameters = [table, matrix]
        lookup = F.embedding(torch.tensor(ids), table, sparse=sparse)
        (lookup @ matrix).square().sum().backward()
        if sparse:
            merge_sparse_gradients(parameters)
            norm = clip_gradients(parameters, bound)
            gradients.append([table.grad.to_dense(), matrix.grad])
        else:
            expected = torch.nn.utils.clip_grad_norm_(parameters, bound)
            gradients.append([table.grad, matrix.grad])
    assert norm == pytest.approx(float(expected))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-5, atol=1e-9)


def test_no_clipping_without_a_bound_or_when_not_finite() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([3.0, 4.0])
    assert clip_gradients([parameter], None) == 5.0
    assert clip_gradients([], 1.0) == 0.0
    assert parameter.grad.tolist() == [3.0, 4.0]
    parameter.grad = torch.tensor([float("inf"), 1.0])
    assert clip_gradients([parameter], 1.0) == float("inf")
    assert parameter.grad[1] == 1.0
