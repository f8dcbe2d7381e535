"""Whether the splits of a store can be learnt from and measured on."""

from hemix.data.manifest import Manifest, Target
from hemix.errors import InputError
from hemix.labels import Label
from hemix.schema import SPLITS, DataConfig


def check_splits(manifest: Manifest) -> None:
    """No split that was asked for is empty; the first label has both classes in each, every one that is learnt in
    training. Values of a regression differ in training.

    What is looked at are the splits as they are read, all segments together: rows that are appended need not have
    both classes themselves where older ones have them. Raises InputError.
    """
    config = manifest.config
    for split in SPLITS:
        count = manifest.count(split)
        if not count.rows:
            if split in _asked(config):
                raise InputError(
                    f"The {split} split is empty: split by {config.split.by!r} gives it no row. Change data.split, "
                    f"or add rows."
                )
            continue
        for index, label in enumerate(config.labels):
            if label.kind == "regression" or label.scored_by:
                continue
            known = count.rows - count.unlabelled[index]
            both = config.negatives is not None or count.positives[index] not in (0, known)
            if not both and (index == 0 or split == "train"):
                raise InputError(
                    f"The {split} split has a single class: {count.positives[index]} of its {known} rows have "
                    f"{label.name} = 1. Ranking needs both; check the label or data.split."
                )

    for label in config.labels:
        if label.kind == "regression" and not label.scored_by:
            _check_values(label, manifest.count("train").targets.get(label.name))


def _check_values(label: Label, target: Target | None) -> None:
    if target is None or target.spread == 0:
        found = f"{target.rows} rows with the value {target.mean:g}" if target else "no row that knows it"
        raise InputError(
            f"A regression learns from values that differ; of label {label.name!r} the train split has {found}. Check "
            f"the label and its mask, or leave it out."
        )


def _asked(config: DataConfig) -> set[str]:
    if isinstance(config.examples.table, dict):
        return set(config.examples.table)
    return {split for split, share in zip(SPLITS, config.split.fractions, strict=True) if share}
