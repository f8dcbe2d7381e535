"""A small prepared store of clicks, and experiments on it."""

import csv
import random
from pathlib import Path
from typing import Any

from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.experiment import Experiment

USERS, ITEMS = 24, 30


def write_tables(folder: Path) -> None:
    """A log of shown items, about 700 rows; users click on the category they like."""
    draw = random.Random(1)
    categories = [draw.choice("abc") for _ in range(ITEMS)]
    with (folder / "items.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["item", "category", "price"])
        writer.writerows([f"i{item}", categories[item], draw.randrange(1, 90)] for item in range(ITEMS))
    rows = []
    for user in range(USERS):
        taste, time = draw.choice("abc"), 1_700_000_000 + draw.randrange(86_400)
        for _ in range(15):
            time += draw.randrange(60, 40_000)
            shown = draw.sample(range(ITEMS), draw.randrange(1, 4))
            clicked = [draw.random() < (0.8 if categories[item] == taste else 0.2) for item in shown]
            rows += [[f"u{user}", f"i{item}", time, int(click)] for item, click in zip(shown, clicked, strict=True)]
    with (folder / "shown.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "item", "time", "click"])
        writer.writerows(rows)


OTHER_SPLIT = {"split": {"by": "time", "fractions": [0.6, 0.2, 0.2]}}
"""Another training split, and so another encoder."""


def data_section(**values: Any) -> dict[str, Any]:
    return {
        "tables": {"shown": {"path": "shown.csv"}, "items": {"path": "items.csv"}},
        "examples": {"table": "shown", "user": "user", "item": "item", "time": "time"},
        "labels": [{"name": "click"}],
        "catalog": {"table": "items", "key": "item"},
        "features": {
            "request": [{"kind": "categorical", "column": "user"}],
            "candidate": [
                {"kind": "categorical", "column": "item", "source": "catalog"},
                {"kind": "categorical", "column": "category"},
                {"kind": "numeric", "column": "price", "transform": "log"},
            ],
        },
        "events": {"shown": {"table": "shown", "user": "user", "item": "item", "time": "time"}},
        "histories": {"shown": {"events": "shown", "max_length": 6}},
        **values,
    }


def experiment(*, train: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **values: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "clicks",
            "data": data_section() if data is None else data,
            "model": {"name": "dlrm", "embedding_dim": 4},
            "train": {"batch_size": 64, "epochs": 2, "log_steps": 3, **(train or {})},
            "evaluate": {"bootstrap_draws": 20, "slices": ["category"]},
            **values,
        }
    )


def make_store(folder: Path, **data: Any) -> Store:
    folder.mkdir(parents=True, exist_ok=True)
    write_tables(folder)
    return prepare(experiment(data=data_section(**data)).data, folder / "store", root=folder, threads=1)
