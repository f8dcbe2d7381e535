"""`prepare` of a flat click table (26 text + 13 number columns) against pandas with scikit-learn's LabelEncoder.

Both read three Parquet files and leave encoded, standardised matrices on the disk. The recipe of pandas fits the
encoders on all splits, as the examples of DeepCTR and Torch-RecHub do; hemix fits on train alone.
Usage: bench_prepare.py [--data FOLDER] [--rows N] [--rounds K]
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import flat_table
import turns

SPLITS = ("train", "valid", "test")


def with_hemix(data: Path, out: Path) -> int:
    from hemix.config import parse_config
    from hemix.data.prepare import prepare
    from hemix.schema import DataConfig

    texts = [{"kind": "categorical", "column": f"C{index}"} for index in range(1, 27)]
    numbers = [{"kind": "numeric", "column": f"I{index}"} for index in range(1, 14)]
    values = {
        "tables": {split: {"path": f"{split}.parquet"} for split in SPLITS},
        "examples": {"table": {split: split for split in SPLITS}},
        "labels": [{"name": "label"}],
        "features": {"candidate": [*texts, *numbers]},
        "split": {"by": "given"},
    }
    store = prepare(parse_config(DataConfig, values, "benchmark"), out, root=data)
    return sum(store.split(split).num_rows for split in SPLITS)


def with_pandas(data: Path, out: Path) -> int:
    import numpy as np
    import pandas as pd
    from sklearn.preprocessing import LabelEncoder, StandardScaler

    out.mkdir()
    frames = [pd.read_parquet(data / f"{split}.parquet") for split in SPLITS]
    whole = pd.concat(frames, ignore_index=True)
    texts, numbers = [f"C{index}" for index in range(1, 27)], [f"I{index}" for index in range(1, 14)]
    whole[texts] = whole[texts].fillna("-1")
    whole[numbers] = whole[numbers].fillna(0)
    for name in texts:
        whole[name] = LabelEncoder().fit_transform(whole[name])
    whole[numbers] = StandardScaler().fit_transform(whole[numbers])
    start = 0
    for split, frame in zip(SPLITS, frames, strict=True):
        part = whole.iloc[start : start + len(frame)]
        np.save(out / f"{split}_ids.npy", part[texts].to_numpy(np.int32))
        np.save(out / f"{split}_numbers.npy", part[numbers].to_numpy(np.float32))
        np.save(out / f"{split}_label.npy", part["label"].to_numpy(np.float32))
        start += len(frame)
    return len(whole)


SYSTEMS = {"hemix": with_hemix, "pandas + LabelEncoder": with_pandas}


def measure(system: str, data: Path) -> None:
    """One timed run in this process; imports are not counted."""
    folder = Path(tempfile.mkdtemp())
    import duckdb  # noqa: F401
    import pandas  # noqa: F401
    import sklearn.preprocessing  # noqa: F401

    import hemix.data.prepare  # noqa: F401

    start = time.perf_counter()
    rows = SYSTEMS[system](data, folder / "out")
    seconds = time.perf_counter() - start
    shutil.rmtree(folder)
    turns.finish({"rows/s": rows / seconds, "seconds": seconds})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=SYSTEMS)
    options = parser.parse_args()
    if options.only:
        return measure(options.only, options.data)
    folder = options.data or Path(tempfile.mkdtemp())
    if options.data is None:
        flat_table.write(folder, options.rows)
    found = turns.in_turn(__file__, list(SYSTEMS), ["--data", str(folder)], options.rounds)
    turns.save(
        "prepare",
        turns.report("Preparing a flat click table", found, "rows/s", (__doc__ or "").split("Usage")[0].strip()),
    )
    return None


if __name__ == "__main__":
    main()
