"""Settings for every test: one torch thread, short repeatable property tests, and real data where it stands.

Nothing from hemix may be imported at the top of this file: the shape checks of `--jaxtyping-packages` are put in place
after it is read.
"""

import os
from pathlib import Path

import hypothesis
import pytest
import torch

hypothesis.settings.register_profile(
    "hemix",
    deadline=None,
    derandomize=True,
    max_examples=25,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("hemix")
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder with the public data sets in their published formats, named by HEMIX_DATA; the test skips without it."""
    folder = os.environ.get("HEMIX_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("set HEMIX_DATA to a folder with the public data sets to run this")
    return Path(folder)
