"""Speed and peak memory of `hemix world`, and whether two runs give the same bytes.

Each run is a fresh process. The first size is written twice and compared by SHA-256 of every file.
Usage: bench_world.py [--impressions 300000 1000000 20000000]
"""

import argparse
import hashlib
import sys
import tempfile
import time
from pathlib import Path

import turns


def measure(out: Path, impressions: int) -> None:
    from hemix.world import World, write_world

    start = time.perf_counter()
    found = write_world(World(seed=1, impressions=impressions), out)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    counts = found["counts"]
    figures = {name: counts[name] for name in ("impressions", "events", "users", "pois")}
    turns.finish({**figures, "seconds": seconds, "mb": size / 1e6})


def digest(folder: Path) -> str:
    """One hash of the names and contents of all files."""
    total = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            total.update(f"{path.relative_to(folder)} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return total.hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--impressions", type=int, nargs="+", default=[300_000, 1_000_000, 20_000_000])
    parser.add_argument("--only", type=Path)
    options = parser.parse_args()
    if options.only:
        return measure(options.only, options.impressions[0])
    lines = ["# Simulating a city", "", turns.machine(), ""]
    lines += ["| impressions | events | users | POIs | files MB | seconds | impressions/minute | peak memory MB |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    digests = []
    for impressions in (options.impressions[0], *options.impressions):
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "city"
            command = [sys.executable, __file__, "--only", str(out), "--impressions", str(impressions)]
            found = turns.run_once(command)
            if len(digests) < 2:
                digests.append(digest(out))
        figures = [found[name] for name in ("impressions", "events", "users", "pois", "mb", "seconds")]
        per_minute = 60 * found["impressions"] / found["seconds"]
        cells = " | ".join(f"{figure:,.0f}" for figure in (*figures, per_minute, found["peak_mb"]))
        lines.append(f"| {cells} |")
    same = "the same bytes" if digests[0] == digests[1] else "DIFFERENT bytes"
    lines += ["", f"{options.impressions[0]:,} impressions twice: {same} (SHA-256 {digests[0][:16]})."]
    turns.save("world", "\n".join(lines) + "\n")
    return None


if __name__ == "__main__":
    main()
