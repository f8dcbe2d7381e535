"""A synthetic click table like public advertising logs: 26 text columns, 13 number columns, a binary label.

Vocabularies grow from 10 to a million values, drawn with a Zipf law; 2 % of the texts and 5 % of the numbers are null.
Usage: flat_table.py OUT [ROWS]
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

NUM_TEXTS, NUM_NUMBERS = 26, 13
SPLITS = {"train": 0.8, "valid": 0.1, "test": 0.1}


def zipf(rng: np.random.Generator, size: int, count: int, exponent: float = 1.05) -> np.ndarray:
    """Ranks below `size`: the inverse of the continuous distribution function of a bounded Zipf law."""
    power = 1 - exponent
    return np.minimum(((rng.random(count) * (size**power - 1) + 1) ** (1 / power)).astype(np.int64) - 1, size - 1)


def texts(rng: np.random.Generator, size: int, count: int, salt: int) -> pa.Array:
    """A column of 8-digit tokens."""
    values, codes = np.unique(zipf(rng, size, count), return_inverse=True)
    tokens = pa.array([f"{(int(value) * 2654435761 + salt) % 2**32:08x}" for value in values])
    indices = pa.array(codes.astype(np.int32), mask=rng.random(count) < 0.02)
    return pa.DictionaryArray.from_arrays(indices, tokens).cast(pa.string())


def table(rows: int, seed: int = 7) -> pa.Table:
    """The whole table; a number column and a text column move the label."""
    rng = np.random.default_rng(seed)
    sizes = np.round(np.logspace(1, 6, NUM_TEXTS)).astype(int)
    columns = {f"C{index + 1}": texts(rng, int(size), rows, index) for index, size in enumerate(sizes)}
    numbers = {f"I{index + 1}": np.exp(rng.normal(0.3 * index, 1.2, rows)).astype(np.float32) for index in range(13)}
    logit = 0.5 * np.log(numbers["I1"]) - 1 + rng.normal(0, 1, rows)
    nullable = {name: pa.array(values, mask=rng.random(rows) < 0.05) for name, values in numbers.items()}
    return pa.table({"label": (logit > 0).astype(np.float32), **nullable, **columns})


def write(folder: Path, rows: int) -> None:
    """train.parquet, valid.parquet and test.parquet."""
    folder.mkdir(parents=True, exist_ok=True)
    whole, start = table(rows), 0
    for split, share in SPLITS.items():
        pq.write_table(whole.slice(start, round(rows * share)), folder / f"{split}.parquet", row_group_size=65536)
        start += round(rows * share)


if __name__ == "__main__":
    write(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
