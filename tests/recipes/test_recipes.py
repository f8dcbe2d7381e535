from typing import get_args

import duckdb
import jaxtyping
import numpy as np
import pytest

from hemix.data.prepare import prepare
from hemix.data.public import DATASETS
from hemix.errors import ConfigError
from hemix.experiment import load_experiment
from hemix.recipes import (
    RECIPES,
    ModelName,
    experiment_text,
    foursquare,
    frappe_log,
    movielens_1m,
    movielens_100k,
    write_experiments,
)
from hemix.run import train
from hemix.schema import DataConfig
from recipes_tables import TABLES

QUICK = ["train.max_steps=2", "train.batch_size=64"]


def query_table(config: DataConfig, folder, table: str, query: str) -> list:
    """Rows of a query over a SQL table of an experiment, made without the package's own code."""
    with duckdb.connect() as connection:
        for name, source in config.tables.items():
            connection.execute(f"CREATE VIEW {name} AS " + (source.sql or f"FROM '{folder / str(source.path)}'"))
            if name == table:
                break
        return connection.execute(query).fetchall()


def test_every_public_data_set_has_a_recipe():
    assert set(RECIPES) == set(DATASETS) == set(TABLES)


@pytest.mark.parametrize("name", sorted(RECIPES))
@pytest.mark.parametrize("model", get_args(ModelName))
def test_a_recipe_is_read_back_equal(name, model, tmp_path):
    experiment = RECIPES[name](model)
    path = tmp_path / "experiment.yaml"
    path.write_text(experiment_text(experiment, path.name), encoding="utf-8")
    assert load_experiment(path) == experiment
    assert experiment.model.name == model


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"foursquare-tky", "movielens-1m"}))
def test_a_recipe_prepares_and_takes_two_steps(name, tmp_path):
    TABLES[name](tmp_path)
    paths = write_experiments(name, tmp_path)
    experiment = load_experiment(paths[0], QUICK)
    store = prepare(experiment.data, tmp_path / "store", root=tmp_path)
    run = train(experiment, store, tmp_path / "run", progress=False)
    assert 0 <= run.evaluate("test").auc <= 1


def test_one_file_for_each_model_and_an_edited_one_is_kept(tmp_path):
    paths = write_experiments("movielens-100k", tmp_path)
    assert [path.name for path in paths] == ["experiment.yaml", "experiment-dlrm.yaml", "experiment-din.yaml"]
    assert [load_experiment(path).model.name for path in paths] == ["hemix", "dlrm", "din"]
    first, *others = (load_experiment(path).data for path in paths)
    assert all(other == first for other in others), "the same store serves all models"
    paths[0].write_text("mine")
    assert write_experiments("movielens-100k", tmp_path) == paths
    assert paths[0].read_text() == "mine"
    assert "# movielens-100k-dlrm" in paths[1].read_text()


def test_data_without_histories_starts_with_a_model_on_fields(tmp_path):
    paths = write_experiments("frappe", tmp_path)
    assert [path.name for path in paths] == ["experiment.yaml", "experiment-dlrm.yaml", "experiment-hemix.yaml"]
    assert load_experiment(paths[0]).model.name == "dcnv2"


@pytest.mark.parametrize("name", ["amazon-electronics", "taobao-ad", "kuaivideo"])
def test_the_data_of_interformers_table_starts_with_interformer(name, tmp_path):
    paths = write_experiments(name, tmp_path)
    found = [load_experiment(path) for path in paths]
    assert [experiment.model.name for experiment in found] == ["interformer", "din", "dlrm", "hemix"]
    assert all(experiment.data == found[0].data for experiment in found), "the same store serves all models"
    histories = found[0].data.histories.values()
    assert sum(history.max_length for history in histories) == {"taobao-ad": 50, "kuaivideo": 200}.get(name, 100)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["amazon-electronics", "taobao-ad", "kuaivideo"])
def test_the_other_models_of_interformers_table_take_a_step(name, tmp_path):
    TABLES[name](tmp_path)
    _, *others = [load_experiment(path, QUICK) for path in write_experiments(name, tmp_path)]
    store = prepare(others[0].data, tmp_path / "store", root=tmp_path)
    for experiment in others:
        run = train(experiment, store, tmp_path / experiment.model.name, progress=False)
        assert 0 <= run.evaluate("valid").auc <= 1


def test_an_unknown_name(tmp_path):
    with pytest.raises(ConfigError, match=r"Unknown recipe 'frape'.*Did you mean 'frappe'"):
        write_experiments("frape", tmp_path)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_an_unknown_model(name, monkeypatch):
    """As outside of the tests, where no types are checked."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ConfigError, match=r"Unknown model of a recipe 'dien'; available: dcnv2, .*Did you mean 'din'"):
        RECIPES[name]("dien")


@pytest.mark.parametrize("experiment", [movielens_100k(), movielens_1m()], ids=["100k", "1m"])
def test_the_rating_of_a_row_is_never_its_feature(experiment):
    data = experiment.data
    sides = (*data.features.request, *data.features.candidate, *data.features.pair)
    assert "rating" not in [getattr(feature, "column", "") for feature in sides]
    assert [feature.column for feature in data.events["ratings"].features] == ["rating"]
    assert data.labels[0].sql == "rating >= 4"
    assert {history.cut for history in data.histories.values()} == {"last_k"}


def test_movielens_1m_can_leave_out_incomplete_users(tmp_path):
    TABLES["movielens-1m"](tmp_path)
    rows = {}
    for complete in (False, True):
        experiment = movielens_1m("dlrm", complete_users_only=complete)
        store = prepare(experiment.data, tmp_path / f"store-{complete}", root=tmp_path)
        rows[complete] = sum(store.split(name).num_rows for name in ("train", "valid", "test"))
    assert rows == {False: 600, True: 550}


def test_drawn_apps_are_new_to_the_user_and_the_same_each_time(tmp_path):
    TABLES["frappe-log"](tmp_path)
    config = frappe_log().data
    counts = "SELECT label, count(*) FROM uses GROUP BY label ORDER BY label"
    drawn, used = (count for _, count in query_table(config, tmp_path, "uses", counts))
    assert used == 200
    assert 380 <= drawn <= 400
    known = "SELECT count(*) FROM uses u JOIN log l ON u.user = l.user AND u.item = l.item WHERE u.label = 0"
    assert query_table(config, tmp_path, "uses", known) == [(0,)]
    assert query_table(config, tmp_path, "uses", "FROM uses") == query_table(config, tmp_path, "uses", "FROM uses")


def test_a_check_in_stands_beside_fifty_places(tmp_path):
    TABLES["foursquare-nyc"](tmp_path)
    config = foursquare().data

    def ask(query: str) -> list:
        return query_table(config, tmp_path, "visits", query)

    later = (
        "SELECT count(*) FROM visits c WHERE last_latitude IS NOT NULL AND NOT EXISTS "
        "(FROM log n JOIN venues v USING (venue_id) "
        "WHERE n.user_id = c.user_id AND n.time < c.time AND v.latitude = c.last_latitude)"
    )
    assert ask(later) == [(0,)], "the last place is one of an earlier moment"
    assert ask("SELECT count(*) FROM visits") == ask(
        "SELECT count(*) FROM (SELECT DISTINCT user_id, venue_id, time FROM log)"
    )
    store = prepare(config, tmp_path / "store", root=tmp_path)
    for split in ("train", "valid", "test"):
        view = store.split(split)
        counts = view.counts(np.arange(view.num_requests))
        positives = view.batch(np.arange(view.num_requests)).labels.sum()
        assert counts.sum() == 50 * view.num_requests + positives


def test_foursquare_without_statistics_has_no_counts():
    kinds = {feature.kind for feature in foursquare(statistics=False).data.features.candidate}
    assert kinds == {"categorical", "geo"}
    assert {feature.kind for feature in foursquare(statistics=False).data.features.pair} == {"distance"}


@pytest.mark.slow
def test_foursquare_on_the_joined_copy(real_data, tmp_path):
    folder = real_data / "foursquare-nyc"
    if not (folder / "pois.csv").exists():
        pytest.skip(f"no joined copy of Foursquare NYC in {real_data}")
    store = prepare(foursquare(joined_copy=True).data, tmp_path / "store", root=folder)
    requests = [store.split(name).num_requests for name in ("train", "valid", "test")]
    assert requests == [108_373, 13_707, 13_698], "the split that docs/data-foursquare.md describes"


def test_movielens_1m_on_the_real_rows(real_data, tmp_path):
    folder = real_data / "ml-1m"
    if not (folder / "ratings.parquet").exists():
        pytest.skip(f"no MovieLens-1M in {real_data}")
    store = prepare(movielens_1m(complete_users_only=True).data, tmp_path / "store", root=folder)
    rows = [store.split(name).num_rows for name in ("train", "valid", "test")]
    assert rows == [390_469, 48_807, 48_811], "the split that docs/data-movielens.md describes"
