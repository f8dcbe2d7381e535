"""DLRM: counts, which numbers it sees, and configuration."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from factories import make_batch, make_inputs
from hemix.batch import Columns
from hemix.config import parse_config
from hemix.errors import ConfigError
from hemix.models.dlrm import DLRMConfig
from hemix.ranker import build_ranker, count_parameters


def layers(*widths: int) -> int:
    """Weights and biases of the linear maps between these widths."""
    return sum(a * b + b for a, b in pairwise(widths))


@pytest.mark.parametrize("pooling", ["mean", "target_attention"])
@pytest.mark.parametrize("embeddings_to_top", [True, False])
def test_parameters_are_as_many_as_the_formula_says(pooling: str, embeddings_to_top: bool) -> None:
    """n vectors of width d: n (n - 1) / 2 products, and n d or d values beside them."""
    inputs = make_inputs()
    config = DLRMConfig(embedding_dim=8, history_pooling=pooling, embeddings_to_top=embeddings_to_top)
    fields = 4 + 4 + 2 * 7
    n, d = 1 + fields, 8
    top = n * (n - 1) // 2 + (n * d if embeddings_to_top else d)
    shared, event = 3 * 8, 7 * 8
    expected = {
        "bottom": layers(2 * 3, 64, 8),
        "first": layers(top, 256),
        "rest": layers(256, 128, 2),
    }
    if pooling == "target_attention":
        expected["attention"] = 2 * layers(3 * shared + event, 64, 1)
    count = count_parameters(inputs, config)
    assert {part: number for part, number in count.by_part.items() if part != "embedding"} == expected
    event_numbers, vectors = 2 * 2 * (8 + 8), (5 * 8 + 8) + (6 * 8 + 8)
    assert count.by_part["embedding"] == count.tables + event_numbers + vectors


def test_numbers_go_through_the_bottom_mlp_only() -> None:
    inputs = make_inputs()
    ranker = build_ranker(inputs, DLRMConfig(), seed=0)
    batch = make_batch(inputs)
    numbers = batch.candidates.numbers.clone()
    numbers[:, 6] = torch.where(numbers[:, 6].isnan(), torch.nan, numbers[:, 6] + 1)
    other = replace(batch, candidates=Columns(ids=batch.candidates.ids, numbers=numbers))
    assert not torch.equal(ranker(batch), ranker(other))
    with torch.no_grad():
        ranker.backbone.bottom[0].weight.zero_()
    assert torch.equal(ranker(batch), ranker(other))


def test_a_missing_number_is_not_a_zero() -> None:
    inputs = make_inputs()
    ranker = build_ranker(inputs, DLRMConfig(), seed=0)
    batch = make_batch(inputs)
    scores = []
    for value in (0.0, torch.nan):
        numbers = batch.candidates.numbers.clone()
        numbers[:, 7] = value
        scores.append(ranker(replace(batch, candidates=Columns(ids=batch.candidates.ids, numbers=numbers))))
    assert not torch.equal(*scores)


def test_z_0_is_made_once_per_request_where_no_candidate_has_a_number() -> None:
    inputs = make_inputs()
    own = replace(inputs, candidate=tuple(field for field in inputs.candidate if field.kind != "number"))
    for given, rows, more in ((inputs, 8, (0, 2 * 3 + 16)), (own, 3, (2 * 1 + 16, 0))):
        ranker, wider = (build_ranker(given, DLRMConfig(bottom_hidden=(width,)), seed=0) for width in (64, 65))
        read: list[int] = []
        ranker.backbone.bottom.register_forward_hook(lambda _, x, y, read=read: read.append(len(y)))
        ranker(make_batch(given, counts=(5, 1, 2)))
        assert read == [rows]
        first, second = (part.backbone.cost({"global": 9, "real_time": 9}) for part in (ranker, wider))
        assert (second.per_request - first.per_request, second.per_candidate - first.per_candidate) == more


def test_attention_needs_more_than_numbers_to_compare() -> None:
    """Numbers of the candidate stay raw; beside other shared fields they are left out of the comparison."""
    inputs = make_inputs()
    only = replace(inputs.histories[0], shared=("price",))
    with pytest.raises(ConfigError, match=r"'global' shares only price, .*raw number.*history_pooling: mean"):
        build_ranker(replace(inputs, histories=(only,)), DLRMConfig(history_pooling="target_attention"), seed=0)
    build_ranker(replace(inputs, histories=(only,)), DLRMConfig(), seed=0)
    mixed = build_ranker(inputs, DLRMConfig(history_pooling="target_attention"), seed=0).backbone
    assert mixed._pooled.units["global"].order[:3] == ("category", "genres", "item")


def test_fields_must_be_equally_wide() -> None:
    inputs = make_inputs(plain=True)
    tables = tuple(replace(table, dim=4 if table.name == "item" else None) for table in inputs.tables)
    with pytest.raises(ConfigError, match=r"'dlrm' needs fields of one width, got .*item 4.*same 'dim', or none"):
        build_ranker(replace(inputs, tables=tables), DLRMConfig(), seed=0)
    numbers = replace(make_inputs(histories=()), request=inputs.request[:0], candidate=make_inputs().candidate[3:4])
    with pytest.raises(ConfigError, match=r"'dlrm' needs fields with a vector, got none\. Declare .*categorical"):
        build_ranker(numbers, DLRMConfig(), seed=0)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="history_pooling"):
        parse_config(DLRMConfig, {"history_pooling": "max"}, "model")
    with pytest.raises(ConfigError, match=r"unknown key 'pooling'. Did you mean"):
        parse_config(DLRMConfig, {"pooling": "mean"}, "model")
