"""One store whose causes are known, and short trainings on it."""

from pathlib import Path

import pytest

from hemix.data.store import Store
from hemix.run import Run, train


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Store:
    from explain.planted import make_store

    return make_store(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def runs(shop: Store, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """HeMix trained until it has learnt the causes; DIN and DLRM for a moment."""
    from explain.planted import experiment

    folder: Path = tmp_path_factory.mktemp("runs")
    epochs = {"hemix": 6, "din": 1, "dlrm": 1}
    return {
        name: train(experiment(name, epochs=count), shop, folder / name, progress=False)
        for name, count in epochs.items()
    }
