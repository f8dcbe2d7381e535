"""What is left and what it takes, before anything runs."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hemix.cli import app
from hemix.errors import ConfigError
from hemix.study.conduct import open_study
from hemix.study.costs import Price, check_budget, clock, wall_seconds
from study.studies import write_study
from study.test_conduct import go


def price(left: int, seconds: float) -> Price:
    return Price(cell="c", what="runs", left=left, seconds=seconds, measured="a short run")


def test_the_wall_is_an_even_share_or_the_longest_run() -> None:
    assert wall_seconds([price(4, 10.0), price(2, 30.0)], 2) == 50.0
    assert wall_seconds([price(1, 90.0), price(1, 10.0)], 2) == 90.0
    assert wall_seconds([], 2) == 0.0
    assert [clock(3905.0), clock(65.0), clock(6.3), clock(float("inf"))] == ["1:05:05", "1:05", "6.3 s", "-"]


def test_a_budget_that_would_be_exceeded_is_refused() -> None:
    prices = [price(10, 720.0)]
    check_budget(prices, 1, 2.0)
    check_budget(prices, 1, None)
    with pytest.raises(ConfigError, match=r"at most; about 2\.00 are left at 1 jobs\. Cut cells or sizes"):
        check_budget(prices, 1, 1.9)


@pytest.mark.usefixtures("in_process")
def test_measured_once_then_by_finished_runs(tmp_path: Path, store: str) -> None:
    path = write_study(tmp_path / "in", seeds=[1])
    prepared = open_study(path, tmp_path / "out", data=[store])
    first = prepared.prices(prepared.plans())
    assert [(p.cell, p.what, p.left, p.measured) for p in first] == [
        ("narrow", "runs", 1, "a short run"),
        ("wide", "runs", 1, "a short run"),
    ]
    assert all(p.seconds > 0 for p in first)
    assert prepared.prices(prepared.plans()) == first
    go(prepared)
    more = open_study(write_study(tmp_path / "in", seeds=[1, 2, 3]), tmp_path / "out", data=[store])
    done = {entry.cell: entry.seconds for entry in more.entries() if entry.split == "test"}
    assert [(p.left, p.seconds, p.measured) for p in more.prices(more.plans())] == [
        (2, done["narrow"], "1 finished"),
        (2, done["wide"], "1 finished"),
    ]


@pytest.mark.usefixtures("in_process")
def test_a_dry_run_prints_the_cost_and_runs_nothing(tmp_path: Path, store: str) -> None:
    path = write_study(tmp_path / "in", seeds=[2])
    words = ["study", "run", str(path), "--out", str(tmp_path / "out"), "--data", store, "--jobs", "2"]
    shown = CliRunner().invoke(app, [*words, "--dry-run", "--json", str(tmp_path / "cost.json")])
    assert shown.exit_code == 0, shown.output
    assert re.search(r"narrow +runs +1 +[\d.]+ s +[\d.]+ s +a short run", shown.output)
    assert re.search(r"0 runs are done\. Left: [\d.]+ s of work, about [\d.]+ s with 2 jobs\.", shown.output)
    assert [each["left"] for each in json.loads((tmp_path / "cost.json").read_text())] == [1, 1]
    assert not (tmp_path / "out" / "runs").exists()
    refused = CliRunner().invoke(app, [*words, "--budget-hours", "0.0000001"])
    assert refused.exit_code == 2
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "wide, seed 2: test auc 0." in done.output
    again = CliRunner().invoke(app, words)
    assert "nothing is left to do; 2 runs are in" in again.output
    report = CliRunner().invoke(app, ["study", "report", str(path), "--out", str(tmp_path / "out")])
    assert report.exit_code == 0, report.output
    assert "| wide - narrow |" in report.output


def test_the_schema_of_a_study_file() -> None:
    shown = CliRunner().invoke(app, ["schema", "--study"])
    assert {"study", "experiment", "cells", "grid", "seeds", "search"} <= json.loads(shown.output)["properties"].keys()
