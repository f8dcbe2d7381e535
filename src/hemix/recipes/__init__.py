"""Experiments with their numbers: functions that return one, ready to prepare and train."""

from hemix.recipes.avazu import avazu
from hemix.recipes.by_name import RECIPES, experiment_text, write_experiments
from hemix.recipes.criteo import criteo
from hemix.recipes.foursquare import foursquare
from hemix.recipes.frappe import frappe, frappe_log
from hemix.recipes.kuairand import kuairand
from hemix.recipes.movielens import movielens_1m, movielens_100k
from hemix.recipes.sizes import ModelName

__all__ = [
    "RECIPES",
    "ModelName",
    "avazu",
    "criteo",
    "experiment_text",
    "foursquare",
    "frappe",
    "frappe_log",
    "kuairand",
    "movielens_1m",
    "movielens_100k",
    "write_experiments",
]
