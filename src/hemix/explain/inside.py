"""What happens inside a model, on average over some requests: queries, blocks, gates; and how it crosses fields."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from hemix.explain.report import BlockNorms, FieldGates, FieldPairs, Redundancy
from hemix.models import Attentive, Gated, Residual
from hemix.models.backbone import AttentionMap, Gate
from hemix.nn.ragged import Ragged
from hemix.ranker import Embedded, Ranker, encode_embedded


@torch.inference_mode()
def query_redundancy(ranker: Ranker, batches: Sequence[Embedded]) -> tuple[Redundancy, ...]:
    """Mean cosines of every two queries of a kind over a history; requests without events take no part."""
    backbone = ranker.backbone
    if not isinstance(backbone, Attentive):
        return ()
    found: dict[tuple[str, str], list[AttentionMap]] = {}
    for x in batches:
        ragged = Ragged(x.offsets, len(x.candidate.values))
        for seen in backbone.attention(encode_embedded(backbone, x), x.candidate, ragged):
            found.setdefault((seen.history, seen.kind), []).append(seen)
    return tuple(_redundancy(maps) for maps in found.values() if maps[0].weights.shape[1] > 1)


def _redundancy(maps: Sequence[AttentionMap]) -> Redundancy:
    answers, weights, seen, events, rows = [], [], [], [], 0
    for part in maps:
        by_event = part.weights.mean(dim=2)
        there = by_event.abs().sum(dim=(1, 2)) > 0
        rows += int(there.sum())
        answers.append(_cosines(part.answers[there]).sum(dim=0))
        weights.append(_cosines(by_event[there]).sum(dim=0))
        entropy = -(by_event[there] * by_event[there].clamp(min=1e-12).log()).sum(dim=2)
        seen.append(entropy.exp().sum(dim=0))
        events.append((by_event[there] > 0).any(dim=1).sum().double())
    count = max(1, rows)
    queries = None if maps[0].queries is None else _table(_cosines(maps[0].queries[None])[0])
    effective = torch.stack(seen).sum(dim=0) / count
    return Redundancy(
        history=maps[0].history,
        kind=maps[0].kind,
        queries=queries,
        answers=_table(torch.stack(answers).sum(dim=0) / count),
        weights=_table(torch.stack(weights).sum(dim=0) / count),
        events_seen=tuple(effective.tolist()) if maps[0].adds_to_one else (float("nan"),) * len(effective),
        events=float(torch.stack(events).sum()) / count,
    )


def _cosines(vectors: Float[Tensor, "N Q D"]) -> Float[Tensor, "N Q Q"]:
    unit = F.normalize(vectors, dim=2)
    return unit @ unit.transpose(1, 2)


def _table(values: Float[Tensor, "Q Q"]) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in np.round(values.double().cpu().numpy(), 6).tolist())


@torch.inference_mode()
def block_norms(ranker: Ranker, batches: Sequence[Embedded]) -> tuple[BlockNorms, ...]:
    """Mean norm of a token before each part of a block, and of what that part adds to it."""
    backbone = ranker.backbone
    if not isinstance(backbone, Residual):
        return ()
    sums: dict[str, Tensor] = {}
    rows = 0
    for x in batches:
        rows += len(x.candidate.values)
        ragged = Ragged(x.offsets, len(x.candidate.values))
        for update in backbone.updates(encode_embedded(backbone, x), x.candidate, ragged):
            norms = [side.norm(dim=2).mean(dim=1).sum() for side in (update.stream, update.added)]
            sums[update.name] = sums.get(update.name, torch.zeros(())) + torch.stack(norms)
    return tuple(
        BlockNorms(name=name, stream=float(pair[0]) / rows, added=float(pair[1]) / rows) for name, pair in sums.items()
    )


@torch.inference_mode()
def field_gates(ranker: Ranker, batches: Sequence[Embedded]) -> tuple[FieldGates, ...]:
    """Mean gates of every layer over all rows of some batches."""
    backbone = ranker.backbone
    if not isinstance(backbone, Gated):
        return ()
    found: dict[str, list[Gate]] = {}
    for x in batches:
        ragged = Ragged(x.offsets, len(x.candidate.values))
        for gate in backbone.gates(encode_embedded(backbone, x), x.candidate, ragged):
            found.setdefault(gate.name, []).append(gate)
    return tuple(
        FieldGates(
            name=name,
            fields=dict(
                zip(gates[0].fields, torch.cat([gate.values for gate in gates]).mean(dim=0).tolist(), strict=True)
            ),
        )
        for name, gates in found.items()
    )


@torch.inference_mode()
def field_pairs(ranker: Ranker) -> tuple[FieldPairs, ...]:
    """Norms of the blocks of every cross layer."""
    backbone = ranker.backbone
    if not isinstance(backbone, Gated):
        return ()
    return tuple(
        FieldPairs(name=found.name, fields=found.fields, norms=_table(found.norms)) for found in backbone.crossings()
    )
