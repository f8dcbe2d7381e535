"""What `hemix explain` prints and writes."""

import json
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hemix.cli import app
from hemix.explain.report import ModelReport, RequestReport
from hemix.run import Run


def explain(*words: object) -> str:
    result = CliRunner().invoke(app, ["explain", *map(str, words)])
    assert result.exit_code == 0, result.output
    return result.output


def check_page(path: Path) -> str:
    page = path.read_text()
    assert page.startswith("<!doctype html>")
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="http', page)
    return page


@pytest.mark.parametrize("model", ["hemix", "din", "dlrm"])
def test_one_candidate(runs: dict[str, Run], tmp_path: Path, model: str) -> None:
    said = explain(runs[model].path, "--request", "row=3", "--out", tmp_path / "p.html", "--json", tmp_path / "p.json")
    report = RequestReport.model_validate(json.loads((tmp_path / "p.json").read_text()))
    (found,) = report.explained
    assert found.item in said
    assert "colour" in said
    page = check_page(tmp_path / "p.html")
    assert page.count("<svg") >= 3
    contributions = [f.contribution for f in found.fields] + [h.contribution for h in found.histories]
    assert sum(contributions) + found.residual == pytest.approx(found.logit - found.baseline, abs=1e-4)
    assert abs(found.residual) <= 0.01 * abs(found.logit - found.baseline) + 1e-4
    kinds = {"hemix": {"fixed", "dynamic"}, "din": {"target"}, "dlrm": set()}[model]
    assert {seen.kind for seen in found.attention} == kinds
    for seen in found.attention:
        assert len(seen.weights) == len(report.histories[seen.history])
        assert not seen.adds_to_one or sum(seen.weights) == pytest.approx(1.0, abs=1e-5)
    assert ("dlrm has no attention" in said) == (model == "dlrm")


def test_two_candidates(runs: dict[str, Run], tmp_path: Path) -> None:
    path = tmp_path / "p.json"
    explain(runs["din"].path, "--request", "row=3", "--json", path, "--out", tmp_path / "p.html")
    item = json.loads(path.read_text())["explained"][0]["item"]
    other = next(name for name in ("i1", "i2", "i3", "i4", "i5") if name != item)
    words = ["--request", "row=3", "--candidate", item, "--candidate", other, "--task", "by_like", "--split", "test"]
    said = explain(runs["din"].path, *words, "--json", path)
    report = RequestReport.model_validate(json.loads(path.read_text()))
    assert [found.item for found in report.explained] == [item, other]
    assert report.task == "by_like"
    assert f"What sets {item} apart from {other}" in said
    assert "What sets them apart" in check_page(runs["din"].path / "explain.html")


def test_a_model(runs: dict[str, Run], tmp_path: Path) -> None:
    words = ["--out", tmp_path / "m.html", "--json", tmp_path / "m.json"]
    said = explain(runs["hemix"].path, *words)
    text = (tmp_path / "m.json").read_text()
    report = ModelReport.model_validate(json.loads(text))
    assert [block.name for block in report.blocks] == [f"block {b} {p}" for b in (1, 2) for p in ("mixing", "ffn")]
    assert {(found.history, found.kind) for found in report.redundancy} == {
        (history, kind) for history in ("global", "real_time") for kind in ("fixed", "dynamic")
    }
    for found in report.redundancy:
        assert (found.queries is None) == (found.kind == "dynamic")
        assert all(1 <= seen <= found.events + 1e-4 for seen in found.events_seen)
    assert check_page(tmp_path / "m.html").count("<svg") > len(report.importance)
    assert "Queries: largest mean cosine" in said
    assert "Residual stream" in said


def test_a_model_without_queries_or_blocks(runs: dict[str, Run], tmp_path: Path) -> None:
    said = explain(runs["dlrm"].path, "--out", tmp_path / "m.html")
    assert "dlrm has no queries that could be alike." in said
    assert "dlrm has no residual blocks." in said
    check_page(tmp_path / "m.html")


def test_a_candidate_that_was_not_shown(runs: dict[str, Run], tmp_path: Path) -> None:
    said = explain(runs["din"].path, "--request", "user=u1", "--candidate", "i39", "--out", tmp_path / "p.html")
    assert "Item 'i39' was not shown in this request, so these fields are missing: reason, distance." in said
    wrong = CliRunner().invoke(app, ["explain", str(runs["din"].path), "--request", "user=u1", "--candidate", "i4O"])
    assert wrong.exit_code == 2
    assert wrong.stderr.startswith("Error: There is no item 'i4O'")


def test_names_from_data_are_text(runs: dict[str, Run], tmp_path: Path) -> None:
    from hemix.explain.page import request_html

    explain(runs["din"].path, "--request", "row=3", "--json", tmp_path / "p.json", "--out", tmp_path / "p.html")
    values = json.loads((tmp_path / "p.json").read_text())
    values["explained"][0]["item"] = "<b>&amp;"
    values["histories"]["global"][0]["item"] = "<i>x"
    page = request_html(RequestReport.model_validate(values))
    assert "<b>&amp;" not in page.replace("<b>&amp;lt;", "")
    assert "<i>x" not in page
