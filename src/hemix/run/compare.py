"""Runs side by side on the rows of one split."""

from collections.abc import Sequence
from pathlib import Path

from hemix.data.store import Store
from hemix.errors import unknown_name
from hemix.evaluate.compare import Comparison
from hemix.evaluate.compare import compare as compare_predictions
from hemix.evaluate.predictions import Predictions
from hemix.run.run import Run, Split


def compare(
    runs: Sequence[Run | str | Path], split: Split = "test", *, store: Store | None = None, task: str | None = None
) -> Comparison:
    """Paired differences of every two systems, with intervals; runs that differ in their seed alone are one system.

    `task` is the label that is compared (None: the first). Runs that have not been evaluated on `split` yet are
    evaluated first. The settings of the first run's `evaluate` section are used. Raises ConfigError for an unknown
    label, RunError if there are fewer than two systems, or if the runs do not have the same rows.
    """
    opened = [run if isinstance(run, Run) else Run.open(run) for run in runs]
    predictions = [_predictions(run, split, store) for run in opened]
    labels = predictions[0].origin.tasks if predictions else ()
    if task is not None and task not in labels:
        raise unknown_name("task", task, labels)
    place = 0 if task is None else labels.index(task)
    return compare_predictions(predictions, opened[0].experiment.evaluate if opened else None, task=place)


def _predictions(run: Run, split: Split, store: Store | None) -> Predictions:
    """Those of the last evaluation, if it was on this store and after the run's last training."""
    path = run.path / f"predictions-{split}.npz"
    if not path.is_file() or path.stat().st_mtime < run.folder.weights.stat().st_mtime:
        run.evaluate(split, store=store)
    found = Predictions.load(path)
    if store is not None and found.origin.store != store.hash:
        run.evaluate(split, store=store)
        found = Predictions.load(path)
    return found
