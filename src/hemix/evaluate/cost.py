"""What a model costs to run: multiplications per request and per candidate, counted while it runs once."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from hemix.batch import FIRST_ID, Columns, FieldSpec, History, Inputs, Requests
from hemix.models import ModelConfig
from hemix.ranker import Ranker

CANDIDATES = (2, 34)
"""Two sizes of one request: the difference is what the candidates cost, the rest is the request's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Multiply-adds of matrix products, with every history at its greatest length. Lookups and sums are not counted."""

    per_request: int
    per_candidate: int


def model_cost(inputs: Inputs, config: ModelConfig) -> Cost:
    """Count by scoring one request with few and with more candidates. Tables are built with their reserved ids only."""
    tables = tuple(replace(table, num_ids=FIRST_ID) for table in inputs.tables)
    ranker = Ranker(replace(inputs, tables=tables), config).eval()
    few, many = (_products(ranker, _requests(inputs), count) for count in CANDIDATES)
    per_candidate = (many - few) // (CANDIDATES[1] - CANDIDATES[0])
    return Cost(per_request=few - CANDIDATES[0] * per_candidate, per_candidate=per_candidate)


def _products(ranker: Ranker, requests: Requests, candidates: int) -> int:
    rows = _columns(ranker.inputs.candidate, (candidates,))
    # only the unfused form of attention shows its products to the counter
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        ranker.score(ranker.encode(requests), rows, torch.tensor([0, candidates]))
    return counter.get_total_flops() // 2


def _requests(inputs: Inputs) -> Requests:
    histories = {
        spec.name: History(events=_columns(spec.fields, (1, spec.max_length)), lengths=torch.tensor([spec.max_length]))
        for spec in inputs.histories
    }
    nobody = torch.zeros(1, dtype=torch.int64)
    return Requests(columns=_columns(inputs.request, (1,)), histories=histories, users=nobody, times=nobody)


def _columns(fields: Sequence[FieldSpec], shape: tuple[int, ...]) -> Columns:
    """Rows in which every id is 1 and every number 0."""

    def width(*kinds: str) -> int:
        return max((field.start + field.width for field in fields if field.kind in kinds), default=0)

    ids: Tensor = torch.ones((*shape, width("id", "ids")), dtype=torch.int32)
    return Columns(ids=ids, numbers=torch.zeros((*shape, width("number", "vector"))))
