"""Experiment files for the tables of a city: the ordinary one, and a ceiling that is given the true parts."""

from typing import Any

import yaml

from hemix.world.choice import CLICK_PARTS, ORDER_PARTS
from hemix.world.moments import TIME_ZONE

MODELS: dict[str, dict[str, Any]] = {
    "hemix": {"name": "hemix", "preset": "tiny"},
    "dlrm": {"name": "dlrm"},
    "din": {"name": "din"},
}
"""The small models of the recipes, which stand in a later layer; a test holds them equal."""
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
    """Texts by file name: `experiment.yaml` is HeMix's."""
    files = {}
    for name, model in MODELS.items():
        file = "experiment.yaml" if name == "hemix" else f"experiment-{name}.yaml"
        files[file] = _text("A simulated city: clicks, and orders after clicks.", file, name, _data(), model)
    title = "The ceiling: a model that is given the true parts of the utility instead of histories."
    file, model = "experiment-ceiling.yaml", {**MODELS["dlrm"], "histories": []}
    return files | {file: _text(title, file, "ceiling", _data(ceiling=True), model)}


def _text(title: str, file: str, name: str, data: dict[str, Any], model: dict[str, Any]) -> str:
    values = {"name": f"city-{name}", "data": data, "model": model, "train": TRAIN}
    body = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=120)
    return HEAD.format(title=title, file=file, name=name) + body


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
