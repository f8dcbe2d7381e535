"""Peak memory of preparing a log of events with histories, and bytes of the store, for growing numbers of rows.

Each size runs in a fresh process. The log has users, items, times, an action and two more columns; every row is an
example and an event, histories keep 1,000 events. The last column compares the store with one of the same examples
without events or histories, plus the bytes of the events: what histories cost beyond their events.
Usage: bench_memory.py [--rows 1000000 10000000]
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import turns

LOG = """
    SELECT CAST(200000 * random() * random() AS INT) AS user_id, CAST(50000 * random() * random() AS INT) AS item_id,
        CAST(1600000000 + 10000000 * random() AS BIGINT) AS ts, CAST(random() < 0.3 AS INT) AS click,
        ['view', 'click', 'buy'][1 + CAST(floor(3 * random()) AS INT)] AS action,
        CAST(CAST(100 * random() AS INT) AS VARCHAR) AS city, 10 * random() AS price
    FROM range({rows})"""
KEYS = {"user": "user_id", "item": "item_id", "time": "ts"}
DATA = {
    "tables": {"log": {"path": "log.parquet"}},
    "examples": {"table": "log", **KEYS},
    "labels": [{"name": "click"}],
    "events": {"log": {"table": "log", **KEYS, "features": [{"kind": "categorical", "column": "action"}]}},
    "histories": {"recent": {"events": "log", "max_length": 1000}},
    "features": {
        "request": [{"kind": "categorical", "column": "user_id"}, {"kind": "categorical", "column": "city"}],
        "candidate": [{"kind": "categorical", "column": "item_id"}],
        "pair": [{"kind": "numeric", "column": "price"}],
    },
}


def measure(folder: Path) -> None:
    """Prepare the log in `folder` in this process."""
    from hemix.config import parse_config
    from hemix.data.prepare import prepare
    from hemix.schema import DataConfig

    start = time.perf_counter()
    store = prepare(parse_config(DataConfig, DATA, "benchmark"), folder / "store", root=folder)
    seconds = time.perf_counter() - start
    files = store.manifest.segments[0].files
    events = sum(entry.bytes for name, entry in files.items() if name.startswith("events."))
    rows = sum(store.split(split).num_rows for split in ("train", "valid", "test"))
    peak = turns.peak_mb()
    plain = prepare(
        parse_config(DataConfig, {**DATA, "events": {}, "histories": {}}, "benchmark"), folder / "plain", root=folder
    )
    without = sum(entry.bytes for entry in plain.manifest.segments[0].files.values())
    total = sum(entry.bytes for entry in files.values())
    figures = {"rows": rows, "rows/s": rows / seconds, "store_mb": total / 1e6, "event_mb": events / 1e6}
    turns.finish({**figures, "first_peak_mb": peak, "ratio": total / (events + without)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--only", type=Path)
    options = parser.parse_args()
    if options.only:
        return measure(options.only)
    lines = ["# Memory of preparing", "", turns.machine(), ""]
    lines += ["| rows | rows/s | peak memory MB | store MB | of it events MB | store / (events + examples alone) |"]
    lines += ["|---|---|---|---|---|---|"]
    for rows in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            connection = duckdb.connect(config={"memory_limit": "2GB"})
            connection.execute(f"COPY ({LOG.format(rows=rows)}) TO '{folder}/log.parquet'")
            connection.close()
            found = turns.run_once([sys.executable, __file__, "--only", folder])
        figures = (found["rows/s"], found["first_peak_mb"], found["store_mb"], found["event_mb"])
        cells = " | ".join(f"{figure:,.0f}" for figure in figures)
        lines.append(f"| {rows:,} | {cells} | {found['ratio']:.3f} |")
    turns.save("memory", "\n".join(lines) + "\n")
    return None


if __name__ == "__main__":
    main()
