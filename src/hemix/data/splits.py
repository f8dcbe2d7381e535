"""Whether the splits of a store can be learnt from and measured on."""

from hemix.data.manifest import Manifest
from hemix.errors import InputError
from hemix.schema import SPLITS, DataConfig


def check_splits(manifest: Manifest) -> None:
    """No split that was asked for is empty; the first label has both classes in each, every label in training.

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
            known = count.rows - count.unlabelled[index]
            both = config.negatives is not None or count.positives[index] not in (0, known)
            if not both and (index == 0 or split == "train"):
                raise InputError(
                    f"The {split} split has a single class: {count.positives[index]} of its {known} rows have "
                    f"{label.name} = 1. Ranking needs both; check the label or data.split."
                )


def _asked(config: DataConfig) -> set[str]:
    if isinstance(config.examples.table, dict):
        return set(config.examples.table)
    return {split for split, share in zip(SPLITS, config.split.fractions, strict=True) if share}
