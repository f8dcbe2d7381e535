"""Scores for a raw table: what `hemix predict` calls."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from hemix.batch import Inputs
from hemix.data.loader import Loader
from hemix.data.store import Store
from hemix.data.unlabelled import rows_to_score
from hemix.errors import InputError
from hemix.evaluate.evaluator import predict_split
from hemix.objectives import ESMMConfig, ObjectiveConfig
from hemix.run.model_file import check_encoder
from hemix.run.run import Run
from hemix.schema import Table


def predict(run: Run, table: Path, out: Path, *, store: Store | None = None) -> int:
    """Write `table` to `out` with a column ``score_<label>`` for each label; returns the number of rows.

    It holds the probability of a binary label, the value of a regression. A product of probabilities has its own: that
    of a label scored by several, and ``score_<click>_and_<conversion>`` of ESMM. The table has the columns that the
    examples had when the store was prepared, labels aside. Users, items and histories are those of the store (None: the
    one of the training). Raises InputError for a missing column, a bad row or an output whose ending names no format.
    """
    if out.exists():
        raise InputError(f"{out} is already there; choose another name or remove it.")
    store = run.store if store is None else store
    check_encoder(run.folder, store)
    with rows_to_score(store, Table(path=str(table.resolve())), table.parent) as rows:
        loader = Loader(rows.view, batch_size=run.experiment.evaluate.batch_size, seed=None)
        logits = torch.from_numpy(predict_split(run.ranker, loader, device=run.device).logits)
        scores = scores_by_name(run.ranker.inputs, run.experiment.objective, logits)
        rows.write({f"score_{name}": values.numpy() for name, values in scores.items()}, out)
        return rows.view.num_rows


def scores_by_name(inputs: Inputs, objective: ObjectiveConfig, logits: Float[Tensor, "N L"]) -> dict[str, Tensor]:
    """Probabilities and values by label, from the predictions of a split; what only repeats a task is left out."""
    labels = (*inputs.tasks, *inputs.outcomes)
    found = {
        label.name: torch.sigmoid(logits[:, k]) if label.kind == "binary" else logits[:, k]
        for k, label in enumerate(labels)
        if k < len(inputs.tasks) or len(inputs.outcomes[k - len(inputs.tasks)].scored_by) > 1
    }
    if isinstance(objective, ESMMConfig):
        found.setdefault(objective.product, found[objective.click] * found[objective.conversion])
    return found
