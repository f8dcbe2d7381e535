"""Names and shapes of all weights: saved models are read by them. To change one, change the list and CHANGELOG.md."""

from pathlib import Path

import pytest

from conformance.rankers import CONFIGS
from factories import make_inputs
from hemix.ranker import build_ranker

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", CONFIGS)
def test_names_and_shapes(name: str) -> None:
    path = HERE / f"state_dict_{name.replace(', ', '_').replace(' ', '_')}.txt"
    state = build_ranker(make_inputs(), CONFIGS[name], seed=0).state_dict()
    found = [f"{key} {tuple(value.shape)}" for key, value in state.items()]
    assert path.exists(), f"write the weights of {name!r} into {path}:\n" + "\n".join(found)
    assert found == path.read_text(encoding="utf-8").splitlines()
