"""How long a model takes to score one request, measured on this machine and thread."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from hemix.batch import FIRST_ID, Columns, FieldSpec, History, Inputs, Requests
from hemix.models import ModelConfig
from hemix.ranker import Ranker

WARM_UP = 2


def latency(inputs: Inputs, config: ModelConfig, *, candidates: int = 500, repeats: int = 11) -> float:
    """Median seconds to encode and score one request, with every history at its greatest length.

    Weights are initial ones, tables have their reserved ids only: neither changes the work.
    """
    tables = tuple(replace(table, num_ids=FIRST_ID) for table in inputs.tables)
    ranker = Ranker(replace(inputs, tables=tables), config).eval()
    requests, rows = one_request(inputs, candidates)
    offsets, seconds = torch.tensor([0, candidates]), []
    with torch.inference_mode():
        for _ in range(WARM_UP + repeats):
            start = time.perf_counter()
            ranker.score(ranker.encode(requests), rows, offsets)
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[WARM_UP:])


def one_request(inputs: Inputs, candidates: int) -> tuple[Requests, Columns]:
    """A request whose histories have their greatest length, and so many candidates; all ids are 1, all numbers 0."""
    return _requests(inputs), _columns(inputs.candidate, (candidates,))


def _requests(inputs: Inputs) -> Requests:
    histories = {
        spec.name: History(
            events=_columns(spec.fields, (1, spec.max_length)),
            times=torch.zeros(1, spec.max_length, dtype=torch.int64),
            lengths=torch.tensor([spec.max_length]),
        )
        for spec in inputs.histories
    }
    nobody = torch.zeros(1, dtype=torch.int64)
    return Requests(columns=_columns(inputs.request, (1,)), histories=histories, users=nobody, times=nobody)


def _columns(fields: Sequence[FieldSpec], shape: tuple[int, ...]) -> Columns:
    """Rows in which every id is 1 and every number 0."""

    def width(*kinds: str) -> int:
        return max((field.start + field.width for field in fields if field.kind in kinds), default=0)

    ids = torch.ones((*shape, width("id", "ids")), dtype=torch.int32)
    return Columns(ids=ids, numbers=torch.zeros((*shape, width("number", "vector"))))
