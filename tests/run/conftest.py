"""One prepared store for all tests of runs."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def store_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from run.clicks import make_store

    return make_store(tmp_path_factory.mktemp("clicks")).path
