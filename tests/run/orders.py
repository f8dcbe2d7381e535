"""A small city of clicks, orders and order values, whose rules are known."""

import csv
import random
from pathlib import Path
from typing import Any

from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.experiment import Experiment
from hemix.schema import DataConfig

LABELS = [
    {"name": "click"},
    {"name": "order", "mask": "click"},
    {"name": "value", "kind": "regression", "mask": "order"},
    {"name": "order_of_all", "column": "order", "scored_by": "order"},
    {"name": "bought", "sql": 'click = 1 AND "order" = 1', "scored_by": ["click", "order"]},
]
"""The table knows of every row whether a click would have ended in an order: `order_of_all`."""


def write_orders(path: Path, *, users: int = 110) -> None:
    """Clicked by category, ordered if it is cheap, at a value near its price."""
    draw = random.Random(3)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["user", "time", "taste", "category", "price", "click", "order", "value"])
        for user in range(users):
            taste, time = draw.choice("abc"), 1_700_000_000 + draw.randrange(86_400)
            for _ in range(12):
                time += draw.randrange(60, 40_000)
                for category in draw.sample("abc", 2):
                    price = draw.choice((5, 50))
                    click = draw.random() < {"a": 0.9, "b": 0.5, "c": 0.15}[category]
                    order = draw.random() < (0.75 if price == 5 else 0.2)
                    value = price * draw.uniform(0.8, 1.2)
                    writer.writerow([f"u{user}", time, taste, category, price, int(click), int(order), f"{value:.2f}"])


def data_section(**values: Any) -> dict[str, Any]:
    return {
        "tables": {"shown": {"path": "shown.csv"}},
        "examples": {"table": "shown", "user": "user", "time": "time"},
        "labels": LABELS,
        "features": {
            "request": [{"kind": "categorical", "column": "taste"}],
            "candidate": [
                {"kind": "categorical", "column": "category"},
                {"kind": "numeric", "column": "price"},
            ],
        },
        **values,
    }


def experiment(*, train: dict[str, Any] | None = None, data: dict[str, Any] | None = None, **values: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "orders",
            "data": data_section() if data is None else data,
            "model": {"name": "dlrm", "embedding_dim": 8, "top_hidden": [32]},
            "train": {
                "batch_size": 128,
                "epochs": 6,
                "optimizer": {"lr": 0.01},
                "table_lr": 0.2,
                "monitor": "order.log_loss",
                **(train or {}),
            },
            "evaluate": {"bootstrap_draws": 20, "slices": ["category"]},
            **values,
        }
    )


def make_store(folder: Path, **data: Any) -> Store:
    folder.mkdir(parents=True, exist_ok=True)
    write_orders(folder / "shown.csv")
    return prepare(DataConfig.model_validate(data_section(**data)), folder / "store", root=folder, threads=1)
