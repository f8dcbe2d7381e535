"""Settings for the tests of the data layer."""

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _no_flushing() -> Iterator[None]:
    """Flushing to the disk guards against power cuts, which no test causes; it is half the time of a tiny store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
