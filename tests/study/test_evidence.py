"""The studies in `studies/` are valid, and the tables of the evidence pages are those of their ledgers."""

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
LEDGERS = sorted((DOCS / "evidence").glob("*.jsonl"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_every_study_is_valid(path: Path) -> None:
    study = read_study(path)
    check_search(study)
    assert study.name == path.stem


@pytest.mark.parametrize("ledger", LEDGERS, ids=lambda path: path.stem)
def test_a_page_holds_what_the_ledger_says(ledger: Path, tmp_path: Path) -> None:
    study = read_study(ROOT / "studies" / f"{ledger.stem}.yaml")
    tables = find(study, Places.of(study, tmp_path, ledger)).tables()
    texts = [path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("evidence*.md"))]
    (text,) = (text for text in texts if f"<!-- table: {study.name} -->" in text)
    shown = {name: table for name, table in tables.items() if f"<!-- table: {name} -->" in text}
    assert f"{study.name}-{'scaling' if study.config.kind == 'scaling' else 'differences'}" in shown
    assert fill(text, shown) == text


def test_the_cells_are_the_recipes() -> None:
    study = read_study(ROOT / "studies" / "movielens-1m-time.yaml")
    for name, model in (("DLRM mean", "dlrm"), ("DIN", "din"), ("HeMix tiny", "hemix")):
        recipe = movielens_1m(model, complete_users_only=True)
        assert study.cell(name).experiment.hash == recipe.hash
