"""Loader of a flat click table (26 ids, 13 numbers), shuffled, against a torch DataLoader that collates row by row.

Both hand out batches of 4096 rows as tensors from data that is already encoded; no model. Peers' data sets return a
row each and leave batching to `default_collate`.
Usage: bench_loader.py [--rows N] [--rounds K]
"""

import argparse
import tempfile
import time
from pathlib import Path

import bench_prepare
import flat_table
import turns

BATCH = 4096
PEER_ROWS = 100_000


def with_hemix(store: Path) -> dict[str, float]:
    from hemix.data.loader import Loader
    from hemix.data.store import Store

    loader = Loader(Store.open(store).split("train"), batch_size=BATCH, seed=1)
    start = time.perf_counter()
    rows = sum(batch.num_rows for batch in loader)
    return {"rows/s": rows / (time.perf_counter() - start)}


def with_data_loader(store: Path) -> dict[str, float]:
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, Dataset

    from hemix.data.store import Store

    opened = Store.open(store)
    segment = opened.manifest.segments[0]
    ids, numbers, labels = (
        np.asarray(opened.array(segment, f"train/{name}")) for name in ("row_ids", "row_numbers", "labels")
    )

    class Rows(Dataset[dict[str, object]]):
        def __len__(self) -> int:
            return min(PEER_ROWS, len(ids))

        def __getitem__(self, row: int) -> dict[str, object]:
            found: dict[str, object] = {f"C{column}": ids[row, column] for column in range(ids.shape[1])}
            found |= {f"I{column}": numbers[row, column] for column in range(numbers.shape[1])}
            return {**found, "label": labels[row, 0]}

    loader = DataLoader(Rows(), batch_size=BATCH, shuffle=True, generator=torch.Generator().manual_seed(1))
    start = time.perf_counter()
    rows = sum(len(batch["label"]) for batch in loader)
    return {"rows/s": rows / (time.perf_counter() - start)}


SYSTEMS = {"hemix": with_hemix, "DataLoader": with_data_loader}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--only", choices=SYSTEMS)
    options = parser.parse_args()
    if options.only:
        return turns.finish(SYSTEMS[options.only](options.store))
    store = options.store
    if store is None:
        folder = Path(tempfile.mkdtemp())
        flat_table.write(folder / "data", options.rows)
        store = folder / "store"
        bench_prepare.with_hemix(folder / "data", store)
    found = turns.in_turn(__file__, list(SYSTEMS), ["--store", str(store)], options.rounds)
    turns.save(
        "loader", turns.report("Loading a flat click table", found, "rows/s", (__doc__ or "").split("Usage")[0].strip())
    )
    return None


if __name__ == "__main__":
    main()
