"""Costs: what moves them, what does not, and by how much where it is known."""

from dataclasses import replace

import pytest

from factories import make_inputs
from hemix.evaluate.cost import model_cost
from hemix.models import MODELS, HeMixConfig


@pytest.mark.parametrize("name", sorted(MODELS))
def test_longer_histories_cost_more_and_larger_vocabularies_do_not(name: str) -> None:
    inputs = make_inputs()
    config = MODELS[name].config()
    cost = model_cost(inputs, config)
    assert cost.per_request > 0
    assert cost.per_candidate > 0
    longer = replace(inputs, histories=tuple(replace(history, max_length=18) for history in inputs.histories))
    more = model_cost(longer, config)
    assert (more.per_request, more.per_candidate) >= (cost.per_request, cost.per_candidate)
    larger = replace(inputs, tables=tuple(replace(table, num_ids=10_000) for table in inputs.tables))
    assert model_cost(larger, config) == cost


def test_dynamic_queries_pay_for_each_event_twice() -> None:
    """Ten more events: 2 histories x 10 events x 4 queries x width 128, once for the weights, once for the sum."""
    inputs = make_inputs()
    longer = replace(inputs, histories=tuple(replace(history, max_length=19) for history in inputs.histories))
    config = HeMixConfig()
    difference = model_cost(longer, config).per_candidate - model_cost(inputs, config).per_candidate
    assert difference == 2 * 10 * 4 * 128 * 2
