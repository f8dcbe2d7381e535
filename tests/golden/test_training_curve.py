"""The loss curve of a small seeded training: a change in it means that training computes something else."""

import json
from pathlib import Path

import pytest

from hemix.training.folder import RunFolder
from training.toy import toy_config, toy_trainer

GOLDEN = Path(__file__).with_name("training_curve.json")
SETTINGS = {
    "rowwise_adagrad": {"schedule": {"kind": "cosine", "warmup_steps": 5}, "clip_norm": 0.3},
    "adam": {"table_optimizer": "adam", "optimizer": {"lr": 0.01}},
}


def curve(folder: Path, settings: dict[str, object]) -> list[float]:
    trainer = toy_trainer(RunFolder(folder), toy_config(epochs=2, patience=None, **settings))
    trainer.start()
    trainer.fit()
    return [line["loss"] for line in RunFolder(folder).read_metrics() if line["kind"] == "train"]


@pytest.mark.parametrize("name", SETTINGS)
def test_the_loss_curve_has_not_moved(tmp_path: Path, name: str) -> None:
    """To accept a change, write the new values into the file and say why in CHANGELOG.md."""
    assert curve(tmp_path, SETTINGS[name]) == pytest.approx(json.loads(GOLDEN.read_text())[name], rel=1e-5)
