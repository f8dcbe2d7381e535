"""DIN: what its documentation promises of counts, weights and configuration."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from factories import make_batch, make_inputs
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.din import DINConfig
from hemix.ranker import build_ranker, count_parameters


def layers(widths: tuple[int, ...]) -> int:
    """Weights and biases of the linear maps between these widths."""
    return sum(a * b + b for a, b in pairwise(widths))


def test_parameters_are_as_many_as_the_formula_says() -> None:
    inputs = make_inputs(plain=True, num_tasks=3)
    config = DINConfig(attention_hidden=(24, 12), hidden=(40, 20))
    request, candidate, event, shared = 2 * 16, 2 * 16, 4 * 16, 2 * 16
    attention = layers((3 * shared + event, 24, 12, 1)) + 24 + 12
    count = count_parameters(inputs, config)
    assert count.by_part == {
        "embedding": count.tables,
        "attention": 2 * attention,
        "first": layers((request + candidate + 2 * event, 40)),
        "rest": layers((40, 20, 3)) + 40 + 20,
    }


def test_weights_are_not_normalised_by_default() -> None:
    """Twice the same events: twice the interest; with a softmax, the same."""
    inputs = make_inputs(plain=True)
    once = make_batch(inputs, counts=(3, 2), lengths={"global": (2, 3), "real_time": (1, 2)})
    doubled = {}
    for name, history in once.requests.histories.items():
        ids = torch.zeros(2, 6, history.events.ids.shape[2], dtype=torch.int32)
        for r, length in enumerate(history.lengths.tolist()):
            ids[r, : 2 * length] = history.events.ids[r, :length].repeat(2, 1)
        events = replace(history.events, ids=ids, numbers=torch.zeros(2, 6, 0))
        times = torch.zeros(2, 6, dtype=torch.int64)
        doubled[name] = replace(history, events=events, times=times, lengths=2 * history.lengths)
    twice = replace(once, requests=replace(once.requests, histories=doubled))
    for softmax in (False, True):
        ranker = build_ranker(inputs, DINConfig(attention_softmax=softmax), seed=0).eval()
        same = torch.allclose(ranker(once), ranker(twice), atol=1e-7)
        assert same is softmax


def test_a_history_that_shares_no_field_is_refused() -> None:
    inputs = make_inputs()
    alone = replace(inputs.histories[0], shared=())
    inputs = replace(inputs, histories=(alone, inputs.histories[1]))
    with pytest.raises(ConfigError, match="history 'global' shares none"):
        build_ranker(inputs, DINConfig(), seed=0)
    ranker = build_ranker(inputs, DINConfig(histories=("real_time",)), seed=0)
    assert ranker(make_batch(inputs)).isfinite().all()


def test_an_unknown_history_is_named_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match=r"got 'realtime'; .* global, real_time. Did you mean 'real_time'\?"):
        build_ranker(make_inputs(), DINConfig(histories=("realtime",)), seed=0)
    with pytest.raises(ConfigError, match="the data has no histories"):
        build_ranker(make_inputs(histories=()), DINConfig(histories=("global",)), seed=0)


def test_without_histories_it_is_an_mlp() -> None:
    inputs = make_inputs(histories=())
    assert build_ranker(inputs, DINConfig(), seed=0)(make_batch(inputs)).isfinite().all()


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ConfigError, match="attention_hidden"):
        parse_config(DINConfig, {"attention_hidden": []}, "model")
    with pytest.raises(ConfigError, match=r"hidden\.1"):
        parse_config(DINConfig, {"hidden": [8, 0]}, "model")
    with pytest.raises(ConfigError, match="attention_activation"):
        parse_config(DINConfig, {"attention_activation": "dice"}, "model")
