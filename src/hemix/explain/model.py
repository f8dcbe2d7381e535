"""A model explained: what it uses, and what in it says the same twice."""

import numpy as np
import torch

from hemix.batch import Batch, Columns
from hemix.data.store import Store
from hemix.errors import ConfigError
from hemix.explain.importance import Drawn, costs, draw, quality, score_shuffled
from hemix.explain.inside import block_norms, field_gates, field_pairs, query_redundancy
from hemix.explain.report import BlockNorms, ModelReport, Redundancy
from hemix.explain.request import task_place
from hemix.ranker import Embedded
from hemix.run.model_file import check_encoder
from hemix.run.run import Run, Split

MAX_SEEN = 256
"""Requests, with one candidate each, over which attention and norms are averaged."""
SEEN = 32


def explain_model(
    run: Run,
    *,
    split: Split = "valid",
    task: str | None = None,
    rows: int = 20_000,
    seed: int = 0,
    store: Store | None = None,
) -> ModelReport:
    """What the model of a run uses: importance of its fields and histories, redundancy of queries, norms of blocks.

    Up to `rows` candidates of whole requests are drawn from the split. Raises ConfigError for the test split, which is
    read by evaluation alone, or an unknown task.
    """
    if split == "test":
        raise ConfigError(
            "Importance is measured where features may be chosen by it, and the test split must not be chosen by; got "
            "split test. Use valid."
        )
    store = run.store if store is None else store
    check_encoder(run.folder, store)
    place, ranker, config = task_place(store.inputs, task), run.ranker, run.experiment.evaluate
    drawn = draw(store.split(split, serving=True), rows, seed)
    rated, shuffled = score_shuffled(ranker, drawn, place, run.device)
    known = rated.take(~np.isnan(rated.labels))
    batches = [_first_candidates(run, drawn, start) for start in range(0, min(MAX_SEEN, len(drawn.requests)), SEEN)]
    redundancy, blocks = query_redundancy(ranker, batches), block_norms(ranker, batches)
    return ModelReport(
        run=run.path.name, model=ranker.config.name, store=store.hash, split=split, task=store.inputs.tasks[place].name,
        rows=len(known), requests=len(drawn.requests), users=len(np.unique(known.users[known.users >= 0])),
        interval=f"95 % percentile bootstrap over users, {config.bootstrap_draws:,} draws, seed {config.seed}",
        importance=tuple(costs(rated, shuffled, draws=config.bootstrap_draws, seed=config.seed)),
        redundancy=redundancy, blocks=blocks, gates=field_gates(ranker, batches),
        crossings=field_pairs(ranker), notes=tuple(_notes(ranker.config.name, redundancy, blocks)),
        **quality(known),
    )  # fmt: skip


def _first_candidates(run: Run, drawn: Drawn, start: int) -> Embedded:
    """Some of the drawn requests with their first candidate each, as vectors."""
    batch = drawn.view.batch(drawn.requests[start : min(start + SEEN, MAX_SEEN)])
    first = batch.offsets[:-1]
    candidates = Columns(ids=batch.candidates.ids[first], numbers=batch.candidates.numbers[first])
    alone = Batch(requests=batch.requests, candidates=candidates, offsets=torch.arange(len(first) + 1))
    with torch.inference_mode():
        return run.ranker.embed(alone.to(run.device))


def _notes(name: str, redundancy: tuple[Redundancy, ...], blocks: tuple[BlockNorms, ...]) -> list[str]:
    """What the model does not have."""
    notes = []
    if not redundancy:
        notes.append(f"{name} has no queries that could be alike.")
    if not blocks:
        notes.append(f"{name} has no residual blocks.")
    return notes
