"""A small shop in which it is known what decides: the colour of the item, or a like among the last three events."""

import csv
import random
from pathlib import Path
from typing import Any

from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.experiment import Experiment

USERS, ITEMS, REQUESTS, START = 80, 40, 8, 1_700_000_000
COLOURS = ("red", "green", "blue", "black")
DATA: dict[str, Any] = {
    "tables": {name: {"path": f"{name}.csv"} for name in ("shown", "items", "log")},
    "timezone": "UTC",
    "examples": {"table": "shown", "user": "user", "item": "item", "time": "time"},
    "labels": [{"name": "by_colour"}, {"name": "by_like"}],
    "catalog": {"table": "items", "key": "item"},
    "features": {
        "request": [
            {"kind": "categorical", "column": "device"},
            {"kind": "timestamp", "name": "clock", "parts": ["hour", "weekday"]},
        ],
        "candidate": [
            {"kind": "categorical", "column": "colour"},
            {"kind": "multi_categorical", "column": "tags", "delimiter": "|"},
            {"kind": "numeric", "column": "price", "transform": "log"},
            {"kind": "numeric", "column": "weight", "transform": "quantile", "buckets": 4},
            {"kind": "categorical", "column": "maker", "hash_buckets": 5},
        ],
        "pair": [{"kind": "categorical", "column": "reason"}, {"kind": "numeric", "column": "distance"}],
    },
    "events": {
        "log": {
            "table": "log",
            "user": "user",
            "item": "item",
            "time": "time",
            "features": [{"kind": "categorical", "column": "action"}],
        }
    },
    "histories": {
        "global": {"events": "log", "cut": "last_k", "k": 3, "part": "older", "max_length": 6},
        "real_time": {"events": "log", "cut": "last_k", "k": 3, "part": "recent", "max_length": 3},
    },
    "split": {"by": "user_time", "fractions": [0.7, 0.15, 0.15]},
}
MODELS: dict[str, dict[str, Any]] = {
    "hemix": {
        "embedding_dim": 8, "token_dim": 16, "num_attention_heads": 2, "num_mixing_heads": 2, "mixing_rank": 8,
        "num_blocks": 2, "ffn_expansion": 2, "num_dynamic_global": 2, "num_dynamic_real_time": 2,
        "num_fixed_global": 2, "num_fixed_real_time": 2, "tower_hidden": [16],
    },
    "din": {"embedding_dim": 8, "hidden": [32, 16], "attention_hidden": [16]},
    "dlrm": {"embedding_dim": 8, "top_hidden": [32], "bottom_hidden": [16]},
}  # fmt: skip


def write_tables(folder: Path) -> None:
    draw = random.Random(5)
    items = {f"i{number}": draw.choice(COLOURS) for number in range(ITEMS)}
    _write(folder / "items.csv", ["item", "colour", "tags", "price", "weight", "maker"], [
        [item, colour, "|".join(draw.sample("abcd", draw.randrange(3))), draw.randrange(1, 500), draw.randrange(90),
         f"m{draw.randrange(9)}"] for item, colour in items.items()
    ])  # fmt: skip
    log, shown = [], []
    for user in range(USERS):
        time, actions = START + draw.randrange(86_400), []
        for _ in range(REQUESTS):
            for _ in range(draw.randrange(1, 4)):
                time += draw.randrange(60, 20_000)
                actions.append("like" if draw.random() < 0.2 else draw.choice(("view", "zoom", "share")))
                log.append([f"u{user}", draw.choice(list(items)), time, actions[-1]])
            time += 60
            device = draw.choice(("phone", "desk"))
            for item in draw.sample(list(items), 3):
                by_colour = (items[item] == "red") != (draw.random() < 0.03)
                by_like = ("like" in actions[-3:]) != (draw.random() < 0.03)
                reason, distance = draw.choice("xyz"), round(draw.random() * 9, 2)
                shown.append([f"u{user}", item, time, device, reason, distance, int(by_colour), int(by_like)])
    _write(folder / "log.csv", ["user", "item", "time", "action"], log)
    _write(
        folder / "shown.csv",
        ["user", "item", "time", "device", "reason", "distance", "by_colour", "by_like"],
        shown,
    )


def _write(path: Path, heads: list[str], rows: list[list[Any]]) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([heads, *rows])


def experiment(model: str, **train: Any) -> Experiment:
    return Experiment.model_validate(
        {
            "name": f"planted-{model}",
            "data": DATA,
            "model": {"name": model, **MODELS[model]},
            "train": {"batch_size": 128, "epochs": 6, "optimizer": {"lr": 0.005}, "table_lr": 0.2, **train},
            "evaluate": {"bootstrap_draws": 100},
        }
    )


def make_store(folder: Path) -> Store:
    write_tables(folder)
    return prepare(experiment("hemix").data, folder / "store", root=folder, threads=1)
