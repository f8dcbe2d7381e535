"""The settings that docs/multi-task.md shows are valid, each with the labels of its first block."""

import re
from pathlib import Path
from typing import Any

import pytest

from hemix.batch import FieldSpec, Inputs, TableSpec, TaskSpec
from hemix.config import parse_config
from hemix.config_file import parse_yaml
from hemix.experiment import Experiment
from hemix.nn.towers import PLE, MMoE
from hemix.ranker import build_ranker

GUIDE = (Path(__file__).parents[1] / "docs" / "multi-task.md").read_text(encoding="utf-8")
FIRST, *OTHERS = (parse_yaml(text, "docs/multi-task.md") for text in re.findall(r"```yaml\n(.*?)```", GUIDE, re.S))
DATA = {
    "tables": {"impressions": {"path": "impressions.csv"}},
    "examples": {"table": "impressions", "user": "user"},
    "features": {"request": [{"kind": "categorical", "column": "user"}], "candidate": []},
    "split": {"by": "random"},
    **FIRST["data"],
}
INPUTS = Inputs(
    request=(FieldSpec(name="user", kind="id", start=0, table="user"),),
    tables=(TableSpec(name="user", num_ids=5),),
    tasks=(TaskSpec(name="click"), TaskSpec(name="order"), TaskSpec(name="value", loss="log_squared")),
)


def experiment(**sections: Any) -> Experiment:
    return parse_config(Experiment, {"data": DATA, **sections}, "docs/multi-task.md")


def test_labels_of_the_guide() -> None:
    labels = experiment().data.labels
    assert [label.name for label in labels if not label.scored_by] == ["click", "order", "value"]
    assert len(labels) == 5


@pytest.mark.parametrize("block", OTHERS, ids=str)
def test_sections_of_the_guide(block: dict[str, Any]) -> None:
    found = experiment(**block)
    if "model" in block:
        ranker = build_ranker(INPUTS, found.model, seed=0)
        assert any(isinstance(part, MMoE | PLE) for part in ranker.modules())
