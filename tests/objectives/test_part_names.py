"""Every part of a loss has a name of its own in the log of training."""

from dataclasses import replace

import pytest

from factories import make_batch, make_inputs
from hemix.batch import TaskSpec
from hemix.errors import ConfigError
from hemix.models.dien import DIENConfig
from hemix.models.rankmixer import RankMixerConfig
from hemix.nn.token_experts import ExpertsConfig
from hemix.objectives import (
    CL4CTRConfig,
    ESMMConfig,
    LogLossConfig,
    NextEventConfig,
    ObjectiveConfig,
    build_objective,
)
from hemix.ranker import build_ranker

ESMM = ESMMConfig(click="click", conversion="order")


@pytest.mark.parametrize(
    ("objective", "task"),
    [
        (LogLossConfig(), "penalty"),
        (LogLossConfig(), "loss"),
        (LogLossConfig(), "kind"),
        (ESMM, "seconds"),
        (ESMM, "click_and_order"),
        (CL4CTRConfig(), "uniformity"),
        (NextEventConfig(), "next_event"),
        (NextEventConfig(), "penalty"),
    ],
)
def test_a_task_has_the_name_of_no_other_part(objective: ObjectiveConfig, task: str) -> None:
    inputs = make_inputs(plain=True)
    inputs = replace(inputs, tasks=(*inputs.tasks, TaskSpec(name=task)))
    with pytest.raises(ConfigError, match=rf"label '{task}'.* another name"):
        build_objective(objective, build_ranker(inputs, DIENConfig(), seed=0))


def test_the_penalty_of_experts_does_not_hide_a_task() -> None:
    inputs = replace(make_inputs(), tasks=(TaskSpec(name="penalty"),))
    with pytest.raises(ConfigError, match="'penalty'"):
        build_objective(
            LogLossConfig(), build_ranker(inputs, RankMixerConfig(experts=ExpertsConfig(num_experts=2)), seed=0)
        )


def test_names_of_other_objectives_are_free() -> None:
    inputs = replace(make_inputs(), tasks=(TaskSpec(name="uniformity"), TaskSpec(name="next_event")))
    ranker = build_ranker(inputs, DIENConfig(), seed=0)
    loss = build_objective(LogLossConfig(), ranker)(ranker, make_batch(inputs))
    assert set(loss.parts) == {"uniformity", "next_event"}
