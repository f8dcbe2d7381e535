"""Predictions on disk, and the collector that gathers them."""

import dataclasses
import os

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evaluate.worlds import INPUTS, Oracle, make_batch, make_runs
from hemix.errors import InputError, RunError
from hemix.evaluate import metrics, predictions
from hemix.evaluate.evaluator import predict_split
from hemix.evaluate.predictions import Collector, Predictions
from hemix.evaluate.slices import SliceReader, Training


def columns(seed, requests):
    random = np.random.default_rng(seed)
    request = np.repeat(np.arange(requests), 2)
    return {
        "logits": random.normal(size=(2 * requests, 1)),
        "labels": np.tile([[0.0], [1.0]], (requests, 1)),
        "requests": request,
    }


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8))
def test_a_collector_holds_every_row_in_order(sizes):
    parts = [columns(seed, size) for seed, size in enumerate(sizes)]
    whole = Collector()
    for part in parts:
        whole.add(part | {"requests": part["requests"] + whole.num_requests})
    expected = np.concatenate([part["logits"] for part in parts])
    np.testing.assert_array_equal(whole.columns()["logits"], expected)
    assert whole.num_requests == sum(sizes)


@given(st.integers(0, 5), st.integers(0, 5))
def test_merging_counts_requests_on_and_its_order_changes_no_metric(left, right):
    found = []
    for order in ((left, right), (right, left)):
        merged = Collector()
        for size in order:
            part = Collector()
            if size:
                part.add(columns(size, size))
            merged.merge(part)
        assert merged.num_requests == left + right
        if merged.columns():
            all_rows = merged.columns()
            assert len(np.unique(all_rows["requests"])) == left + right
            found.append(metrics.auc(all_rows["logits"][:, 0], all_rows["labels"][:, 0]))
    assert len(set(found)) <= 1


def test_batches_of_other_columns_are_refused():
    rows = Collector()
    rows.add(columns(0, 2))
    with pytest.raises(InputError, match="Batches must agree in their columns"):
        rows.add({"logits": np.zeros((1, 1))})


def test_predictions_are_read_back_with_their_slices(tmp_path):
    batches = [make_batch(seed) for seed in range(2)]
    reader = SliceReader(INPUTS, ("city", "genres", "price"), Training.scan(batches, INPUTS))
    before = predict_split(Oracle(), batches, device=torch.device("cpu"), slices=reader)
    before.save(tmp_path / "predictions-test.npz")
    after = Predictions.load(tmp_path / "predictions-test.npz")
    assert after.origin == before.origin
    assert after.fingerprint() == before.fingerprint()
    np.testing.assert_array_equal(after.logits, before.logits)
    np.testing.assert_array_equal(after.weights, before.weights)
    assert after.slices.keys() == before.slices.keys()
    for name, column in before.slices.items():
        again = after.slices[name]
        np.testing.assert_array_equal(again.values, column.values)
        assert (again.table, again.bounds, again.names) == (column.table, column.bounds, column.names)


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "predictions-test.npz"
    with pytest.raises(RunError, match=r"There are no predictions at .*predictions-test"):
        Predictions.load(path)
    make_runs([1.0], num_users=3)[0].save(path)
    assert list(tmp_path.iterdir()) == [path]
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"predictions-test\.npz is damaged"):
            Predictions.load(path)


def test_a_file_of_another_version_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "predictions-test.npz"
    make_runs([1.0], num_users=3)[0].save(path)
    monkeypatch.setattr(predictions, "FORMAT", 9)
    with pytest.raises(RunError, match=r"has format 1, this version reads 9. Evaluate again"):
        Predictions.load(path)


def test_a_fingerprint_is_of_the_rows_and_not_of_the_scores():
    a, b = make_runs([1.0, 2.0], num_users=3)
    assert a.fingerprint() == b.fingerprint()
    assert dataclasses.replace(a, times=a.times + 1).fingerprint() != a.fingerprint()
    assert dataclasses.replace(a, labels=1 - a.labels).fingerprint() != a.fingerprint()


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "predictions-test.npz"
    old, new = make_runs([1.0, 2.0], num_users=3)
    old.save(path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        new.save(path)
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(Predictions.load(path).logits, old.logits)
