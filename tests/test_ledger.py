"""The ledger keeps every line: side by side writers, a crash in the middle of a line, NaN."""

import math
import multiprocessing
from datetime import UTC, datetime

import pytest

from hemix import ledger
from hemix.errors import RunError
from hemix.ledger import Entry


def entry(**changes):
    values = {
        "study": "movielens",
        "cell": "DLRM",
        "split": "test",
        "config_hash": "c" * 64,
        "data_hash": "d" * 64,
        "commit": "0123456789abcdef",
        "seed": 0,
        "budget": {"epochs": 1},
        "seconds": 12.5,
        "figures": {"auc": 0.79, "gauc": 0.73, "log_loss": 0.54},
        "parameters": 154_000,
        "test_reads": 1,
        "hardware": "2 cores",
        "date": datetime(2026, 3, 1, 12, tzinfo=UTC),
    }
    return Entry(**(values | changes))


def test_what_is_appended_is_read_in_order(tmp_path):
    path = tmp_path / "evidence" / "movielens.jsonl"
    lines = [entry(seed=seed, intervals={"auc": (0.78, 0.8)}) for seed in range(3)]
    for line in lines:
        ledger.append(path, line)
    found = ledger.read(path)
    assert found.entries == tuple(lines)
    assert found.damaged == ()
    assert len(path.read_text().splitlines()) == 3


def test_no_file_is_an_empty_ledger(tmp_path):
    assert ledger.read(tmp_path / "none.jsonl").entries == ()


def test_undefined_figures_come_back_as_nan(tmp_path):
    ledger.append(tmp_path / "a.jsonl", entry(figures={"gauc": math.nan}, intervals={"gauc": (math.nan, math.nan)}))
    assert "NaN" not in (tmp_path / "a.jsonl").read_text()
    (found,) = ledger.read(tmp_path / "a.jsonl").entries
    assert math.isnan(found.figures["gauc"])
    assert math.isnan(found.intervals["gauc"][0])


def test_a_line_cut_by_a_crash_is_reported_and_spoils_no_other(tmp_path):
    path = tmp_path / "a.jsonl"
    ledger.append(path, entry(seed=0))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:40])
    found = ledger.read(path)
    assert [line.seed for line in found.entries] == [0]
    assert [(line.line, line.text) for line in found.damaged] == [(2, whole[:40].decode())]
    ledger.append(path, entry(seed=1))
    found = ledger.read(path)
    assert [line.seed for line in found.entries] == [0, 1]
    assert [line.line for line in found.damaged] == [2]


def test_a_line_that_is_no_entry_is_refused_with_its_number(tmp_path):
    path = tmp_path / "a.jsonl"
    ledger.append(path, entry())
    with path.open("a") as file:
        file.write('{"study": "x"}\n')
    with pytest.raises(RunError, match=r"a\.jsonl, line 2 is not a ledger entry of this version: cell: Field required"):
        ledger.read(path)


def _append_many(path, seed):
    for i in range(20):
        ledger.append(path, entry(seed=seed * 100 + i))


def test_two_processes_do_not_mix_their_lines(tmp_path):
    path = tmp_path / "a.jsonl"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_append_many, args=(path, seed)) for seed in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(30)
    found = ledger.read(path)
    assert found.damaged == ()
    assert sorted(line.seed for line in found.entries) == [s * 100 + i for s in range(3) for i in range(20)]


def test_reads_of_the_test_split_are_counted(tmp_path):
    path = tmp_path / "a.jsonl"
    for line in (entry(), entry(split="valid"), entry(seed=1), entry(config_hash="e"), entry(data_hash="e")):
        ledger.append(path, line)
    assert ledger.test_reads(path, "c" * 64, "d" * 64) == 2
    assert ledger.test_reads(path, "e", "d" * 64) == 1
    assert ledger.test_reads(tmp_path / "none.jsonl", "e", "d") == 0
