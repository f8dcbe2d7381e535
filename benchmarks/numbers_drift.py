"""How far the numbers of a store move from the training split to the others, in standard deviations of training.

The store keeps every number standardised by its training rows, so the mean over a later split says how far it moved and
the standard deviation how much wider or narrower it is there. A number two deviations away is one of which a model saw
few rows: a likely reason where it does not help. Prints a Markdown table, the farthest first.
Usage: numbers_drift.py STORE
"""

import argparse
from pathlib import Path

import torch

from hemix.data.loader import Loader
from hemix.data.store import Store


def moments(store: Store, split: str) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation over the rows of a split by the name of the number; missing values do not count."""
    sides = (store.inputs.request, store.inputs.candidate)
    names = [[f.name for f in fields if f.kind == "number"] for fields in sides]
    starts = [[f.start for f in fields if f.kind == "number"] for fields in sides]
    sums = torch.zeros(3, sum(len(side) for side in names), dtype=torch.float64)
    for batch in Loader(store.split(split), batch_size=16384, seed=None):
        request = batch.requests.columns.numbers[:, starts[0]].repeat_interleave(batch.offsets.diff(), 0)
        values = torch.cat([request, batch.candidates.numbers[:, starts[1]]], dim=1).double()
        sums += torch.stack([(~values.isnan()).sum(0), values.nansum(0), values.square().nansum(0)])
    mean = sums[1] / sums[0]
    deviation = (sums[2] / sums[0] - mean.square()).clamp(min=0).sqrt()
    return dict(zip(names[0] + names[1], zip(mean.tolist(), deviation.tolist(), strict=True), strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    store = Store.open(parser.parse_args().store)
    valid, test = moments(store, "valid"), moments(store, "test")
    print("| number | valid, mean | deviation | test, mean | deviation |\n|---|---:|---:|---:|---:|")
    for name in sorted(test, key=lambda name: -abs(test[name][0])):
        print(f"| {name} | " + " | ".join(f"{value:+.2f}" for value in (*valid[name], *test[name])) + " |")


if __name__ == "__main__":
    main()
