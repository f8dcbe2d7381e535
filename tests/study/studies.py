"""A small study file beside its raw tables."""

from pathlib import Path
from typing import Any

import yaml

from hemix.study.cells import Study, read_study
from run.clicks import experiment, write_tables


def write_study(folder: Path, *, train: dict[str, Any] | None = None, **values: Any) -> Path:
    """Tables, base experiment and study file; two cells and two seeds unless `values` say otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder)
    (folder / "base.yaml").write_text(experiment(train={"epochs": 1, **(train or {})}).to_yaml())
    study = {
        "study": "tiny",
        "experiment": "base.yaml",
        "cells": {"narrow": {}, "wide": {"set": {"model.embedding_dim": 8}}},
        "seeds": [1, 2],
        "baselines": ["narrow"],
        **values,
    }
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in study.items() if value is not None}, sort_keys=False))
    return path


def tiny(folder: Path, **values: Any) -> Study:
    return read_study(write_study(folder, **values))
