"""A loss or gradient that is not finite stops training with the step, the part and the place."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from factories import make_batch, make_inputs
from hemix.batch import Batch, Columns
from hemix.errors import TrainingError
from hemix.models.dlrm import DLRMConfig
from hemix.objectives import LogLossConfig, Loss, build_objective
from hemix.ranker import Ranker, build_ranker
from hemix.training.checkpoint import load_tensors
from hemix.training.diagnose import gradient_error, loss_error
from hemix.training.folder import RunFolder
from hemix.training.gradients import merge_sparse_gradients
from hemix.training.learner import Learner
from training.toy import ToyLoader, toy_config, toy_learner, toy_trainer

INPUTS = make_inputs()


def learner_and_batch() -> tuple[Learner, Ranker, Batch]:
    ranker = build_ranker(INPUTS, DLRMConfig(embedding_dim=4), seed=0)
    objective = build_objective(LogLossConfig(), ranker)
    return Learner(ranker, objective, tables=ranker.embedding.tables), ranker, make_batch(INPUTS)


def explain(learner: Learner, batch: Batch) -> str:
    return str(loss_error(learner, batch, learner(batch), 7))


def with_numbers(columns: Columns, column: int, value: float) -> Columns:
    numbers = columns.numbers.clone()
    numbers[0, column] = value
    return replace(columns, numbers=numbers)


def test_an_infinite_input_column_is_named() -> None:
    learner, _, batch = learner_and_batch()
    message = explain(learner, replace(batch, candidates=with_numbers(batch.candidates, 7, float("inf"))))
    assert "Found: candidate feature 'price' is infinite" in message
    requests = replace(batch.requests, columns=with_numbers(batch.requests.columns, 2, float("-inf")))
    assert "request feature 'profile' is infinite" in explain(learner, replace(batch, requests=requests))


def test_a_missing_number_is_no_cause() -> None:
    learner, ranker, batch = learner_and_batch()
    with torch.no_grad():
        ranker.backbone.get_parameter(next(name for name, _ in ranker.backbone.named_parameters())).fill_(torch.inf)
    batch = replace(batch, candidates=with_numbers(batch.candidates, 7, float("nan")))
    assert "price" not in explain(learner, batch)


def test_labels_and_weights_are_looked_at() -> None:
    learner, _, batch = learner_and_batch()
    assert batch.weights is not None
    message = explain(learner, replace(batch, weights=torch.full_like(batch.weights, torch.nan)))
    assert "a sample weight is not finite" in message


def test_a_bad_row_of_a_table_is_named_by_table_id_and_readers() -> None:
    learner, ranker, batch = learner_and_batch()
    place = next(row for row in range(100) if ranker.embedding.locate(0, row) == ("item", 5))
    with torch.no_grad():
        ranker.embedding.tables[0][place] = torch.nan
    batch.candidates.ids[0, 0] = 5
    expected = "weights of table 'item' id 5 (read by candidate item, global item, real_time item)"
    assert expected in explain(learner, batch)


def test_a_bad_dense_parameter_is_named() -> None:
    learner, ranker, batch = learner_and_batch()
    name, parameter = next((n, p) for n, p in ranker.backbone.named_parameters() if p.ndim == 2)
    with torch.no_grad():
        parameter[0, 0] = torch.nan
    assert f"weights of parameter model.backbone.{name}" in explain(learner, batch)


class Overflow(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 1e38 * 1e38


def test_the_first_module_that_overflows_is_named() -> None:
    learner = toy_learner()
    learner.model.dropout = Overflow()
    batch = next(iter(ToyLoader()))
    assert "Found: output of model.dropout (Overflow)" in explain(learner, batch)


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        return gradients[0] * torch.nan


def test_gradients_that_are_not_finite_are_named() -> None:
    learner, ranker, batch = learner_and_batch()
    embed = ranker.embedding.candidate
    ranker.embedding.candidate = lambda columns: replace(embed(columns), values=_Spike.apply(embed(columns).values))
    learner(batch).total.backward()
    merge_sparse_gradients(learner.parameters())
    message = str(gradient_error(learner, batch, float("nan"), 3))
    assert "at step 3 their norm is nan" in message
    assert "table 'item' id" in message


@pytest.mark.parametrize("place", ["loss", "gradient"])
def test_training_stops_before_the_weights_are_touched(tmp_path: Path, place: str) -> None:
    folder = RunFolder(tmp_path)
    trainer = toy_trainer(folder, toy_config(checkpoint_steps=1))
    trainer.start()

    def spoil(module: object, inputs: object, loss: Loss) -> Loss | None:
        if trainer.state.step < 5:
            return None
        if place == "loss":
            return Loss(total=loss.total * torch.nan, parts={"click": loss.parts["click"] * torch.nan})
        return Loss(total=_Spike.apply(loss.total), parts=loss.parts)

    trainer.learner.objective.register_forward_hook(spoil)
    wrong = "click = nan" if place == "loss" else "their norm is nan"
    with pytest.raises(TrainingError, match=f"at step 6 {wrong}"):
        trainer.fit()
    assert all(parameter.isfinite().all() for parameter in trainer.learner.parameters())
    assert load_tensors(folder.checkpoint, torch.device("cpu"))[1]["train"]["step"] == 5
