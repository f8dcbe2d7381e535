"""Which labels, objectives and monitors fit together; what does not is refused before anything is read."""

from typing import Any

import pytest

from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.experiment import Experiment
from hemix.objectives import ESMMConfig, LogLossConfig

CLICK, ORDER = {"name": "click"}, {"name": "order", "mask": "click"}
VALUE = {"name": "value", "kind": "regression", "mask": "order"}
TRUTH = {"name": "truth", "scored_by": "order"}
ESMM = {"name": "esmm", "click": "click", "conversion": "order"}


def experiment(labels: list[dict[str, Any]], **values: Any) -> Experiment:
    data = {
        "tables": {"log": {"path": "log.csv"}},
        "examples": {"table": "log", "user": "user"},
        "labels": labels,
        "features": {"request": [{"kind": "categorical", "column": "user"}], "candidate": []},
        "split": {"by": "random"},
        **values.pop("data", {}),
    }
    return parse_config(Experiment, {"data": data, **values}, "shop.yaml")


def test_an_objective_is_chosen_by_its_name() -> None:
    labels = [CLICK, ORDER, VALUE, TRUTH]
    assert experiment(labels).objective == LogLossConfig()
    plain = experiment(labels, objective={"task_weights": {"click": 0}}).objective
    assert plain == LogLossConfig(task_weights={"click": 0})
    joint = experiment(labels, objective={**ESMM, "task_weights": {"value": 0.1}})
    assert joint.objective == ESMMConfig(click="click", conversion="order", task_weights={"value": 0.1})
    assert Experiment.model_validate_json(joint.model_dump_json()) == joint


@pytest.mark.parametrize(
    ("labels", "objective", "message"),
    [
        ([CLICK], ESMM, r"esmm needs two labels, a click and a conversion; the data has click"),
        ([CLICK, {"name": "x", "scored_by": "click"}], ESMM, r"esmm needs two labels.*the data has click$"),
        ([CLICK, ORDER], {**ESMM, "click": "clck"}, r"objective\.click names 'clck'.*Did you mean 'click'"),
        ([CLICK, ORDER, TRUTH], {**ESMM, "conversion": "truth"}, r"conversion names 'truth'; the labels that are lear"),
        ([CLICK, {"name": "order"}], ESMM, r"'order' has mask null, it must be click"),
        ([CLICK, ORDER], {**ESMM, "click": "order", "conversion": "click"}, r"'order' is masked by 'click'.*exchange"),
        ([CLICK, ORDER], {**ESMM, "conversion": "click"}, r"label 'click' has mask null, it must be click"),
        (
            [CLICK, ORDER, {"name": "kept", "mask": "order"}],
            {**ESMM, "click": "order", "conversion": "kept"},
            r"label 'order' has mask click, it must be null",
        ),
        ([CLICK, ORDER, VALUE], {**ESMM, "conversion": "value"}, r"conversion is a label of 0 and 1; 'value' is a reg"),
        ([CLICK, ORDER], {"name": "esmm", "click": "click"}, r"objective\.conversion: Field required"),
        ([CLICK, ORDER], {"name": "esm"}, r"objective\.name: unknown 'esm'; available: .*Did you mean 'esmm'"),
        ([CLICK, ORDER], {**ESMM, "weights": {}}, r"unknown key 'objective\.weights'.*Did you mean 'task_weights'"),
        (
            [CLICK, ORDER, TRUTH],
            {"task_weights": {"truth": 1}},
            r"task_weights names 'truth'.*are: click, order",
        ),
    ],
)
def test_objectives_that_do_not_fit_the_labels(labels: list[Any], objective: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment(labels, objective=objective)


def test_esmm_needs_all_impressions() -> None:
    sample = {"downsample": {"label": "click", "keep": 0.5}}
    assert experiment([CLICK, ORDER], objective=ESMM, data=sample).data.downsample is not None
    sample["downsample"]["label"] = "order"
    with pytest.raises(ConfigError, match=r"dropped by the click only, and data\.downsample\.label is 'order'"):
        experiment([CLICK, ORDER], objective=ESMM, data=sample)


@pytest.mark.parametrize("monitor", ["auc", "order.gauc", "value.rmse", "value.mae", "truth.auc"])
def test_every_label_can_choose_the_weights(monitor: str) -> None:
    assert experiment([CLICK, ORDER, VALUE, TRUTH], train={"monitor": monitor}).train.monitor == monitor


@pytest.mark.parametrize(
    ("labels", "monitor", "message"),
    [
        ([CLICK, ORDER, VALUE], "value.auc", r"'value\.auc'; label 'value' is a regression one and has rmse, mae"),
        ([CLICK, ORDER, VALUE], "rmse", r"label 'click' is a binary one and has auc, log_loss"),
        ([{"name": "value", "kind": "regression"}], "auc", r"monitor is 'auc'; label 'value' is a regression one"),
        ([CLICK], "mean_ratio", r"no metric to choose weights by"),
    ],
)
def test_monitors_of_another_kind(labels: list[Any], monitor: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        experiment(labels, train={"monitor": monitor})
