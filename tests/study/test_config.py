"""What a study file asks for, and what is refused before anything runs."""

import re
from pathlib import Path
from typing import Any

import pytest

from hemix.config import parse_config
from hemix.config_file import parse_yaml
from hemix.errors import ConfigError
from hemix.ranker import check_memory
from hemix.study.cells import read_study
from hemix.study.conduct import check_search, open_study
from hemix.study.config import OptunaConfig, StudyConfig
from hemix.study.stores import parse_places
from study.studies import tiny, write_study


def test_a_cell_is_the_base_with_its_keys(tmp_path: Path) -> None:
    study = tiny(tmp_path, set={"train.epochs": 3})
    narrow, wide = study.cells
    assert (narrow.experiment.name, narrow.experiment.model.embedding_dim, narrow.experiment.train.epochs) == (
        *("narrow", 4, 3),
    )
    assert (wide.experiment.name, wide.experiment.model.embedding_dim, wide.experiment.train.epochs) == ("wide", 8, 3)
    assert narrow.experiment.data == wide.experiment.data


def test_a_grid_is_every_combination_by_name(tmp_path: Path) -> None:
    grid = {"model.embedding_dim": [4, 8], "train.table_optimizer": ["adam", "rowwise_adagrad"]}
    study = tiny(tmp_path, cells=None, grid=grid, baselines=[])
    assert study.axis is None  # two keys
    assert [cell.name for cell in study.cells] == [
        *("embedding_dim=4, adam", "embedding_dim=4, rowwise_adagrad"),
        *("embedding_dim=8, adam", "embedding_dim=8, rowwise_adagrad"),
    ]
    assert study.cell("embedding_dim=8, adam").experiment.train.table_optimizer == "adam"


@pytest.mark.parametrize(
    ("grid", "axis"),
    [
        ({"model.embedding_dim": [4, 8]}, "model.embedding_dim"),
        ({"model.embedding_dim": [4]}, None),
        ({"train.table_optimizer": ["adam", "rowwise_adagrad"]}, None),
        ({"train.deterministic": [True, False]}, None),
    ],
)
def test_curves_are_drawn_over_one_key_of_numbers(tmp_path: Path, grid: dict[str, Any], axis: str | None) -> None:
    assert tiny(tmp_path, cells=None, grid=grid, baselines=[]).axis == axis


def test_cells_times_grid_and_stores(tmp_path: Path) -> None:
    values = {"stores": {"early": {}, "late": {}}, "grid": {"store": ["early", "late"]}, "baselines": []}
    study = tiny(tmp_path, **values)
    assert [(cell.name, cell.store, cell.family) for cell in study.cells] == [
        ("narrow/early", "early", "narrow"),
        ("narrow/late", "late", "narrow"),
        ("wide/early", "early", "wide"),
        ("wide/late", "late", "wide"),
    ]


def test_the_family_is_what_stands_before_the_slash(tmp_path: Path) -> None:
    cells = {
        "deep/1": {},
        "deep/2": {"set": {"model.embedding_dim": 8}},
        "own": {"family": "x", "set": {"model.embedding_dim": 16}},
    }
    study = tiny(tmp_path, cells=cells, baselines=[])
    assert [cell.family for cell in study.cells] == ["deep", "deep", "x"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"sseds": [1]}, r"unknown key 'sseds'\. Did you mean 'seeds'\?"),
    ({"outside": ["narrow"]}, r"outside: 'narrow' is also a cell; a name stands for one system"),
    ({"baselines": ["narow"]}, r"Unknown cell 'narow'; available: narrow, wide\. Did you mean 'narrow'\?"),
    ({"cells": {"a": {"set": {"model.embeding_dim": 8}}}}, r"cell 'a': unknown key 'model\..*embeding_dim'\. Did you"),
    ({"cells": {"a": {"sett": {}}}}, r"unknown key 'cells\.a\.sett'\. Did you mean 'set'"),
    ({"cells": {"a": {"set": {"train.epochs": 0}}}}, r"cell 'a': train\.epochs: Input should be greater"),
    ({"cells": {"a": {"set": {"train.seed": 1}}}}, r"'train\.seed' is set by the study"),
    ({"cells": {"a": {}, "b": {"set": {"model.embedding_dim": 4}}}}, r"'a' and 'b' are the same"),
    ({"cells": {"a": {"store": "other"}}}, r"cell 'a': Unknown store 'other'; available: main"),
    ({"grid": {"model.embedding_dim": [4, 4]}, "cells": None}, r"the grid makes 'embedding_dim=4' twice"),
    ({"grid": {"train.epochs": []}, "cells": None}, r"grid\.train\.epochs has no values"),
    ({"grid": {"train.epochs": list(range(1, 2000))}}, r"at most 1000 cells; this grid makes 3,998"),
    ({"cells": None}, r"a study needs `cells` or `grid`"),
    ({"seeds": []}, r"seeds: Tuple should have at least 1 item"),
    ({"seeds": [1, 1]}, r"each may stand once; 1 stands twice"),
    ({"seeds": [-1]}, r"a seed is 0 or more"),
    ({"metrics": ["ndcg@7"]}, r"metrics: Unknown metric 'ndcg@7'; available: auc"),
    ({"metrics": ["rmse"]}, r"Unknown metric 'rmse'"),
    ({"metrics": ["buy.auc"]}, r"Unknown label in a metric .* 'buy'; available: click"),
    ({"experiment": "none.yaml"}, r"No experiment file .*none\.yaml"),
    ({"study": "a b"}, r"study: String should match pattern"),
    ({"kind": "scaling", "outside": ["trees"]}, r"draws its cells by size, and that of 'trees' is not known"),
    ({"cells": {"a": {"published": {"auc": 0.8}}}}, r"need `kind: leaderboard`.*the kind is comparison, cells .*: a, "),
    ({"kind": "leaderboard", "published_by": "A paper."}, r"cells with figures: none, published_by: A paper"),
    ({"kind": "leaderboard", "cells": {"a": {"published": {"auc": 0.8}}}}, r"published_by: none"),
    (
        {"kind": "leaderboard", "cells": {"a": {"published": {"aucc": 0.8}}}, "published_by": "A paper."},
        r"cell 'a' has a published 'aucc'; the metrics of the study are: .*Did you mean 'auc'",
    ),
    ({"cells": {"a": {"search": {"train.optimizer.lr": {"uniform": [0, 1]}}}}}, r"'a' has a `search`, and the study"),
    ({"search": {"trials": 2}}, r"a search needs keys to draw"),
    ({"search": {"trials": 2, "space": {"train.epochs": {"uniform": [2, 1]}}}}, r"two ends in rising order"),
    ({"search": {"trials": 2, "space": {"train.epochs": {}}}}, r"a draw is exactly one of choice, uniform"),
    ({"search": {"trials": 2, "space": {"train.epochs": {"choice": [0, 1, True]}}}}, "True equals one before it"),
    ({"search": {"trials": 2, "space": {"train.epochs": {"log_uniform": [0, 1]}}}}, r"ends above 0"),
    ({"search": {"trials": 2, "space": {"train.lr": {"choice": [1]}}}}, r"cell 'narrow': unknown key 'train\.lr'"),
    ({"search": {"trials": 2, "space": {"data.timezone": {"choice": ["UTC"]}}}}, r"draws 'data\.timezone'"),
    (
        {"search": {"trials": 9, "space": {"train.epochs": {"choice": [0, 1]}}, "epochs": None}},
        r"greater than",
    ),
]


@pytest.mark.parametrize(("values", "message"), BAD)
def test_bad_studies(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    path = write_study(tmp_path, **({"baselines": []} | values))
    with pytest.raises(ConfigError, match=message):
        check_search(read_study(path))


def test_a_cell_twice_and_a_missing_file(tmp_path: Path) -> None:
    path = write_study(tmp_path)
    path.write_text("study: s\nexperiment: base.yaml\nseeds: [1]\ncells:\n  a: {}\n  a: {}\n")
    with pytest.raises(ConfigError, match=r"study\.yaml: key 'a' stands twice, in lines 5 and 6"):
        read_study(path)
    with pytest.raises(ConfigError, match=r"No study file .*none\.yaml\."):
        read_study(tmp_path / "none.yaml")


def test_places_of_stores(tmp_path: Path) -> None:
    study = tiny(tmp_path)
    assert parse_places(study, [str(tmp_path)]) == parse_places(study, [f"main={tmp_path}"]) == {"main": tmp_path}
    for given, message in (
        ([f"mian={tmp_path}"], "Unknown store 'mian'; available: main"),
        ([str(tmp_path), str(tmp_path)], "'main' is given twice"),
        (["nowhere"], "nothing at nowhere. Name a store, or the folder that holds shown.csv, items.csv."),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_places(study, given)


def test_stores_are_prepared_once_for_each_data_section(tmp_path: Path) -> None:
    cells = {"a": {}, "b": {"set": {"train.epochs": 2}}, "c": {"set": {"data.histories.shown.max_length": 3}}}
    path = write_study(tmp_path / "in", cells=cells, baselines=[])
    said: list[str] = []
    prepared = open_study(path, tmp_path / "out", say=said.append)
    stores = prepared.stores
    assert len(said) == 2
    assert stores["a"].path == stores["b"].path != stores["c"].path
    assert stores["c"].inputs.histories[0].max_length == 3
    given = open_study(path, tmp_path / "other", data=[str(tmp_path / "in")], say=said.append)
    assert {name: store.hash for name, store in given.stores.items()} == {n: s.hash for n, s in stores.items()}
    with pytest.raises(ConfigError, match=r"differs from cell 'c' in data\.histories\.shown\.max_length"):
        open_study(path, tmp_path / "third", data=[str(stores["a"].path)])


def test_other_rows_are_not_taken_for_those_of_a_store_that_is_there(tmp_path: Path) -> None:
    path = write_study(tmp_path / "in")
    open_study(path, tmp_path / "out")
    open_study(path, tmp_path / "out")
    raw = tmp_path / "in" / "shown.csv"
    rows = raw.read_bytes()
    raw.write_bytes(rows.replace(b",1\r\n", b",0\r\n", 1))
    with pytest.raises(ConfigError, match=r"is not the file that .* was prepared from .* Choose another --out"):
        open_study(path, tmp_path / "out")
    raw.unlink()
    open_study(path, tmp_path / "out")


def test_a_cell_beyond_memory_is_refused_before_anything_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_study(tmp_path / "in")
    monkeypatch.setattr("hemix.ranker.available_memory", lambda: 200_000)
    with pytest.raises(ConfigError, match=r"A model must fit into memory"):
        open_study(path, tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr("hemix.study.conduct.available_memory", lambda: 1_600_000)
    open_study(path, tmp_path / "out")
    with pytest.raises(ConfigError, match=r"the 2 largest need .* Lower --jobs"):
        open_study(path, tmp_path / "out", slots=2)


def test_the_memory_of_a_cell_is_that_of_its_table_optimizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adam = {"a": {"set": {"train.table_optimizer": "adam"}}}
    path = write_study(tmp_path / "in", cells=adam, baselines=[])
    opened = open_study(path, tmp_path / "out")
    model, inputs = opened.study.cells[0].experiment.model, opened.stores["a"].inputs
    needed = {
        kind: check_memory(inputs, model, table_optimizer=kind, memory=10**12) for kind in ("rowwise_adagrad", "adam")
    }
    monkeypatch.setattr("hemix.ranker.available_memory", lambda: sum(needed.values()) // 2)
    with pytest.raises(ConfigError, match=r"A model must fit into memory"):
        open_study(path, tmp_path / "out")


def test_the_guide_names_every_key_and_its_example_is_valid() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```yaml\n(.*?)```", guide, flags=re.S)
    parse_config(StudyConfig, parse_yaml(example, "guide"), "guide")
    table = re.findall(r"^\| (`.*?) \|", guide, re.M)
    named = [name for row in table for name in re.findall(r"`(\w+)`", row)]
    assert sorted(named) == sorted([*StudyConfig.model_fields, *OptunaConfig.model_fields])
