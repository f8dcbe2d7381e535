"""Histories as fields: names, sides, and what a history without events gives."""

import torch

from factories import make_batch, make_inputs
from hemix.models.pooled import PooledHistories, mean_of_events
from hemix.nn.embedding import FeatureEmbedding
from hemix.nn.ragged import Ragged

INPUTS = make_inputs()


def test_mean_is_over_the_events_that_are_there() -> None:
    events = torch.tensor([[[2.0], [4.0], [9.0]], [[7.0], [7.0], [7.0]]])
    attended = torch.tensor([[True, True, False], [False, False, False]])
    assert mean_of_events(events, attended).tolist() == [[3.0], [0.0]]


def test_pooled_fields_belong_to_one_side() -> None:
    """Means to the request; weighed sums, the compared fields first, to the candidate."""
    embedding = FeatureEmbedding(INPUTS, 4)
    batch = make_batch(INPUTS, counts=(2, 3), lengths={"global": (3, 0), "real_time": (0, 2)})
    request, candidate = embedding.request(batch.requests.columns), embedding.candidate(batch.candidates)
    ragged = Ragged(batch.offsets, batch.num_rows)
    events = ("action", "item", "category", "gap", "genres", "rating", "price")
    shared = ("category", "genres", "item", "price")
    orders = {"mean": events, "target_attention": (*shared, "action", "gap", "rating")}
    for pooling, order in orders.items():
        pooled = PooledHistories(pooling, INPUTS.histories, embedding.layouts.histories, (6,))
        names = tuple(f"{name}.{field}" for name in ("global", "real_time") for field in order)
        averaged = pooling == "mean"
        assert pooled.of_request.names == (names if averaged else ())
        assert pooled.of_candidate.names == (() if averaged else names)
        state = {}
        for history in INPUTS.histories:
            read = embedding.history(history.name, batch.requests.histories[history.name])
            state |= pooled.encode(history.name, *read)
        of_request = pooled.with_request(request, state)
        of_candidate = pooled.with_candidate(candidate, state, ragged)
        assert of_request.names == (*request.names, *pooled.of_request.names)
        assert of_candidate.names == (*candidate.names, *pooled.of_candidate.names)
        side, empty = (of_request, [1]) if pooling == "mean" else (of_candidate, [2, 3, 4])
        assert not side.select(["global.item", "global.gap"]).values[empty].any()
        assert side.select(["real_time.item", "real_time.gap"]).values[empty].abs().sum(dim=1).all()
