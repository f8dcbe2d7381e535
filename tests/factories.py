"""Random data of the shapes that pass between data and models, for tests of any part."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from hemix.batch import Batch, Columns, FieldSpec, History, HistorySpec, Inputs, Requests, TableSpec, TaskSpec

DAY = 86_400 * 1_000_000
TABLES = {"user": 12, "hour": 27, "tag": 9, "item": 40, "category": 8, "genre": 11, "action": 6, "gap": 20}


def make_inputs(
    *, plain: bool = False, histories: Sequence[str] = ("global", "real_time"), num_tasks: int = 2
) -> Inputs:
    """Inputs with every kind of field on every side; `plain`: single ids only."""
    request = [
        FieldSpec(name="user", kind="id", start=0, table="user"),
        FieldSpec(name="tags", kind="ids", start=1, width=3, table="tag"),
        FieldSpec(name="hour", kind="id", start=4, table="hour"),
        FieldSpec(name="age", kind="number", start=0),
        FieldSpec(name="profile", kind="vector", start=1, width=5),
    ]
    candidate = [
        FieldSpec(name="item", kind="id", start=0, table="item"),
        FieldSpec(name="genres", kind="ids", start=1, width=4, table="genre"),
        FieldSpec(name="category", kind="id", start=5, table="category"),
        FieldSpec(name="distance", kind="number", start=6),
        FieldSpec(name="image", kind="vector", start=0, width=6),
        FieldSpec(name="price", kind="number", start=7),
    ]
    if plain:
        request = [field for field in request if field.kind == "id"]
        candidate = [field for field in candidate if field.kind == "id"]
    return Inputs(
        request=tuple(request),
        candidate=tuple(candidate),
        histories=tuple(_history(name, plain=plain) for name in histories),
        tables=tuple(TableSpec(name=name, num_ids=count) for name, count in TABLES.items()),
        tasks=tuple(TaskSpec(name=name) for name in ("click", "order", "share")[:num_tasks]),
    )


def _history(name: str, *, plain: bool) -> HistorySpec:
    fields = [
        FieldSpec(name="action", kind="id", start=0, table="action"),
        FieldSpec(name="item", kind="id", start=1, table="item"),
        FieldSpec(name="genres", kind="ids", start=2, width=2, table="genre"),
        FieldSpec(name="category", kind="id", start=4, table="category"),
        FieldSpec(name="gap", kind="id", start=5, table="gap"),
        FieldSpec(name="rating", kind="number", start=0),
        FieldSpec(name="price", kind="number", start=1),
    ]
    if plain:
        fields = [field for field in fields if field.kind == "id"]
    shared = tuple(name for name in ("category", "genres", "item", "price") if name in {field.name for field in fields})
    part = "older" if name == "global" else "recent"
    return HistorySpec(name=name, fields=tuple(fields), shared=shared, max_length=9, part=part)


def unirank_inputs() -> Inputs:
    """The fields of KuaiRand as the public framework UniRank reads them, for comparing counts of parameters."""
    ids = tuple(FieldSpec(name=f"field {i}", kind="id", start=i, table="ids") for i in range(37))
    return Inputs(
        request=ids[:3],
        candidate=ids[3:],
        histories=(HistorySpec(name="all", fields=ids[:6], shared=(), max_length=20, part="all"),),
        tables=(TableSpec(name="ids", num_ids=10),),
        tasks=tuple(TaskSpec(name=f"task {k}") for k in range(6)),
    )


def make_batch(
    inputs: Inputs,
    *,
    counts: Sequence[int] = (1, 4, 2, 7, 1, 3),
    lengths: dict[str, Sequence[int]] | None = None,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Batch:
    """A random batch: request r has ``counts[r]`` candidates and ``lengths[history][r]`` events (else a random number).

    A fifth of the numbers and vectors is missing, as is a tenth of the labels; later slots of a set are
    often padding. Events of an older history are up to a month old, others up to a day.
    """
    random = torch.Generator().manual_seed(seed)
    clock = torch.Generator().manual_seed(seed)
    num_requests, num_rows = len(counts), sum(counts)
    times = 20_000 * DAY + torch.arange(num_requests) * 1_000_000
    histories = {}
    for spec in inputs.histories:
        given = (lengths or {}).get(spec.name)
        drawn = torch.randint(0, spec.max_length + 1, (num_requests,), generator=random)
        length = drawn if given is None else torch.tensor(given)
        shape = (num_requests, int(length.max()))
        valid = torch.arange(shape[1]) < length[:, None]
        events = _columns(inputs, spec.fields, shape, random, dtype)
        events = Columns(ids=events.ids * valid[..., None], numbers=torch.where(valid[..., None], events.numbers, 0.0))
        before = torch.randint(0, DAY, shape, generator=clock).sort(dim=1, descending=True).values
        before = 1 + before * 30 + DAY if spec.part == "older" else 1 + before
        histories[spec.name] = History(
            events=events, times=torch.where(valid, times[:, None] - before, 0), lengths=length
        )
    requests = Requests(
        columns=_columns(inputs, inputs.request, (num_requests,), random, dtype),
        histories=histories,
        users=torch.arange(num_requests),
        times=times,
    )
    labels = torch.randint(0, 2, (num_rows, len(inputs.tasks)), generator=random).to(dtype)
    labels[torch.rand(labels.shape, generator=random) < 0.1] = torch.nan
    return Batch(
        requests=requests,
        candidates=_columns(inputs, inputs.candidate, (num_rows,), random, dtype),
        offsets=torch.tensor([0, *counts]).cumsum(0),
        labels=labels,
        weights=torch.rand(num_rows, generator=random).to(dtype) + 0.5,
    )


def _columns(
    inputs: Inputs, fields: Sequence[FieldSpec], shape: tuple[int, ...], random: torch.Generator, dtype: torch.dtype
) -> Columns:
    sizes = {table.name: table.num_ids for table in inputs.tables}
    ids: dict[int, Tensor] = {}
    numbers: dict[int, Tensor] = {}
    for field in fields:
        for slot in range(field.width):
            if field.table is None:
                values = torch.randn(shape, generator=random).to(dtype)
                values[torch.rand(shape, generator=random) < 0.2 / field.width] = torch.nan
                numbers[field.start + slot] = values
            else:
                drawn = torch.randint(1, sizes[field.table], shape, generator=random, dtype=torch.int32)
                kept = torch.rand(shape, generator=random) < 1 / (slot + 1)
                ids[field.start + slot] = drawn * kept
    return Columns(ids=_stack(ids, shape, torch.int32), numbers=_stack(numbers, shape, dtype))


def _stack(columns: dict[int, Tensor], shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Columns side by side; one that no field reads is zero."""
    count = max(columns, default=-1) + 1
    stacked = torch.zeros((*shape, count), dtype=dtype)
    for place, values in columns.items():
        stacked[..., place] = values
    return stacked


def take_requests(batch: Batch, order: Sequence[int]) -> Batch:
    """The batch of the given requests, in that order, with all of their candidates."""
    index = torch.tensor(order)
    begin, end = batch.offsets[:-1], batch.offsets[1:]
    rows = torch.cat([torch.arange(int(begin[r]), int(end[r])) for r in order])
    requests = batch.requests
    histories = {
        name: History(events=_rows(history.events, index), times=history.times[index], lengths=history.lengths[index])
        for name, history in requests.histories.items()
    }
    return Batch(
        requests=Requests(
            columns=_rows(requests.columns, index),
            histories=histories,
            users=requests.users[index],
            times=requests.times[index],
        ),
        candidates=_rows(batch.candidates, rows),
        offsets=torch.cat([torch.zeros(1, dtype=torch.int64), (end - begin)[index].cumsum(0)]),
        labels=None if batch.labels is None else batch.labels[rows],
        weights=None if batch.weights is None else batch.weights[rows],
    )


def take_candidates(batch: Batch, order: Sequence[int]) -> Batch:
    """The same batch with its rows in another order; each row must stay within its request."""
    index = torch.tensor(order)
    return replace(
        batch,
        candidates=_rows(batch.candidates, index),
        labels=None if batch.labels is None else batch.labels[index],
        weights=None if batch.weights is None else batch.weights[index],
    )


def _rows(columns: Columns, index: Tensor) -> Columns:
    return Columns(ids=columns.ids[index], numbers=columns.numbers[index])
