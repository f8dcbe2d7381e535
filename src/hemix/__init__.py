"""HeMix: a ranking system for recommendation, from raw interaction logs to a trained and evaluated CTR model.

    store = hemix.prepare(experiment.data, "store", root=".")
    run = hemix.train(experiment, store, "runs/first")
    run.evaluate().auc

Names are loaded when they are first used, so that ``import hemix`` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hemix.data.draft import write_draft
    from hemix.data.prepare import prepare
    from hemix.data.public import get_dataset
    from hemix.data.store import Store
    from hemix.errors import ConfigError, HemixError, InputError, RunError, StoreError, TrainingError
    from hemix.evaluate.compare import Comparison
    from hemix.evaluate.report import Report
    from hemix.experiment import Experiment, load_experiment
    from hemix.run import Run, train
    from hemix.run.compare import compare
    from hemix.run.predict import predict

__version__ = "0.1.0"

__all__ = [
    "Comparison",
    "ConfigError",
    "Experiment",
    "HemixError",
    "InputError",
    "Report",
    "Run",
    "RunError",
    "Store",
    "StoreError",
    "TrainingError",
    "compare",
    "get_dataset",
    "load_experiment",
    "predict",
    "prepare",
    "train",
    "write_draft",
]

_DEFINED_IN = {
    "Comparison": "hemix.evaluate.compare",
    "ConfigError": "hemix.errors",
    "Experiment": "hemix.experiment",
    "HemixError": "hemix.errors",
    "InputError": "hemix.errors",
    "Report": "hemix.evaluate.report",
    "Run": "hemix.run",
    "RunError": "hemix.errors",
    "Store": "hemix.data.store",
    "StoreError": "hemix.errors",
    "TrainingError": "hemix.errors",
    "compare": "hemix.run.compare",
    "get_dataset": "hemix.data.public",
    "load_experiment": "hemix.experiment",
    "predict": "hemix.run.predict",
    "prepare": "hemix.data.prepare",
    "train": "hemix.run",
    "write_draft": "hemix.data.draft",
}


def __getattr__(name: str) -> Any:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module 'hemix' has no attribute {name!r}; it has: {', '.join(__all__)}")
    value = getattr(import_module(_DEFINED_IN[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
