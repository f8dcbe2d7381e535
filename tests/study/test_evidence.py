"""The studies in `studies/` are valid, and the tables of docs/evidence.md are those of their ledgers."""

from pathlib import Path

import pytest

from hemix.recipes import movielens_1m
from hemix.study.cells import read_study
from hemix.study.conduct import Places, check_search
from hemix.study.report import find
from hemix.study.tables import fill

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
STUDIES = sorted(
    path for path in (ROOT / "studies").glob("*.yaml") if path.read_text(encoding="utf-8").count("\nstudy: ")
)


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_valid(path: Path) -> None:
    study = read_study(path)
    check_search(study)
    assert study.name == path.stem


def test_the_page_holds_what_the_ledger_says(tmp_path: Path) -> None:
    study = read_study(ROOT / "studies" / "movielens-1m-time.yaml")
    places = Places.of(study, tmp_path, DOCS / "evidence" / f"{study.name}.jsonl")
    text = (DOCS / "evidence.md").read_text(encoding="utf-8")
    assert fill(text, find(study, places).tables()) == text


def test_the_cells_are_the_recipes() -> None:
    study = read_study(ROOT / "studies" / "movielens-1m-time.yaml")
    for name, model in (("DLRM mean", "dlrm"), ("DIN", "din"), ("HeMix tiny", "hemix")):
        recipe = movielens_1m(model, complete_users_only=True)
        assert study.cell(name).experiment.hash == recipe.hash
