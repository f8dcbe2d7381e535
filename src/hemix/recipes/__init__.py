"""Experiments with their numbers: functions that return one, ready to prepare and train."""

from hemix.recipes.amazon import amazon_electronics
from hemix.recipes.avazu import avazu
from hemix.recipes.by_name import RECIPES, experiment_text, write_experiments
from hemix.recipes.criteo import criteo
from hemix.recipes.foursquare import foursquare
from hemix.recipes.frappe import frappe, frappe_log
from hemix.recipes.kuairand import kuairand
from hemix.recipes.kuaivideo import kuaivideo
from hemix.recipes.movielens import movielens_1m, movielens_100k
from hemix.recipes.sizes import ModelName
from hemix.recipes.taobao import taobao_ad

__all__ = [
    "RECIPES",
    "ModelName",
    "amazon_electronics",
    "avazu",
    "criteo",
    "experiment_text",
    "foursquare",
    "frappe",
    "frappe_log",
    "kuairand",
    "kuaivideo",
    "movielens_1m",
    "movielens_100k",
    "taobao_ad",
    "write_experiments",
]
