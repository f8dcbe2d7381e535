"""Runs: one training of an experiment on a store, in a folder; and `train`, which makes one.

>>> from hemix.run import Run, train  # run = train(load_experiment("experiment.yaml"), "store"); run.evaluate().auc
"""

from hemix.run.run import Run
from hemix.run.training import train

__all__ = ["Run", "train"]
