"""What each model declares to be searched: keys that it has, values that build, and each of them another model."""

import itertools
from typing import Any

import pytest

from hemix.config import parse_config
from hemix.models import MODELS
from hemix.ranker import count_parameters
from hemix.recipes.inputs import movielens_100k_inputs
from hemix.search_space import Draw
from hemix.training.config import TrainConfig

SEARCHED = [name for name, kind in MODELS.items() if kind.space]
KEEP_THE_SIZE = {
    "dropout",
    "first_dropout",
    "second_dropout",
    "attention_softmax",
    "num_heads",
    "pyramid",
    "recent_queries",
    "top_k",
}
"""Keys that change what a model does and not how large it is."""


def values_of(how: Draw) -> list[Any]:
    """All of a choice or a range of whole numbers; the ends of the others."""
    if how.choice is not None:
        return list(how.choice)
    low, high = how.integer or how.uniform or how.log_uniform or (0, 0)
    return list(range(int(low), int(high) + 1)) if how.integer else [low, high]


def test_only_a_model_without_sizes_declares_nothing() -> None:
    assert set(MODELS) - set(SEARCHED) == {"lr"}


@pytest.mark.parametrize("name", SEARCHED)
def test_each_key_makes_other_models(name: str) -> None:
    """The parameters that matter for size change with every key; every value is a valid model."""
    kind, inputs = MODELS[name], movielens_100k_inputs()
    for key, how in kind.space.items():
        sizes, defaults = set(), kind.config()
        for value in values_of(how):
            config = parse_config(kind.config, {"name": name, key: value}, "a drawn model")
            assert getattr(config, key) == value
            count = count_parameters(inputs, config)
            sizes.add(count.tables + count.dense)
        assert len(sizes) > 1 or key in KEEP_THE_SIZE, (key, sizes)
        assert getattr(defaults, key) in values_of(how), "the default is one of what is tried"


@pytest.mark.parametrize("name", SEARCHED)
def test_any_combination_is_a_model(name: str) -> None:
    """Widths and heads that do not divide would end a trial; the smallest, the largest and two mixed ones are built."""
    kind, inputs = MODELS[name], movielens_100k_inputs()
    ends = {key: (values_of(how)[0], values_of(how)[-1]) for key, how in kind.space.items()}
    for first in ((0, 0), (1, 1), (0, 1), (1, 0)):
        corner = [end[side] for end, side in zip(ends.values(), itertools.cycle(first), strict=False)]
        config = parse_config(kind.config, {"name": name, **dict(zip(ends, corner, strict=True))}, "a drawn model")
        assert count_parameters(inputs, config).dense > 0


@pytest.mark.parametrize("tables", ["rowwise_adagrad", "adam"])
def test_training_can_have_what_it_declares(tables: Any) -> None:
    space = TrainConfig(table_optimizer=tables).search_space
    assert ("table_lr" in space) == (tables == "rowwise_adagrad")
    for key in space:
        section: Any = TrainConfig()
        for part in key.split("."):
            section = getattr(section, part)
