"""Experiment files for the tables of a city: the ordinary one, and a ceiling that is given the true parts."""

from typing import Any

import yaml

from hemix.world.choice import CLICK_PARTS, ORDER_PARTS
from hemix.world.moments import TIME_ZONE

HEMIX = {
    "name": "hemix",
    "embedding_dim": 16,
    "num_dynamic_global": 2,
    "num_dynamic_real_time": 2,
    "num_fixed_global": 2,
    "num_fixed_real_time": 2,
    "token_dim": 32,
    "num_blocks": 2,
    "mixing_rank": 16,
    "ffn_expansion": 2,
    "tower_hidden": [64, 32],
}
DLRM = {"name": "dlrm", "embedding_dim": 16, "histories": [], "bottom_hidden": [64], "top_hidden": [256, 128]}
TRAIN = {"batch_size": 1024, "epochs": 2, "table_lr": 0.05}
CONTEXT = (("daypart", "daypart"), ("weekend", "weekend"), ("place", "place_kind"))
"""Columns that requests and events share, and the table of each."""
TRUE_PARTS = tuple(name for name in (*CLICK_PARTS, *ORDER_PARTS) if name != "noise")
"""What the ceiling is given: all that can be known."""
HEAD = """\
# {title}
#   hemix prepare {file} --out store
#   hemix train {file} --data store --out runs/{name}
#   hemix evaluate runs/{name}
"""


def experiment_files() -> dict[str, str]:
    """Texts by file name."""
    plain = {"name": "city-hemix", "data": _data(), "model": HEMIX, "train": TRAIN}
    ceiling = {"name": "city-ceiling", "data": _data(ceiling=True), "model": DLRM, "train": TRAIN}
    texts = {
        "experiment.yaml": ("A simulated city: clicks, and orders after clicks.", "hemix", plain),
        "experiment-ceiling.yaml": (
            "The ceiling: a model that is given the true parts of the utility instead of histories.",
            "ceiling",
            ceiling,
        ),
    }
    return {
        file: HEAD.format(title=title, file=file, name=name)
        + yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120)
        for file, (title, name, values) in texts.items()
    }


def _data(*, ceiling: bool = False) -> dict[str, Any]:
    tables: dict[str, Any] = {"impressions": {"path": "impressions.parquet"}}
    if ceiling:
        parts = ", ".join(f"truth.{name} AS true_{name}" for name in TRUE_PARTS)
        tables = {
            "logged": {"path": "impressions.parquet"},
            "truth": {"path": "truth/impressions.parquet"},
            "impressions": {
                "sql": f"SELECT logged.*, {parts} FROM logged JOIN truth USING (impression) ORDER BY impression"
            },
        }
    tables |= {"users": {"path": "users.parquet"}, "pois": {"path": "pois.parquet"}}
    histories: dict[str, Any] = {
        "events": {
            "events": {
                "table": "events",
                "user": "user",
                "item": "poi",
                "time": "time",
                "features": [{"kind": "categorical", "column": "action"}, *_context()],
            }
        },
        "histories": {
            "global": {"events": "events", "cut": "same_day", "part": "older", "max_length": 100},
            "real_time": {"events": "events", "cut": "same_day", "part": "recent", "max_length": 20},
        },
    }
    return {
        "timezone": TIME_ZONE,
        "tables": tables if ceiling else {**tables, "events": {"path": "events.parquet"}},
        "examples": {"table": "impressions", "user": "user", "item": "poi", "time": "time", "request": "request"},
        "labels": [{"name": "click"}, {"name": "order", "column": "ordered", "mask": "click"}],
        "profiles": {"table": "users", "key": "user"},
        "catalog": {"table": "pois", "key": "poi"},
        "features": _features(ceiling),
        **({} if ceiling else histories),
        "split": {"by": "time", "fractions": [0.8, 0.1, 0.1]},
    }


def _context() -> list[dict[str, Any]]:
    return [{"kind": "categorical", "column": column, "table": table} for column, table in CONTEXT]


def _features(ceiling: bool) -> dict[str, Any]:
    place = {"kind": "geo", "resolutions": [6, 8], "table": "place"}
    parts = [{"kind": "numeric", "column": f"true_{name}", "transform": "none"} for name in TRUE_PARTS if ceiling]
    return {
        "request": [
            {"kind": "categorical", "column": "user", "min_count": 2},
            {"kind": "categorical", "column": "age_band"},
            {"kind": "categorical", "column": "spend_level"},
            {"kind": "timestamp", "parts": ["hour", "weekday"]},
            *_context(),
            {**place, "name": "here", "latitude": "latitude", "longitude": "longitude", "source": "examples"},
        ],
        "candidate": [
            {"kind": "categorical", "column": "poi", "min_count": 2},
            {"kind": "categorical", "column": "category"},
            {"kind": "categorical", "column": "category_group"},
            {"kind": "numeric", "column": "price", "transform": "log"},
            {"kind": "numeric", "column": "visits_last_year", "transform": "log"},
            {**place, "name": "there", "latitude": "latitude", "longitude": "longitude", "source": "catalog"},
        ],
        "pair": [
            {"kind": "categorical", "column": "position"},
            {"kind": "distance", "name": "way", "origin": "here", "target": "there"},
            *parts,
        ],
    }
