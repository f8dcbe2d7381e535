"""Learning-rate factors: pencil values, bounds, and the steps of a budget."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.training.config import ScheduleConfig, TrainConfig
from hemix.training.schedules import planned_steps, rate_factor


def factors(total: int, **values: object) -> list[float]:
    schedule = ScheduleConfig.model_validate(values)
    return [rate_factor(schedule, step, total) for step in range(total + 2)]


def test_constant_with_warm_up() -> None:
    assert factors(4, warmup_steps=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert factors(2) == [1.0, 1.0, 1.0, 1.0]


def test_cosine_by_pencil() -> None:
    assert factors(4, kind="cosine") == pytest.approx([1.0, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5, 0.0, 0.0])


def test_floor() -> None:
    assert factors(2, kind="linear", floor=0.5) == [1.0, 0.75, 0.5, 0.5]


@given(st.sampled_from(["constant", "linear", "cosine"]), st.integers(0, 5), st.integers(1, 30), st.integers(0, 100))
def test_a_factor_stays_between_0_and_1(kind: str, warmup: int, total: int, step: int) -> None:
    assert 0.0 <= rate_factor(ScheduleConfig.model_validate({"kind": kind, "warmup_steps": warmup}), step, total) <= 1.0


@pytest.mark.parametrize(
    ("values", "steps"),
    [
        ({"epochs": 3, "batch_size": 10}, 12),
        ({"epochs": 3, "batch_size": 10, "max_steps": 5}, 5),
        ({"epochs": None, "max_steps": 7}, 7),
        ({"epochs": 3, "schedule": {"kind": "linear", "decay_steps": 9}}, 9),
    ],
)
def test_planned_steps(values: dict[str, object], steps: int) -> None:
    assert planned_steps(TrainConfig.model_validate(values), num_rows=35) == steps


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": None}, "needs an end"),
        ({"epochs": None, "max_seconds": 5, "schedule": {"kind": "cosine"}}, "schedule.decay_steps"),
        ({"schedule": {"floor": 0.1}}, "need kind 'linear' or 'cosine'"),
        ({"schedule": {"kind": "linear", "warmup_steps": 5, "decay_steps": 5}}, "must be above warmup_steps"),
        ({"monitor": "acu"}, "Did you mean 'auc'"),
        ({"monitor": "copc"}, "no metric to choose weights by"),
        ({"optimizer": {"betas": [0.9, 1.0]}}, "must lie in"),
        ({"batchsize": 5}, "Did you mean 'batch_size'"),
    ],
)
def test_impossible_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(TrainConfig, values, "exp.yaml, train")
