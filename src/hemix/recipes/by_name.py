"""The recipe of each public data set, and its experiment files beside the data."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from hemix.errors import unknown_name
from hemix.experiment import Experiment
from hemix.recipes.amazon import amazon_electronics
from hemix.recipes.avazu import avazu
from hemix.recipes.criteo import criteo
from hemix.recipes.foursquare import foursquare
from hemix.recipes.frappe import frappe, frappe_log
from hemix.recipes.kuairand import kuairand
from hemix.recipes.kuaivideo import kuaivideo
from hemix.recipes.movielens import movielens_1m, movielens_100k
from hemix.recipes.sizes import ON_FIELDS, ON_HISTORIES, ON_SEQUENCES, ModelName
from hemix.recipes.taobao import taobao_ad

RECIPES: dict[str, Callable[[ModelName], Experiment]] = {
    "movielens-100k": movielens_100k,
    "movielens-1m": movielens_1m,
    "frappe": frappe,
    "frappe-log": frappe_log,
    "foursquare-nyc": partial(foursquare, "nyc"),
    "foursquare-tky": partial(foursquare, "tky"),
    "criteo": criteo,
    "avazu": avazu,
    "kuairand-pure": kuairand,
    "amazon-electronics": amazon_electronics,
    "taobao-ad": taobao_ad,
    "kuaivideo": kuaivideo,
}
FLAT = ("frappe", "frappe-log", "criteo", "avazu")
"""Data without histories."""
SEQUENCES = ("amazon-electronics", "taobao-ad", "kuaivideo")
"""The data of InterFormer's table."""
MODELS = dict.fromkeys(RECIPES, ON_HISTORIES) | dict.fromkeys(FLAT, ON_FIELDS) | dict.fromkeys(SEQUENCES, ON_SEQUENCES)


def write_experiments(name: str, directory: Path) -> list[Path]:
    """Write the experiments of a public data set beside its tables: `experiment.yaml`, and one for each other model.

    A file that is already there is kept: it may have been edited. Returns the paths, `experiment.yaml` first.
    Raises ConfigError for an unknown name.
    """
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    paths: list[Path] = []
    for model in MODELS[name]:
        path = directory / (f"experiment-{model}.yaml" if paths else "experiment.yaml")
        if not path.exists():
            path.write_text(experiment_text(RECIPES[name](model), path.name), encoding="utf-8")
        paths.append(path)
    return paths


def experiment_text(experiment: Experiment, file: str) -> str:
    """An experiment as YAML: what it sets, without defaults, and how to run it."""
    values = experiment.model_dump(mode="json", exclude_unset=True)
    body = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None, width=120)
    model = experiment.model.name
    return (
        f"# {experiment.name}: the paths below start at this file's folder.\n"
        f"#   hemix prepare {file} --out store\n"
        f"#   hemix train {file} --data store --out runs/{model}\n"
        f"#   hemix evaluate runs/{model}\n{body}"
    )
