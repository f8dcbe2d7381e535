"""The experiment files of a city are accepted as they stand, and carry what their names say."""

import numpy as np
import pytest

from hemix.data.prepare import prepare
from hemix.experiment import load_experiment
from hemix.recipes.sizes import small_model
from hemix.run import train
from hemix.world.experiment_files import MODELS


@pytest.mark.parametrize("file", ["experiment.yaml", pytest.param("experiment-ceiling.yaml", marks=pytest.mark.slow)])
def test_prepare_and_train(folder, tmp_path, file):
    experiment = load_experiment(folder / file, ["train.max_steps=3", "train.batch_size=256"])
    store = prepare(experiment.data, tmp_path / "store", root=folder)
    views = [store.split(name) for name in ("train", "valid", "test")]
    assert sum(view.num_rows for view in views) == 12_008
    assert store.manifest.segments[0].rows_without_item == 0
    assert store.manifest.segments[0].events_without_item == 0
    assert store.manifest.segments[0].rows_without_profile == 0
    run = train(experiment, store, tmp_path / "run", progress=False)
    assert np.isfinite(run.evaluate(split="test").log_loss)


@pytest.mark.parametrize("name", ["dlrm", "din"])
def test_other_models_read_the_same_store(folder, name):
    """The data section is that of `experiment.yaml`, so that one store serves all three."""
    other = load_experiment(folder / f"experiment-{name}.yaml")
    assert other.data == load_experiment(folder / "experiment.yaml").data
    assert other.model.name == name


@pytest.mark.parametrize("name", ["hemix", "dlrm", "din"])
def test_models_are_the_small_ones_of_the_recipes(name):
    assert MODELS[name] == small_model(name)
