"""Encoded columns to vectors: what each kind of field becomes, and what padding must not do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from factories import make_batch, make_inputs
from hemix.batch import Columns, FieldSpec, History, HistorySpec, Inputs, TableSpec
from hemix.errors import ConfigError
from hemix.nn.embedding import FeatureEmbedding

INPUTS = Inputs(
    request=(
        FieldSpec(name="age", kind="number", start=1),
        FieldSpec(name="tags", kind="ids", start=1, width=3, table="tag"),
        FieldSpec(name="user", kind="id", start=0, table="user"),
    ),
    candidate=(
        FieldSpec(name="item", kind="id", start=0, table="item"),
        FieldSpec(name="image", kind="vector", start=0, width=2),
        FieldSpec(name="price", kind="number", start=2),
    ),
    histories=(
        HistorySpec(
            name="recent",
            fields=(
                FieldSpec(name="price", kind="number", start=0),
                FieldSpec(name="item", kind="id", start=0, table="item"),
                FieldSpec(name="rating", kind="number", start=1),
            ),
            shared=("item", "price"),
            max_length=4,
            part="recent",
        ),
    ),
    tables=(
        TableSpec(name="user", num_ids=5),
        TableSpec(name="tag", num_ids=6, dim=2),
        TableSpec(name="item", num_ids=7),
    ),
)
EVENTS = Columns(ids=torch.tensor([[[6], [0]]], dtype=torch.int32), numbers=torch.tensor([[[3.0, 4.0], [0.0, 0.0]]]))
HISTORY = History(events=EVENTS, times=torch.tensor([[5, 0]]), lengths=torch.tensor([1]))


@pytest.fixture
def embedding() -> FeatureEmbedding:
    torch.manual_seed(0)
    return FeatureEmbedding(INPUTS, 3)


def columns(ids: list[list[int]], numbers: list[list[float]]) -> Columns:
    return Columns(ids=torch.tensor(ids, dtype=torch.int32), numbers=torch.tensor(numbers))


def test_tables_of_one_width_stand_below_each_other(embedding: FeatureEmbedding) -> None:
    """tag (6 ids of width 2); user and item (5 + 7 ids of the model's width 3)."""
    assert [tuple(table.shape) for table in embedding.tables] == [(6, 2), (12, 3)]


def test_fields_stand_by_width_then_kind(embedding: FeatureEmbedding) -> None:
    fields = embedding.request(columns([[3, 4, 5, 0]], [[9.0, 2.0]]))
    assert fields.names == ("tags", "user", "age")
    assert fields.widths == (2, 3, 3)
    narrow, wide = embedding.tables
    expected = torch.cat([(narrow[4] + narrow[5]) / 2, wide[3], 2.0 * embedding.numbers.weight[0]])
    torch.testing.assert_close(fields.values[0], expected)


def test_candidate_and_event_share_tables_and_weights(embedding: FeatureEmbedding) -> None:
    """A shared number has the candidate's weight; one of the event alone has its own."""
    candidate = embedding.candidate(columns([[6]], [[1.0, 2.0, 3.0]]))
    events, attended = embedding.history("recent", HISTORY)
    assert events.names == ("item", "price", "rating")
    assert attended.tolist() == [[True, False]]
    item, price, rating = events.values[0, 0].split(3)
    torch.testing.assert_close(torch.cat([item, price]), candidate.select(["item", "price"]).values[0])
    torch.testing.assert_close(rating, 4.0 * embedding.numbers.weight[2])
    assert embedding.numbers.weight.shape == (3, 3)


def test_reserved_ids_start_at_zero_and_learnt_ones_do_not(embedding: FeatureEmbedding) -> None:
    narrow, wide = embedding.tables
    for table, start, end in ((narrow, 0, 6), (wide, 0, 5), (wide, 5, 12)):
        assert not table[start : start + 3].any()
        assert (table[start + 3 : end].abs().sum(dim=1) > 0).all()


def test_padding_is_zero_and_gets_no_gradient(embedding: FeatureEmbedding) -> None:
    """Also where the table does not stand first: id 0 of `item` is not row 5."""
    with torch.no_grad():
        embedding.tables[1][5] = 1.0
    fields = embedding.candidate(columns([[0], [4]], [[0.0, 0.0, 0.0]] * 2))
    assert not fields.select(["item"]).values[0].any()
    fields.values.sum().backward()
    gradient = embedding.tables[1].grad
    assert gradient is not None
    assert gradient.is_sparse
    assert gradient.coalesce().indices().tolist() == [[5 + 4]]


def test_an_empty_set_is_zero(embedding: FeatureEmbedding) -> None:
    fields = embedding.request(columns([[3, 0, 0, 0]], [[0.0, 1.0]]))
    assert not fields.select(["tags"]).values.any()


@given(order=st.permutations([4, 0, 3]))
def test_a_set_has_no_order(order: list[int]) -> None:
    embedding = FeatureEmbedding(INPUTS, 3)
    fields = [embedding.request(columns([[3, *slots]], [[0.0, 1.0]])).values for slots in ([4, 3, 0], order)]
    torch.testing.assert_close(*fields)


def test_a_missing_number_or_vector_has_a_learned_vector(embedding: FeatureEmbedding) -> None:
    with torch.no_grad():
        embedding.numbers.missing[1] = torch.tensor([1.0, 2.0, 3.0])
        embedding.vectors[0].missing.copy_(torch.tensor([4.0, 5.0, 6.0]))
    fields = embedding.candidate(columns([[3]], [[1.0, torch.nan, torch.nan]]))
    assert fields.select(["price", "image"]).values.tolist() == [[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]]
    fields.values.sum().backward()
    assert all(torch.isfinite(p.grad.to_dense()).all() for p in embedding.parameters() if p.grad is not None)


def test_raw_numbers_keep_their_value_and_say_if_it_is_missing() -> None:
    embedding = FeatureEmbedding(INPUTS, 3, numbers="raw")
    fields = embedding.candidate(columns([[3], [3]], [[1.0, 1.0, 7.0], [1.0, 1.0, torch.nan]]))
    assert dict(zip(fields.names, fields.widths, strict=True))["price"] == 2
    assert fields.select(["price"]).values.tolist() == [[7.0, 0.0], [0.0, 1.0]]
    assert embedding.numbers.weight.shape == (2, 3), "the event's price has a weight of its own then"


def test_histories_may_be_empty(embedding: FeatureEmbedding) -> None:
    events = Columns(ids=torch.zeros(2, 0, 1, dtype=torch.int32), numbers=torch.zeros(2, 0, 2))
    times, lengths = torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    fields, attended = embedding.history("recent", History(events=events, times=times, lengths=lengths))
    assert fields.values.shape == (2, 0, 9)
    assert attended.shape == (2, 0)


def test_an_unknown_history_is_named(embedding: FeatureEmbedding) -> None:
    with pytest.raises(ConfigError, match=r"Unknown history 'recnt'; available: recent. Did you mean 'recent'"):
        embedding.history("recnt", HISTORY)


def test_a_side_without_fields_has_no_columns() -> None:
    embedding = FeatureEmbedding(replace(INPUTS, request=(), histories=()), 3)
    fields = embedding.request(Columns(ids=torch.zeros(4, 0, dtype=torch.int32), numbers=torch.zeros(4, 0)))
    assert fields.values.shape == (4, 0)


def test_pretrained_vectors_replace_start_values_but_not_padding(embedding: FeatureEmbedding) -> None:
    before = embedding.tables[1].detach().clone()
    vectors = np.arange(21, dtype=np.float32).reshape(7, 3)
    vectors[4, 1] = np.nan
    embedding.load_pretrained("item", vectors)
    after = embedding.tables[1]
    assert torch.equal(after[:6], before[:6]), "other tables, and padding"
    assert torch.equal(after[5 + 4], before[5 + 4]), "no vector for this id"
    assert after[[6, 7, 8, 10, 11]].tolist() == vectors[[1, 2, 3, 5, 6]].tolist()


def test_pretrained_vectors_must_fit(embedding: FeatureEmbedding) -> None:
    with pytest.raises(ConfigError, match=r"'item' must have the shape \(7, 3\) \(ids, width\), got \(7, 5\)"):
        embedding.load_pretrained("item", np.zeros((7, 5)))
    with pytest.raises(ConfigError, match="Unknown table 'itm'"):
        embedding.load_pretrained("itm", np.zeros((7, 3)))


def test_wide_tables_use_wide_ids() -> None:
    """Row numbers above 2^31 do not wrap (nothing is allocated: only the arithmetic is looked at)."""
    tables = (
        TableSpec(name="user", num_ids=2**31),
        TableSpec(name="tag", num_ids=6, dim=2),
        TableSpec(name="item", num_ids=7),
    )
    with torch.device("meta"):
        embedding = FeatureEmbedding(replace(INPUTS, tables=tables), 3)
    assert embedding.tables[1].shape[0] == 2**31 + 7
    starts = [lookup.starts.dtype for side in embedding.sides for lookup in side.lookups]
    assert torch.int64 in starts


@given(seed=st.integers(0, 20))
def test_columns_may_stand_anywhere(seed: int) -> None:
    """Moving the columns, and the fields' places with them, changes nothing."""
    inputs = make_inputs(plain=True)
    batch = make_batch(inputs, seed=seed)
    shift = replace(inputs, candidate=tuple(replace(field, start=field.start + 2) for field in inputs.candidate))
    moved = torch.nn.functional.pad(batch.candidates.ids, (2, 0), value=5)
    torch.manual_seed(seed)
    first = FeatureEmbedding(inputs, 4)
    second = FeatureEmbedding(shift, 4)
    second.load_state_dict(first.state_dict())
    other = Columns(ids=moved, numbers=batch.candidates.numbers)
    assert torch.equal(first.candidate(batch.candidates).values, second.candidate(other).values)
