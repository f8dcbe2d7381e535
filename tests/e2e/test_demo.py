"""The demo on real data, with one step of training per model, and the whole of it taken up again."""

from pathlib import Path

import pytest

from e2e.conftest import Hemix


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from hemix.data.public import get_dataset
    from hemix.errors import InputError

    try:
        return get_dataset("movielens-100k", tmp_path_factory.mktemp("demo") / "data").parent
    except InputError as error:
        pytest.skip(f"MovieLens-100K cannot be fetched here: {error}")


@pytest.mark.slow
def test_demo_and_its_models(data: Path, done: Hemix, monkeypatch: pytest.MonkeyPatch) -> None:
    from hemix.data.store import Store
    from hemix.recipes import demo
    from hemix.recipes.inputs import movielens_100k_inputs

    whole = demo.movielens_100k

    def short(model):
        experiment = whole(model)
        return experiment.model_copy(update={"train": experiment.train.model_copy(update={"max_steps": 2})})

    monkeypatch.setattr(demo, "movielens_100k", short)
    first = done("demo", "--dir", data, "--json", data / "figures.json")
    for text in ("user_time", "last_k", "not established", "943 users", "report.html", "compare.html"):
        assert text in first.output
    assert Store.open(data / "store").inputs.tables == movielens_100k_inputs().tables
    assert Store.open(data / "store").inputs.request == movielens_100k_inputs().request
    again = done("demo", "--dir", data)
    rows = [line.split()[:2] for line in first.output.splitlines() if line.strip().startswith(demo.MODELS)]
    assert rows == [line.split()[:2] for line in again.output.splitlines() if line.strip().startswith(demo.MODELS)]
