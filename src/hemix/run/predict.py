"""Scores for a raw table: what `hemix predict` calls."""

from pathlib import Path

import torch

from hemix.data.loader import Loader
from hemix.data.store import Store
from hemix.data.unlabelled import rows_to_score
from hemix.errors import InputError
from hemix.evaluate.evaluator import predict_split
from hemix.run.model_file import check_encoder
from hemix.run.run import Run
from hemix.schema import Table


def predict(run: Run, table: Path, out: Path, *, store: Store | None = None) -> int:
    """Write `table` to `out` with the probability of each task in columns ``score_<task>``; returns the number of rows.

    The table has the columns that the examples had when the store was prepared, labels aside. Users, items and
    histories are those of the store (None: the one of the training). Raises InputError for a missing column, a bad
    row or an output whose ending names no format.
    """
    if out.exists():
        raise InputError(f"{out} is already there; choose another name or remove it.")
    store = run.store if store is None else store
    check_encoder(run.folder, store)
    with rows_to_score(store, Table(path=str(table.resolve())), table.parent) as rows:
        loader = Loader(rows.view, batch_size=run.experiment.evaluate.batch_size, seed=None)
        logits = torch.from_numpy(predict_split(run.ranker, loader, device=run.device).logits)
        scores = torch.sigmoid(logits).numpy()
        rows.write({f"score_{task.name}": scores[:, index] for index, task in enumerate(store.inputs.tasks)}, out)
        return rows.view.num_rows
