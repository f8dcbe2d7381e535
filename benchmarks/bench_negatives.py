"""Loading requests with drawn candidates: Foursquare New York, 50 places nearby, two histories, distance and counts.

FOLDER holds the check-ins as benchmarks/foursquare_baselines.py reads them. One thread, no prefetching; CPU seconds.
Usage: bench_negatives.py FOLDER
"""

import sys
import tempfile
import time
from pathlib import Path

from hemix.data.loader import Loader
from hemix.data.prepare import prepare
from hemix.data.store import SplitView
from hemix.recipes import foursquare

SECONDS = 4.0


def main(folder: Path) -> None:
    joined = (folder / "pois.csv").exists()
    with tempfile.TemporaryDirectory() as work:
        store = prepare(foursquare(joined_copy=joined).data, Path(work) / "store", root=folder, threads=1)
        sys.stdout.write("| batch size | candidates per CPU second | without histories |\n|---|---|---|\n")
        for batch_size in (1024, 2048, 4096):
            figures = [rate(store.split("train", histories=keep), batch_size) for keep in (True, False)]
            sys.stdout.write(f"| {batch_size:,} | " + " | ".join(f"{figure:,.0f}" for figure in figures) + " |\n")


def rate(view: SplitView, batch_size: int) -> float:
    """Candidates per CPU second."""
    rows, start = 0, time.process_time()
    for batch in Loader(view, batch_size=batch_size, seed=1, prefetch=0):
        rows += batch.num_rows
        if time.process_time() - start > SECONDS:
            break
    return rows / (time.process_time() - start)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
