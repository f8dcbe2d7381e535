"""Tensors and state in one file: round trip, damage, other formats, and a write that dies half-way."""

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from hemix.errors import RunError
from hemix.training import checkpoint
from hemix.training.checkpoint import load_module, load_tensors, rng_state, save_tensors, set_rng_state

CPU = torch.device("cpu")


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint" / "state.safetensors"
    save_tensors(path, {"a": torch.arange(3.0)}, {"step": 1})
    return path


@given(value=st.floats(allow_nan=False), count=st.integers(0, 2**60))
def test_state_is_exact(tmp_path_factory: pytest.TempPathFactory, value: float, count: int) -> None:
    path = tmp_path_factory.mktemp("exact") / "state"
    tensors = {"t": torch.tensor([[0.1, -0.0]], dtype=torch.float64), "r": torch.arange(3, dtype=torch.uint8)}
    save_tensors(path, tensors, {"value": value, "count": count})
    loaded, state = load_tensors(path, CPU)
    assert (state["value"], state["count"]) == (value, count)
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_parameters_on_the_graph_and_views_can_be_saved(tmp_path: Path) -> None:
    weight = torch.nn.Parameter(torch.randn(4, 3))
    save_tensors(tmp_path / "s", {"w": weight, "t": weight.t()}, {})
    loaded, _ = load_tensors(tmp_path / "s", CPU)
    assert torch.equal(loaded["t"], weight.detach().t())


@pytest.mark.parametrize("fails_at", ["save_file", "fsync"])
def test_a_failed_write_leaves_the_old_file(saved: Path, monkeypatch: pytest.MonkeyPatch, fails_at: str) -> None:
    before = saved.read_bytes()

    def half(tensors: object, path: Path, metadata: object) -> None:
        path.write_bytes(before[:20])
        raise OSError(28, "No space left on device")

    def no_sync(descriptor: int) -> None:
        raise OSError(5, "Input/output error")

    if fails_at == "fsync":
        monkeypatch.setattr(os, "fsync", no_sync)
    else:
        monkeypatch.setattr(checkpoint, "save_file", half)
    with pytest.raises(RunError, match=r"could not be written.*unchanged"):
        save_tensors(saved, {"a": torch.zeros(3)}, {"step": 2})
    assert saved.read_bytes() == before
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]


def test_what_a_killed_write_leaves_is_in_nobodys_way(saved: Path) -> None:
    partial = saved.with_name(f".{saved.name}.partial")
    partial.write_bytes(b"half")
    assert load_tensors(saved, CPU)[1]["step"] == 1
    save_tensors(saved, {"a": torch.zeros(1)}, {"step": 2})
    assert load_tensors(saved, CPU)[1]["step"] == 2
    assert not partial.exists()


@pytest.mark.parametrize("keep", [0, 4, 30, -4])
def test_a_truncated_file_is_refused(saved: Path, keep: int) -> None:
    saved.write_bytes(saved.read_bytes()[:keep])
    with pytest.raises(RunError, match=r"state\.safetensors is damaged"):
        load_tensors(saved, CPU)


def test_a_missing_file_and_other_formats_are_refused(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="There is no file"):
        load_tensors(tmp_path / "absent", CPU)
    save_file({"a": torch.zeros(1)}, saved)
    with pytest.raises(RunError, match="has format None"):
        load_tensors(saved, CPU)
    save_file({"a": torch.zeros(1)}, saved, metadata={"hemix": json.dumps({"format": 99})})
    with pytest.raises(RunError, match="has format 99; this version of hemix reads format 1"):
        load_tensors(saved, CPU)


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 1)
    expected = r"w differs in 2 tensors \(first: weight, \(1, 3\) there, \(1, 2\) here\)"
    with pytest.raises(RunError, match=expected):
        load_module(module, {"weight": torch.zeros(1, 3), "bias": torch.zeros(1), "more": torch.zeros(1)}, Path("w"))
    load_module(module, {"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, Path("w"))
    assert module.weight.tolist() == [[1.0, 1.0]]


def test_random_states_round_trip() -> None:
    before = rng_state(CPU)
    first = torch.rand(3)
    set_rng_state(before, CPU)
    assert torch.equal(torch.rand(3), first)
    assert before["cpu"].dtype == torch.uint8
