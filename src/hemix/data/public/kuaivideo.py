"""KuaiVideo_x1: short videos whose thumbnail a user of Kuaishou was shown, clicked or not. 10,000 users, 2018.

Tables:
    log       part (train or test), the published columns but the lists, and num_pos, num_neg, step
    clicks    user_id, step, item_id: the sequence behind pos_items, oldest first
    passed    user_id, step, item_id: the one behind neg_items, videos that were shown and not clicked
    videos    item_id, visual (64 numbers, of the thumbnail)

The published rows carry two histories as lists, num_pos and num_neg ids long; the lists of a user begin the same two
sequences. `step` is no time: an event stands before exactly those rows whose lists have it, as long as both lists of a
user grow in one order of its rows. Where they do not, an event comes later than the lists say, never earlier.
Timestamps tell the order only; where they start is not published.

J. Zhu et al., "BARS: Towards Open Benchmarking for Recommender Systems", SIGIR 2022, after Y. Li et al., "Routing
Micro-videos via A Temporal Graph-guided Recommendation System", MM 2019.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hemix.data.public.lists import begins, ids, is_list, length
from hemix.data.public.tables import Converter, columns_of, fail, flag, read_text, text_literal
from hemix.errors import InputError

PARTS = ("train", "test")
FLAGS = ("is_click", "is_like", "is_follow")
LISTS = {"pos_items": "num_pos", "neg_items": "num_neg"}
"""Each list, and the name of its length."""
COLUMNS = {
    "timestamp": "DOUBLE",
    "user_id": "INTEGER",
    "item_id": "INTEGER",
    **dict.fromkeys(FLAGS, "VARCHAR"),
    **dict.fromkeys(LISTS, "VARCHAR"),
}
VISUAL = "visual64_select.npy"
VISUAL_SIZE = 64
CHUNK_ROWS = 100_000


def convert_kuaivideo(raw: Path, out: Path) -> None:
    """Tables from `train.csv`, `test.csv` (eight columns, a header line) and the array of ALPINE. Raises InputError."""
    converter = Converter(out)
    num_videos = _write_videos(raw / VISUAL, out / "videos.parquet")
    files = {part: raw / f"{part}.csv" for part in PARTS}
    for part, path in files.items():
        _write_rows(converter, part, path, num_videos)
    rows = f"read_parquet([{', '.join(text_literal(out / f'rows-{part}.parquet') for part in PARTS)}])"
    longest = ", ".join(f"arg_max({column}, {count}) AS whole_{column}" for column, count in LISTS.items())
    converter.write("sequences", f"SELECT user_id, {longest} FROM {rows} GROUP BY user_id", files["train"])
    for part, path in files.items():
        _write_log(converter, part, path)
    parts = ", ".join(text_literal(out / f"log-{part}.parquet") for part in PARTS)
    converter.write("log", f"FROM read_parquet([{parts}])", files["train"])
    for table, column in (("clicks", "pos_items"), ("passed", "neg_items")):
        _write_events(converter, table, column, rows, files["train"])
    converter.drop("sequences", *(f"{kind}-{part}" for part in PARTS for kind in ("rows", "log")))


def _write_rows(converter: Converter, part: str, path: Path, num_videos: int) -> None:
    """The rows of a file with their lines, each checked by itself."""
    reader = read_text(path, columns_of(path, COLUMNS), delimiter=",", header=True)
    lists = ", ".join(f"coalesce({column}, '') AS {column}" for column in LISTS)
    numbered = f"(SELECT 1 + row_number() OVER () AS line, * REPLACE ({lists}) FROM {reader})"
    rules = [
        (
            f"item_id must be a row of {VISUAL}, 0 to {num_videos - 1}, it is",
            "item_id",
            f"item_id BETWEEN 0 AND {num_videos - 1}",
        ),
        ("user_id must be a number, it is", "user_id", "user_id IS NOT NULL"),
        ("timestamp must be a number, it is", "timestamp", "isfinite(timestamp)"),
        *((f"{name} must be ids cut at ^, it is", name, f"({name} = '' OR {is_list(name)})") for name in LISTS),
    ]
    refused = " ".join(f"WHEN NOT coalesce({rule}, false) THEN {fail(text, name)}" for text, name, rule in rules)
    counts = ", ".join(f"CAST({length(column)} AS INTEGER) AS {count}" for column, count in LISTS.items())
    columns = ", ".join(("timestamp", "user_id", "item_id", *map(flag, FLAGS), *LISTS))
    converter.write(
        f"rows-{part}",
        f"SELECT line, {columns}, {counts}, 1 + num_pos + num_neg AS step FROM {numbered} "
        f"WHERE CAST(CASE {refused} ELSE 'true' END AS BOOLEAN)",
        path,
    )


def _write_log(converter: Converter, part: str, path: Path) -> None:
    """The rows of a file without their lists, after each was found in the sequences of its user."""
    fits = {column: begins(f"whole_{column}", column) for column in LISTS}
    refused = " ".join(
        f"WHEN NOT {fit} THEN {fail(f'{column} must be the beginning of the longest one of the user, it is', column)}"
        for column, fit in fits.items()
    )
    columns = ", ".join(name for name in COLUMNS if name not in LISTS)
    converter.write(
        f"log-{part}",
        f"SELECT '{part}' AS part, {columns}, num_pos, num_neg, step "
        f"FROM {text_literal(converter.out / f'rows-{part}.parquet')} "
        f"JOIN {text_literal(converter.out / 'sequences.parquet')} USING (user_id) "
        f"WHERE CAST(CASE {refused} ELSE 'true' END AS BOOLEAN) ORDER BY line",
        path,
    )


def _write_events(converter: Converter, table: str, column: str, rows: str, path: Path) -> None:
    """A sequence as a log: an event has the last step of those rows whose lists do not have it yet."""
    sequence = ids(f"whole_{column}")
    source = text_literal(converter.out / "sequences.parquet")
    converter.write(
        table,
        f"WITH whole AS (SELECT user_id, unnest(range(len(list))) AS place, unnest(list) AS item_id "
        f"FROM (SELECT user_id, {sequence} AS list FROM {source} WHERE whole_{column} <> '')), "
        f"reached AS (SELECT user_id, {LISTS[column]} AS place, max(max(step)) OVER (PARTITION BY user_id "
        f"ORDER BY {LISTS[column]}) AS step FROM {rows} GROUP BY user_id, {LISTS[column]}) "
        f"SELECT w.user_id, coalesce(r.step, 0) AS step, w.item_id FROM whole AS w "
        f"ASOF LEFT JOIN reached AS r ON w.user_id = r.user_id AND w.place >= r.place ORDER BY w.user_id, w.place",
        path,
    )


def _write_videos(path: Path, target: Path) -> int:
    """The array as a table, its row number the id of the video; returns the number of videos."""
    if not path.exists():
        raise InputError(f"{path.name} is missing: the published data set has this file.")
    try:
        vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise InputError(f"{path.name} is not a whole .npy file ({error}): remove it and get it again.") from None
    if vectors.ndim != 2 or vectors.shape[1] != VISUAL_SIZE or vectors.dtype.kind != "f":
        raise InputError(
            f"{path.name} must be a matrix of fractions with {VISUAL_SIZE} columns; this one is of {vectors.dtype} and "
            f"has the shape {vectors.shape}."
        )
    schema = pa.schema({"item_id": pa.int32(), "visual": pa.list_(pa.float32())})
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for start in range(0, len(vectors), CHUNK_ROWS):
            chunk = np.asarray(vectors[start : start + CHUNK_ROWS], np.float32)
            if not np.isfinite(chunk).all():
                raise InputError(f"{path.name} must hold numbers, it has NaN or Inf in rows from {start} on.")
            offsets = np.arange(0, chunk.size + 1, VISUAL_SIZE, dtype=np.int32)
            lists = pa.ListArray.from_arrays(offsets, chunk.ravel())
            items = np.arange(start, start + len(chunk), dtype=np.int32)
            writer.write_table(pa.table([items, lists], schema=schema))
    return len(vectors)
