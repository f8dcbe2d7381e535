"""Parts of a split: by category, set, number, history length, known users and item frequency."""

import dataclasses

import numpy as np
import pytest
import torch

from evaluate.worlds import INPUTS, Oracle, make_batch
from hemix.errors import ConfigError
from hemix.evaluate import metrics, slices
from hemix.evaluate.evaluator import EvaluateConfig, evaluate, predict_split
from hemix.evaluate.predictions import SliceColumn
from hemix.evaluate.slices import SliceReader, Training

BATCHES = [make_batch(seed) for seed in range(4)]
TRAINING = Training.scan(BATCHES[:1], INPUTS)


def report(*features, names=None, **settings):
    reader = SliceReader(INPUTS, features, TRAINING)
    predictions = predict_split(Oracle(), BATCHES, device=torch.device("cpu"), slices=reader)
    found = evaluate(predictions, EvaluateConfig(bootstrap_draws=20, **settings), names=names)
    return predictions, {cut.feature: cut for cut in found.first.slices}


def column(field, start=0):
    return np.concatenate([getattr(batch.candidates, field)[:, start].numpy() for batch in BATCHES])


def per_row(values):
    return np.concatenate(
        [np.repeat(values(batch), (batch.offsets[1:] - batch.offsets[:-1]).numpy()) for batch in BATCHES]
    )


def test_a_category_is_cut_by_its_values_most_frequent_first():
    predictions, found = report("city", names=lambda table, ids: [f"{table}-{value}" for value in ids])
    city = per_row(lambda batch: batch.requests.columns.ids[:, 0].numpy())
    parts = found["city"].parts
    assert {part.value for part in parts} == {"(unknown)", "(null)", "city-3", "city-4", "city-5", "city-6"}
    sizes = [part.counts.rows for part in parts]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) == predictions.num_rows
    three = next(part for part in parts if part.value == "city-3")
    rows = city == 3
    assert three.counts.rows == rows.sum()
    assert three.counts.positives == predictions.labels[rows, 0].sum()
    expected = metrics.auc(predictions.logits[rows, 0], predictions.labels[rows, 0])
    assert three.metrics["auc"].value == pytest.approx(expected)
    assert three.metrics["auc"].low < expected < three.metrics["auc"].high
    assert set(three.metrics) == {"auc", "gauc", "log_loss", "copc", "ndcg@10"}


def test_a_part_tells_how_well_its_requests_are_ordered():
    predictions, found = report("city", ndcg_k=(2,))
    city = per_row(lambda batch: batch.requests.columns.ids[:, 0].numpy())
    part = next(part for part in found["city"].parts if part.value == "id 3")
    rows = city == 3
    by_request = metrics.grouped_ndcg(
        predictions.logits[rows, 0], predictions.labels[rows, 0], predictions.requests[rows], 2
    )
    order = part.metrics["ndcg@2"]
    assert order.value == pytest.approx(np.nanmean(by_request.values[by_request.defined]))
    assert order.low < order.value < order.high


def test_rare_values_are_put_together():
    predictions, found = report("item", slice_values=3)
    parts = found["item"].parts
    assert len(parts) == 4
    assert parts[-1].value == f"({len(np.unique(column('ids'))) - 3} other values)"
    assert sum(part.counts.rows for part in parts) == predictions.num_rows
    assert parts[0].value.startswith("id ")


def test_parts_of_a_set_overlap():
    predictions, found = report("genres")
    first, second = column("ids", 1), column("ids", 2)
    sizes = {part.value: part.counts.rows for part in found["genres"].parts}
    assert sizes == {f"id {genre}": ((first == genre) | (second == genre)).sum() for genre in (3, 4, 5)}
    assert sum(sizes.values()) > predictions.num_rows


def test_a_number_is_cut_by_quartiles_and_missing():
    predictions, found = report("price")
    parts = found["price"].parts
    assert [part.value for part in parts][-1] == "(missing)"
    assert parts[-1].counts.rows == np.isnan(column("numbers")).sum()
    sizes = np.array([part.counts.rows for part in parts[:-1]])
    assert len(sizes) == 4
    assert sizes.max() - sizes.min() <= 1
    assert sum(part.counts.rows for part in parts) == predictions.num_rows


def test_a_number_with_few_values_has_fewer_parts():
    parts = list(slices.parts(SliceColumn(values=np.array([0.0, 0.0, 0.0, 1.0])), max_values=9, names=None))
    assert [(value, rows.tolist()) for value, rows in parts] == [
        ("0 to 0.25", [True, True, True, False]),
        ("from 0.25", [False, False, False, True]),
    ]


def test_history_length_known_users_and_item_frequency():
    predictions, found = report()
    assert set(found) == {"history length", "user in training", "item frequency"}
    lengths = per_row(lambda batch: batch.requests.histories["recent"].lengths.numpy())
    sizes = {part.value: part.counts.rows for part in found["history length"].parts}
    assert sizes == {
        "0": (lengths == 0).sum(),
        "1 to 9": ((lengths > 0) & (lengths < 10)).sum(),
        "10 to 49": (lengths > 9).sum(),
    }
    known = np.unique(BATCHES[0].requests.users.numpy())
    seen = {part.value: part.counts.rows for part in found["user in training"].parts}
    assert seen.get("seen") == np.isin(predictions.users, known[known >= 0]).sum()
    assert seen.get("no user") == (predictions.users < 0).sum()
    counts = np.bincount(BATCHES[0].candidates.ids[:, 0].numpy(), minlength=40)
    counts[1] = 0
    shown = {part.value: part.counts.rows for part in found["item frequency"].parts}
    assert shown["1 to 9"] == ((counts[column("ids")] > 0) & (counts[column("ids")] < 10)).sum()
    assert shown["0"] == (counts[column("ids")] == 0).sum()


def test_each_of_several_histories_is_empty_or_not():
    spec = INPUTS.histories[0]
    inputs = dataclasses.replace(INPUTS, histories=(spec, dataclasses.replace(spec, name="real_time")))
    reader = SliceReader(inputs)
    recent = BATCHES[0].requests.histories["recent"]
    lengths = torch.arange(len(recent.lengths)) % 3
    histories = {"recent": recent, "real_time": dataclasses.replace(recent, lengths=lengths)}
    batch = dataclasses.replace(BATCHES[0], requests=dataclasses.replace(BATCHES[0].requests, histories=histories))
    request = np.repeat(np.arange(len(lengths)), np.diff(batch.offsets.numpy()))
    values = reader.read(batch, request)["history real_time"]
    cut = slices.parts(reader.column("history real_time", values), max_values=9, names=None)
    found = {value: rows.tolist() for value, rows in cut}
    assert found == {
        "empty": (lengths.numpy()[request] == 0).tolist(),
        "has events": (lengths.numpy()[request] > 0).tolist(),
    }
    assert "history recent" not in SliceReader(INPUTS).read(BATCHES[0], request)


def test_training_remembers_users_and_items():
    assert TRAINING.item == "item"
    assert TRAINING.users.tolist() == sorted(set(BATCHES[0].requests.users.tolist()) - {-1})
    assert TRAINING.item_counts.sum() == BATCHES[0].num_rows
    with pytest.raises(ConfigError, match=r"Unknown categorical candidate feature 'itm'; .* Did you mean 'item'"):
        Training.scan(BATCHES[:1], INPUTS, "itm")


def test_a_slice_must_be_a_feature_with_values():
    with pytest.raises(ConfigError, match=r"Unknown feature in evaluate\.slices 'prize'; .* Did you mean 'price'"):
        SliceReader(INPUTS, ("prize",))
    with pytest.raises(ConfigError, match="'picture' is a vector; slices need a category or a number"):
        SliceReader(INPUTS, ("picture",))


def test_an_undefined_part_says_why():
    """A slice by what the label itself says: each of its parts has one class."""
    predictions, _ = report()
    clicked = SliceColumn(values=predictions.labels[:, 0].astype(np.int32), names=("no", "yes"))
    found = evaluate(dataclasses.replace(predictions, slices={"clicked": clicked}), EvaluateConfig(bootstrap_draws=20))
    no, yes = found.first.slices[0].parts
    assert np.isnan(no.metrics["auc"].value)
    assert no.metrics["auc"].reason == f"all {no.counts.rows} labels are 0"
    assert yes.metrics["gauc"].reason == f"all {yes.counts.rows} labels are 1"
    assert no.metrics["log_loss"].reason is None


def test_a_number_that_is_always_missing_is_one_part():
    column_of_none = SliceColumn(values=np.array([np.nan, np.nan]))
    assert [value for value, _ in slices.parts(column_of_none, max_values=9, names=None)] == ["(missing)"]
