"""The report says what the ledger and the predictions say."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from hemix.errors import ConfigError, RunError
from hemix.evaluate.predictions import Predictions
from hemix.evaluate.slices import parts as cut
from hemix.run.compare import compare
from hemix.study.conduct import Places, Prepared, open_study
from hemix.study.page import table_html
from hemix.study.pictures import curves, frontier
from hemix.study.report import fill_page, find, markdown, write_report
from study.studies import tiny, write_study
from study.test_conduct import go


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, store: str, in_process: None) -> Prepared:
    folder = tmp_path_factory.mktemp("study")
    prepared = open_study(write_study(folder / "in", train={"epochs": 2}), folder / "out", data=[store])
    go(prepared)
    return prepared


@pytest.fixture
def done(tmp_path: Path, finished: Prepared) -> Prepared:
    """A finished study that a test may spoil."""
    out = tmp_path / "out"
    shutil.copytree(finished.places.out, out)
    return replace(finished, places=Places.of(finished.study, out))


def test_differences_are_those_of_compare(done: Prepared) -> None:
    found = find(done.study, done.places)
    (comparison,) = found.comparisons
    runs = sorted((done.places.out / "runs").iterdir())
    expected = compare(runs)
    assert [system.name for system in comparison.systems] == ["narrow", "wide"]
    assert [(d.metric, d.value, d.low, d.high) for d in comparison.differences if d.metric != "gauc"] == [
        (d.metric, d.value, d.low, d.high) for d in expected.differences if d.metric != "gauc"
    ]
    (auc,) = [d for d in comparison.differences if d.metric == "auc"]
    text = markdown(found)
    assert f"| wide - narrow | {auc.value:+.4f} [{auc.low:+.4f}, {auc.high:+.4f}] |" in text
    means = [sum(e.figures["auc"] for e in found.runs[name]) / 2 for name in ("wide", "narrow")]
    assert auc.value == pytest.approx(means[0] - means[1])


def test_files_pictures_and_pages(done: Prepared) -> None:
    found = find(done.study, done.places)
    written = write_report(found)
    assert [path.name for path in written] == ["report.md", "report.json", "report.html"]
    pictures = sorted(path.name for path in (done.places.out / "pictures").iterdir())
    assert pictures == ["cells.png", "learning-curves.png"]
    assert all((done.places.out / "pictures" / name).read_bytes().startswith(b"\x89PNG") for name in pictures)
    figures = json.loads(written[1].read_text())
    assert [len(runs) for runs in figures["cells"].values()] == [2, 2]
    page = written[2].read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "<td>wide - narrow</td>" in page
    document = done.places.out / "page.md"
    document.write_text("<!-- table: tiny -->\n<!-- end -->\n\n<!-- table: tiny-differences -->\n<!-- end -->\n")
    assert fill_page(found, document)
    assert not fill_page(found, document)
    assert document.read_text().count("| wide") == 2
    document.write_text("nothing\n")
    with pytest.raises(ConfigError, match="Unknown table mark 'tiny'"):
        fill_page(found, document)


def test_one_validation_is_no_curve() -> None:
    once = [{"kind": "train", "rows": 5, "loss": 0.7}, {"kind": "valid", "rows": 10, "auc": 0.6}]
    assert curves({"a": [once], "b": [once, once]}, "auc") is None
    twice = [*once, {"kind": "valid", "rows": 20, "auc": 0.7}]
    assert (curves({"a": [once], "b": [once, twice]}, "auc") or b"").startswith(b"\x89PNG")


def test_without_the_runs_the_kept_differences_are_shown(done: Prepared, tmp_path: Path) -> None:
    text = markdown(find(done.study, done.places))
    elsewhere = Places(out=tmp_path / "elsewhere", ledger=done.places.ledger)
    assert markdown(find(done.study, elsewhere)) == text
    done.places.ledger.with_suffix(".comparison.json").unlink()
    assert "No predictions in" in markdown(find(done.study, elsewhere))


def test_a_system_of_another_program_stands_beside_the_cells(done: Prepared, tmp_path: Path) -> None:
    """Here the lines and predictions of the cell `wide` under another name, which no cell of this study has."""
    beside = tiny(tmp_path / "beside", cells={"narrow": {}}, outside=["trees"], baselines=["trees"])
    lines = done.places.ledger.read_text().replace('"cell":"wide"', '"cell":"trees"')
    places = Places(out=done.places.out, ledger=tmp_path / "tiny.jsonl")
    places.ledger.write_text(lines)
    found = find(beside, places)
    assert list(found.runs) == ["narrow", "trees"]
    assert [system.name for comparison in found.comparisons for system in comparison.systems] == ["trees", "narrow"]
    assert "| narrow - trees |" in markdown(found)


def test_systems_are_compared_on_parts_of_the_split(done: Prepared, tmp_path: Path) -> None:
    by = tiny(tmp_path / "by", by=["user in training"])
    found = find(by, done.places)
    whole, *parts = found.comparisons
    assert whole.part is None
    assert {part.part for part in parts} <= {"user in training: seen", "user in training: new"}
    assert sum(part.rows for part in parts) == whole.rows
    folders = [done.places.out / "runs" / run for system in parts[0].systems for run in system.runs]
    apart = [Predictions.load(folder / "predictions-test.npz") for folder in folders]
    value = (parts[0].part or "").rpartition(" ")[2]
    masks = [dict(cut(run.slices["user in training"], max_values=9, names=None))[value] for run in apart]
    naive = [roc_auc_score(run.labels[mask, 0], run.logits[mask, 0]) for run, mask in zip(apart, masks, strict=True)]
    assert parts[0].systems[0].metrics["auc"].value == pytest.approx(sum(naive[:2]) / 2)
    text = markdown(found)
    assert text.count("| user in training: seen | narrow |") == 1
    kept = Places(out=tmp_path / "nowhere", ledger=done.places.ledger)
    assert markdown(find(by, kept)) == text
    with pytest.raises(ConfigError, match=r"Unknown slice in the study's `by` 'user'; available: .*user in training"):
        find(tiny(tmp_path / "wrong", by=["user"]), done.places)


def test_what_is_missing_is_said(done: Prepared, tmp_path: Path) -> None:
    cells = {"narrow": {}, "wide": {"set": {"model.embedding_dim": 8}}, "new": {"set": {"model.embedding_dim": 2}}}
    more = tiny(tmp_path / "more", seeds=[1, 2, 3], cells=cells)
    notes = find(more, done.places).notes
    assert "narrow: no figures yet of seed 3." in notes
    assert "new: no figures yet of seed 1, 2, 3." in notes
    with pytest.raises(RunError, match=r"A report needs finished runs; .*has none of the study 'tiny'"):
        find(more, Places.of(more, tmp_path / "empty"))
    with done.places.ledger.open("a") as file:
        file.write('{"torn')
    with pytest.raises(RunError, match="damaged in line 9"):
        find(done.study, done.places)


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_scaling_study(tmp_path: Path, store: str) -> None:
    grid = {"model.top_hidden": [[4], [8], [16], [32]]}
    path = write_study(
        tmp_path / "in", kind="scaling", cells={"flat": {}}, grid=grid, metrics=["ne", "auc"], baselines=[], seeds=[1]
    )
    prepared = open_study(path, tmp_path / "out", data=[store])
    assert go(prepared)[1] == []
    found = find(prepared.study, prepared.places)
    entries = [entries[0] for entries in found.runs.values()]
    sizes = [entry.figures["dense_parameters"] for entry in entries]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 4
    for entry in entries:
        assert entry.figures["multiply_adds_per_candidate"] > 0
        assert entry.figures["train_rows_per_second"] > 0
        assert entry.figures["p50_milliseconds"] > 0
    assert [(law.family, law.metric, law.sizes) for law in found.laws] == [
        ("flat", name, tuple(map(int, sizes))) for name in ("ne", "auc")
    ]
    assert {law.reason for law in found.laws} == {"a size has one seed, so the noise is not known"}
    written = write_report(found)
    assert "| family | metric | exponent |" in written[0].read_text()
    assert (prepared.places.out / "pictures" / "scaling-ne.png").is_file()


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_a_leaderboard(tmp_path: Path, store: str) -> None:
    """The best on top, with its costs; what was run before it was one is taken from its run, not trained again."""
    cells = {"narrow": {}, "wide": {"set": {"model.embedding_dim": 8}, "published": {"auc": 0.75}}}
    plain = open_study(write_study(tmp_path / "in"), tmp_path / "out", data=[store])
    go(plain)
    values = {"kind": "leaderboard", "cells": cells, "published_by": "A paper, table 2."}
    prepared = open_study(write_study(tmp_path / "in", **values), tmp_path / "out", data=[store])
    with pytest.raises(RunError, match=r"kind `leaderboard` needs the costs .* of 'narrow' have none.* run the study"):
        find(prepared.study, prepared.places)
    old = [entry for entry in prepared.entries() if entry.split == "test"]
    prepared.places.ledger.unlink()
    go(prepared)
    new = [entry for entry in prepared.entries() if entry.split == "test"]
    assert {(e.cell, e.seed, e.date, e.figures["auc"]) for e in old} == {
        (e.cell, e.seed, e.date, e.figures["auc"]) for e in new
    }
    board = find(prepared.study, prepared.places).tables()["tiny-leaderboard"]
    head, _, first, second = [line.strip("| ").split(" | ") for line in board.splitlines()[:4]]
    assert head[:5] == ["system", "AUC", "gAUC", "LogLoss", "AUC, published"]
    means = {name: sum(e.figures["auc"] for e in new if e.cell == name) / 2 for name in cells}
    best, worst = sorted(means, key=lambda name: -means[name])
    assert [first[:2], second[:2]] == [["1", best], ["2", worst]]
    published = {"narrow": "-", "wide": "0.7500"}
    for row in (first, second):
        cost = next(entry.figures for entry in new if entry.cell == row[1])
        assert row[2].startswith(f"{means[row[1]]:.4f} +/- ")
        assert row[5] == published[row[1]]
        assert row[6] == f"{cost['dense_parameters']:,.0f}"
        assert row[8] == f"{cost['multiply_adds_per_candidate']:,.0f}"
    assert "Published: A paper, table 2." in board
    write_report(find(prepared.study, prepared.places))
    assert (prepared.places.out / "pictures" / "costs.png").is_file()


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=12))
def test_the_frontier_is_what_nothing_cheaper_reaches(pairs: list[tuple[int, int]]) -> None:
    points = [(float(cost), float(gain)) for cost, gain in pairs]
    best = {
        (cost, gain)
        for cost, gain in points
        if all(gain > other_gain or cost < other for other, other_gain in points if (other, other_gain) != (cost, gain))
    }
    assert frontier(points) == sorted(best)


def test_tables_in_a_page_are_escaped() -> None:
    found = table_html("| a | b |\n|---|---|\n| x \\| \\<i\\> | `y` |\n\nLine.\n")
    assert "<td>x | &lt;i&gt;</td><td>y</td>" in found
    assert found.endswith("<p>Line.</p>")


@pytest.mark.slow
@pytest.mark.usefixtures("in_process")
def test_metrics_of_several_labels(tmp_path: Path) -> None:
    """Differences in a label are those of `compare` in that label; what cannot be compared stays in the first table."""
    labels = [{"name": "click"}, {"name": "late", "sql": "time % 2 = 0", "mask": "click"}]
    values = {"set": {"data.labels": labels}, "metrics": ["late.auc", "auc", "ece"], "seeds": [1]}
    prepared = open_study(write_study(tmp_path / "in", **values), tmp_path / "out")
    assert go(prepared)[1] == []
    found = find(prepared.study, prepared.places)
    figures = {name: entries[0].figures for name, entries in found.runs.items()}
    text = found.tables()["tiny-differences"]
    assert "| system - baseline | late AUC | AUC |" in text
    shown = [f"{figures['wide'][name] - figures['narrow'][name]:+.4f} [" for name in ("late.auc", "auc")]
    assert [part in text for part in shown] == [True, True]


@pytest.mark.usefixtures("in_process")
def test_cells_with_other_features_are_compared_on_the_same_rows(tmp_path: Path) -> None:
    cells = {"narrow": {}, "short": {"set": {"data.histories.shown.max_length": 2, "train.epochs": 2}}}
    prepared = open_study(write_study(tmp_path / "in", cells=cells, seeds=[1]), tmp_path / "out")
    assert go(prepared)[1] == []
    assert len({entry.data_hash for entry in prepared.entries()}) == 2
    (comparison,) = find(prepared.study, prepared.places).comparisons
    assert [system.name for system in comparison.systems] == ["narrow", "short"]
