"""Recipes of the larger public data sets, on tables of a few hundred random rows in the columns of the conversions."""

import pytest

from hemix.data.prepare import prepare
from hemix.recipes import RECIPES, avazu, criteo, kuairand
from recipes_tables import NUM_IMPRESSIONS, TABLES


@pytest.mark.parametrize("recipe", [criteo, avazu])
@pytest.mark.parametrize("model", ["dcnv2", "dlrm", "hemix"])
def test_one_store_serves_all_models_on_fields(recipe, model):
    experiment = recipe(model)
    assert experiment.model.name == model
    assert experiment.data == recipe().data, "the same store serves all models"


@pytest.mark.parametrize("name", ["criteo", "avazu"])
def test_every_flat_row_is_a_request_of_its_own(name, tmp_path):
    TABLES[name](tmp_path)
    store = prepare(RECIPES[name]("dcnv2").data, tmp_path / "store", root=tmp_path)
    views = [store.split(split) for split in ("train", "valid", "test")]
    assert sum(view.num_rows for view in views) == NUM_IMPRESSIONS
    assert [view.num_requests for view in views] == [view.num_rows for view in views]
    assert 0.7 * NUM_IMPRESSIONS < views[0].num_rows < 0.9 * NUM_IMPRESSIONS


def test_random_exposures_are_no_examples_of_kuairand(tmp_path):
    TABLES["kuairand-pure"](tmp_path)
    store = prepare(kuairand().data, tmp_path / "store", root=tmp_path)
    rows = [store.split(split).num_rows for split in ("train", "valid", "test")]
    assert sum(rows) == NUM_IMPRESSIONS - sum(n > 400 and n % 2 for n in range(NUM_IMPRESSIONS))


def test_what_is_known_afterwards_is_no_feature_of_kuairand():
    features = kuairand().data.features
    columns = {getattr(feature, "column", None) for feature in (*features.request, *features.candidate)}
    later = {"play_time_ms", "profile_stay_time", "comment_stay_time", "visible_status", "long_view", "is_like"}
    assert not columns & later
    assert not features.pair
