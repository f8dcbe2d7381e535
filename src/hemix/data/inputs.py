"""What a model may know of a prepared store: the fields of each side, put together from the blocks."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hemix.batch import FIRST_ID, FieldSpec, HistorySpec, Inputs, OutcomeSpec, TableSpec, TaskSpec
from hemix.data.arrays import write_array
from hemix.data.encode import Encoder, key_of, layout, table_specs
from hemix.data.expressions import NUM_GAP_BUCKETS, hash_id
from hemix.data.fields import Part, Plan
from hemix.data.manifest import FileEntry, Target, entry
from hemix.errors import ConfigError, InputError
from hemix.labels import Label
from hemix.schema import DataConfig, History

UNKNOWN_TARGET = Target(rows=0, mean=0.0, centre=0.0, spread=1.0)
"""Of a label that no training row knows; `check_splits` refuses the store."""


def check_histories(config: DataConfig, plan: Plan) -> None:
    """Raises ConfigError for a history whose events lack a field that it names, or have none at all."""
    catalog, _, _ = layout(plan.blocks["catalog"])
    for name, history in config.histories.items():
        item = history_item_fields(history, catalog, name)
        if not (item or plan.blocks[f"events.{history.events}"] or history.time_gap):
            raise ConfigError(
                f"histories.{name}: its events have no features; declare candidate features in the catalog, or event "
                f"features."
            )


def make_inputs(config: DataConfig, plan: Plan, encoder: Encoder, targets: Mapping[str, Target]) -> Inputs:
    """Fields by side with their places, histories, tables and tasks; `targets`: regression labels in training."""
    request, request_ids, request_numbers = _block(plan.blocks["request"], encoder)
    profiles, _, _ = _block(plan.blocks["profiles"], encoder)
    row, row_ids, row_numbers = _block(plan.blocks["row"], encoder)
    catalog, _, _ = _block(plan.blocks["catalog"], encoder)
    tables = list(table_specs(plan, encoder))
    histories: list[HistorySpec] = []
    for name, history in config.histories.items():
        spec = _history(name, history, plan, catalog, encoder)
        histories.append(spec)
        if history.time_gap:
            tables.append(TableSpec(name=_gap_table(name), num_ids=FIRST_ID + NUM_GAP_BUCKETS))
    return Inputs(
        request=(*request, *_shifted(profiles, request_ids, request_numbers)),
        candidate=(*row, *_shifted(catalog, row_ids, row_numbers)),
        histories=tuple(histories),
        tables=tuple(tables),
        tasks=tuple(_task(config, label, targets) for label in config.labels if not label.scored_by),
        outcomes=tuple(
            OutcomeSpec(name=label.name, scored_by=label.scored_by, kind=label.kind)
            for label in config.labels
            if label.scored_by
        ),
    )


def _task(config: DataConfig, label: Label, targets: Mapping[str, Target]) -> TaskSpec:
    if label.kind == "regression":
        target = targets.get(label.name, UNKNOWN_TARGET)
        return TaskSpec(name=label.name, loss=label.loss or "squared", centre=target.centre, spread=target.spread)
    sample = config.downsample
    keep = sample.keep if sample is not None and sample.label == label.name else 1.0
    drawn = config.negatives
    if drawn is not None:
        keep = drawn.count("train") / drawn.num
    return TaskSpec(name=label.name, logit_shift=math.log(keep))


def _gap_table(history: str) -> str:
    return f"{history}.gap"


def _block(parts: tuple[Part, ...], encoder: Encoder) -> tuple[tuple[FieldSpec, ...], int, int]:
    specs, num_ids, num_numbers = layout(parts)
    served = tuple(
        dataclasses.replace(spec, served_as=_served(part, encoder)) for spec, part in zip(specs, parts, strict=True)
    )
    return served, num_ids, num_numbers


def _served(part: Part, encoder: Encoder) -> float | None:
    """The encoded value of `served_as`."""
    value = part.served_as
    if value is None:
        return None
    if part.coding == "vocabulary":
        return float(encoder.vocabularies[part.table or ""].ids(pa.array([str(value)]))[0])
    if part.coding == "direct":
        return float(hash_id(str(value), part.num_direct))
    number = np.array([float(value)])
    return float((encoder.quantiles if part.coding == "quantile" else encoder.scalers)[key_of(part)].apply(number)[0])


def _shifted(specs: tuple[FieldSpec, ...], num_ids: int, num_numbers: int) -> tuple[FieldSpec, ...]:
    return tuple(
        dataclasses.replace(spec, start=spec.start + (num_ids if spec.kind in ("id", "ids") else num_numbers))
        for spec in specs
    )


def history_item_fields(history: History, catalog: tuple[FieldSpec, ...], name: str) -> tuple[FieldSpec, ...]:
    """The catalog fields that a history's events have. Raises ConfigError if one is not there."""
    if history.item_features is None:
        return tuple(spec for spec in catalog if spec.kind in ("id", "ids"))
    known = [spec.name for spec in catalog]
    for wanted in history.item_features:
        if not any(field == wanted or field.startswith(f"{wanted}_h3_") for field in known):
            raise ConfigError(
                f"histories.{name}.item_features: {wanted!r} is not a candidate feature from the catalog; there "
                f"are: {', '.join(known)}."
            )
    return tuple(
        spec
        for spec in catalog
        if any(spec.name == wanted or spec.name.startswith(f"{wanted}_h3_") for wanted in history.item_features)
    )


def _history(name: str, history: History, plan: Plan, catalog: tuple[FieldSpec, ...], encoder: Encoder) -> HistorySpec:
    """Fields in the order in which the store joins their columns: item, event, time gap."""
    fields: list[FieldSpec] = []
    num_ids = num_numbers = 0
    item = history_item_fields(history, catalog, name)
    event, _, _ = _block(plan.blocks[f"events.{history.events}"], encoder)
    for spec in (*item, *event):
        is_id = spec.kind in ("id", "ids")
        fields.append(dataclasses.replace(spec, start=num_ids if is_id else num_numbers, served_as=None))
        num_ids += spec.width if is_id else 0
        num_numbers += 0 if is_id else spec.width
    if history.time_gap:
        fields.append(FieldSpec(name="time_gap", kind="id", start=num_ids, table=_gap_table(name)))
    return HistorySpec(
        name=name,
        fields=tuple(fields),
        shared=tuple(spec.name for spec in item),
        max_length=history.max_length,
        part=history.part,
    )


def write_pretrained(plan: Plan, encoder: Encoder, folder: Path, root: Path) -> dict[str, FileEntry]:
    """`pretrained-<table>.npy`: start values in id order, NaN for ids without one. Raises InputError for a bad file."""
    written: dict[str, FileEntry] = {}
    for index, spec in enumerate(table_specs(plan, encoder)):
        part = next(part for parts in plan.blocks.values() for part in parts if part.table == spec.name)
        if part.pretrained is None:
            continue
        vectors = _read_vectors(root / part.pretrained, part)
        values = np.full((spec.num_ids, vectors[1].shape[1]), np.nan, np.float32)
        if spec.dim != values.shape[1]:
            raise ConfigError(
                f"feature {part.name!r}: its pretrained vectors have {values.shape[1]} numbers but its dim is "
                f"{spec.dim}; set dim: {values.shape[1]}."
            )
        ids = encoder.vocabularies[spec.name].ids(vectors[0])
        known = ids >= FIRST_ID
        values[ids[known]] = vectors[1][known]
        name = f"pretrained-{index}.npy"
        written[name] = entry(write_array(folder / name, values))
    return written


def _read_vectors(path: Path, part: Part) -> tuple[pa.Array, np.ndarray]:
    rule = (
        f"feature {part.name!r}: pretrained must be a Parquet file of columns 'value' and 'vector' (equally long lists)"
    )
    try:
        table = pq.read_table(path, columns=["value", "vector"])
        vectors = np.array(table["vector"].to_pylist(), np.float32)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{rule}; {path} is not: {error}") from None
    if vectors.ndim != 2 or not np.isfinite(vectors).all():
        raise InputError(f"{rule}; the vectors of {path} differ in length or hold NaN or Inf.")
    return table["value"].cast(pa.string()).combine_chunks(), vectors
