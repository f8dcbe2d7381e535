"""Tables of the documentation are made from ledgers."""

import math

import pytest

from hemix import ledger
from hemix.errors import ConfigError, RunError
from hemix.study import tables
from test_ledger import entry

PAGE = "# Results\n\n<!-- table: movielens -->\nold\n<!-- end -->\n\nText.\n"


def test_means_spreads_and_intervals_by_pencil():
    """DLRM: .78 and .80 have mean .79 and standard deviation .0141; ends average to .77 and .81."""
    lines = [
        entry(seed=0, figures={"auc": 0.78}, intervals={"auc": (0.76, 0.80)}),
        entry(seed=1, figures={"auc": 0.80}, intervals={"auc": (0.78, 0.82)}),
        entry(cell="HeMix", config_hash="h", figures={"auc": 0.81}, test_reads=3),
    ]
    found = tables.table(lines, metrics=["auc"]).splitlines()
    assert found[0] == "| system | AUC | seeds | parameters | training | test reads |"
    assert found[2] == "| DLRM | 0.7900 +/- 0.0141 [0.7700, 0.8100] | 2 | 154,000 | 12 s | 1 |"
    assert found[3] == "| HeMix | 0.8100 | 1 | 154,000 | 12 s | 3 |"
    assert "Split: test. Mean over seeds +/- their standard deviation; in brackets the 95 % interval" in found[-1]
    assert "Commit 01234567, 2026-03-01, 2 cores." in found[-1]


def test_a_later_line_of_the_same_run_counts():
    found = tables.table([entry(figures={"auc": 0.5}), entry(figures={"auc": 0.7})], metrics=["auc"])
    assert "| DLRM | 0.7000 | 1 |" in found


def test_what_differs_between_systems_is_in_the_table():
    lines = [entry(), entry(cell="HeMix", config_hash="h", data_hash="x" * 64, budget={"epochs": 3, "trials": None})]
    found = tables.table(lines)
    assert "| data | budget |" in found
    assert "| `xxxxxxxx` | epochs 3 |" in found
    assert "hardware |" not in found


def test_one_system_name_with_two_configurations_keeps_two_rows():
    found = tables.table([entry(), entry(config_hash="e" * 64)])
    assert "| configuration |" in found
    assert found.count("| DLRM |") == 2


def test_an_undefined_figure_is_a_dash():
    assert "| DLRM | - | 1 |" in tables.table([entry(figures={"gauc": math.nan})], metrics=["gauc"])


def test_names_cannot_break_out_of_their_cell():
    found = tables.table([entry(cell="a|b <script> `x`\n# c")])
    assert "| a\\|b \\<script\\> \\`x\\` # c |" in found


def test_a_page_gets_its_table_and_keeps_the_rest(tmp_path):
    path, page = tmp_path / "movielens.jsonl", tmp_path / "page.md"
    ledger.append(path, entry())
    page.write_text(PAGE)
    assert tables.render_markdown(path, page)
    text = page.read_text()
    assert text.startswith("# Results\n\n<!-- table: movielens -->\n| system |")
    assert text.endswith("\n<!-- end -->\n\nText.\n")
    assert "old" not in text
    assert not tables.render_markdown(path, page)
    assert page.read_text() == text


def test_the_wrong_page_or_ledger_is_refused_and_nothing_is_written(tmp_path):
    path, page = tmp_path / "movielens.jsonl", tmp_path / "page.md"
    page.write_text(PAGE)
    with pytest.raises(RunError, match="entries of the split 'test'; the ledger has none"):
        tables.render_markdown(path, page)
    ledger.append(path, entry())
    with pytest.raises(ConfigError, match=r"Unknown table mark 'movielen'; available: movielens\. Did you mean"):
        tables.render_markdown(path, page, name="movielen")
    with pytest.raises(ConfigError, match=r"Unknown metric in the ledger 'aux'; available: auc, gauc, log_loss"):
        tables.render_markdown(path, page, metrics=["aux"])
    with path.open("a") as file:
        file.write('{"torn')
    with pytest.raises(RunError, match=r"movielens\.jsonl is damaged in line 2"):
        tables.render_markdown(path, page)
    assert page.read_text() == PAGE


@pytest.mark.parametrize(
    "text",
    ["<!-- table: a -->\nno end\n", "<!-- table: a -->\n<!-- table: b -->\n<!-- end -->\n"],
)
def test_marks_must_be_closed(text):
    with pytest.raises(ConfigError, match=r"needs .*'<!-- end -->'"):
        tables.fill(text, {"a": "x"})
