"""Experiments with their numbers: functions that return one, ready to prepare and train."""

from hemix.recipes.movielens import movielens_100k

__all__ = ["movielens_100k"]
