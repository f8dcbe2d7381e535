"""A study from its file to its ledger: only what is missing is run, and a failure stops nothing else."""

from pathlib import Path

import pytest

from hemix.errors import RunError
from hemix.ledger import Entry
from hemix.objectives import LogLoss
from hemix.study.conduct import Prepared, conduct, open_study
from hemix.study.plan import Job
from hemix.study.runner import Failure
from study.studies import write_study


class Watched:
    """Notes what happens."""

    def __init__(self) -> None:
        self.starts: list[str] = []

    def started(self, job: Job, run: Path) -> None:
        self.starts.append(job.title)

    def ended(self, job: Job, run: Path, failure: Failure | None) -> None:
        pass

    def tick(self) -> None:
        pass


def go(prepared: Prepared, slots: int = 1) -> tuple[list[str], list[Failure]]:
    """Titles of what was started, and what failed."""
    watched = Watched()
    failures = conduct(prepared, slots=slots, watcher=watched)
    return watched.starts, failures


def of(entries: tuple[Entry, ...], split: str) -> list[tuple[str, int]]:
    return [(entry.cell, entry.seed) for entry in entries if entry.split == split]


@pytest.mark.usefixtures("in_process")
def test_cells_times_seeds_then_nothing(tmp_path: Path, store: str) -> None:
    prepared = open_study(write_study(tmp_path / "in"), tmp_path / "out", data=[store])
    starts, failures = go(prepared)
    assert starts == ["narrow, seed 1", "wide, seed 1", "narrow, seed 2", "wide, seed 2"]
    assert failures == []
    entries = prepared.entries()
    assert prepared.places.ledger == tmp_path / "out" / "tiny.jsonl"
    assert of(entries, "test") == of(entries, "valid") == [("narrow", 1), ("wide", 1), ("narrow", 2), ("wide", 2)]
    assert {entry.study for entry in entries} == {"tiny"}
    assert [entry.test_reads for entry in entries if entry.split == "test"] == [1, 1, 2, 2]
    assert all((tmp_path / "out" / "runs" / entry.run / "predictions-test.npz").is_file() for entry in entries)
    before = prepared.places.ledger.read_bytes()
    assert go(prepared) == ([], [])
    assert go(open_study(tmp_path / "in" / "study.yaml", tmp_path / "out", data=[store])) == ([], [])
    assert prepared.places.ledger.read_bytes() == before


@pytest.mark.usefixtures("in_process")
def test_only_what_is_missing_is_run(tmp_path: Path, store: str) -> None:
    go(open_study(write_study(tmp_path / "in", seeds=[1]), tmp_path / "out", data=[store]))
    more = {"cells": {"narrow": {}, "wide": {"set": {"model.embedding_dim": 8}}, "mid": {"set": {"train.epochs": 2}}}}
    prepared = open_study(write_study(tmp_path / "in", seeds=[1, 2], **more), tmp_path / "out", data=[store])
    assert [(plan.cell.name, plan.done) for plan in prepared.plans()] == [("narrow", 1), ("wide", 1), ("mid", 0)]
    starts, _ = go(prepared)
    assert starts == ["mid, seed 1", "narrow, seed 2", "wide, seed 2", "mid, seed 2"]


@pytest.mark.usefixtures("in_process")
def test_a_line_that_did_not_get_into_the_ledger_is_not_trained_again(tmp_path: Path, store: str) -> None:
    prepared = open_study(write_study(tmp_path / "in", seeds=[1]), tmp_path / "out", data=[store])
    go(prepared)
    lines = prepared.places.ledger.read_bytes().splitlines(keepends=True)
    prepared.places.ledger.write_bytes(b"".join(lines[:2]))
    assert go(prepared) == ([], [])
    assert sorted(prepared.places.ledger.read_bytes().splitlines(keepends=True)) == sorted(lines)


@pytest.mark.usefixtures("in_process")
def test_a_run_that_fails_is_reported_and_the_others_go_on(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wide cell diverges in its third step, once."""
    prepared = open_study(write_study(tmp_path / "in"), tmp_path / "out", data=[store])
    forward, steps = LogLoss.forward, []

    def fragile(self: LogLoss, ranker: object, batch: object) -> object:
        steps.append(getattr(getattr(ranker, "config", None), "embedding_dim", 0))
        loss = forward(self, ranker, batch)
        return loss if steps.count(8) != 3 else type(loss)(total=loss.total * float("nan"), parts=loss.parts)

    with monkeypatch.context() as patch:
        patch.setattr(LogLoss, "forward", fragile)
        starts, (failure,) = go(prepared)
    assert len(starts) == 4
    assert failure.job.title == "wide, seed 1"
    assert "Error: " in failure.why
    assert "step 3" in failure.why
    assert of(prepared.entries(), "test") == [("narrow", 1), ("narrow", 2), ("wide", 2)]
    assert go(prepared) == (["wide, seed 1"], [])
    assert len(of(prepared.entries(), "test")) == 4


def test_one_process_at_a_time(tmp_path: Path, store: str) -> None:
    import fcntl

    prepared = open_study(write_study(tmp_path / "in"), tmp_path / "out", data=[store])
    (tmp_path / "out").mkdir()
    with (tmp_path / "out" / ".lock").open("a+b") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX)
        with pytest.raises(RunError, match="One process at a time runs a study"):
            go(prepared)
