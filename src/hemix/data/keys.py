"""The raw keys of a store (users, items, window counts): what later segments and raw tables to score are joined by."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from hemix.data.arrays import in_chunks, replace_file
from hemix.data.checks import BadRow
from hemix.data.fields import Plan
from hemix.data.manifest import FileEntry, Manifest, entry, file_entry
from hemix.data.queries import FROM, INDEX, KEY, PRINT, Preparing, window_keys
from hemix.data.sources import literal, quote, seen_from

QUARANTINE = "quarantine.csv"
ROWS_PER_GROUP = 131_072


def known_tables(p: Preparing, plan: Plan, store: Path, existing: Manifest | None) -> None:
    """Tables `known_users`, `known_catalog`, `known_profiles`, `known_window<k>`: what earlier segments know."""
    _known(p, store, existing, "users", {"key": "VARCHAR", "number": "BIGINT"})
    for place, entity in (("catalog", p.config.catalog), ("profiles", p.config.profiles)):
        columns = {KEY: "VARCHAR", FROM: "BIGINT", PRINT: "UBIGINT", INDEX: "BIGINT"}
        for column in plan.carried[place]:
            columns[column] = p.sources.columns(entity.table)[column] if entity else "VARCHAR"
        _known(p, store, existing, place, columns)
    for window in plan.windows:
        keys = dict.fromkeys(window_keys(window.feature.by), "VARCHAR")
        _known(p, store, existing, f"window{window.index}", {**keys, "time": "BIGINT", "n": "BIGINT"})


def _known(p: Preparing, store: Path, existing: Manifest | None, name: str, columns: dict[str, str]) -> None:
    declared = ", ".join(f"{quote(column)} {kind}" for column, kind in columns.items())
    p.connection.execute(f"CREATE OR REPLACE TABLE known_{name} ({declared})")
    for segment in existing.segments if existing else ():
        path = store / segment.folder / "keys" / f"{name}.parquet"
        if path.exists():
            p.connection.execute(f"INSERT INTO known_{name} BY NAME SELECT * FROM read_parquet({literal(path)})")


def write_keys(p: Preparing, plan: Plan, folder: Path) -> dict[str, FileEntry]:
    """Write the keys that are new in this segment, in the order of their numbers."""
    (folder / "keys").mkdir()
    queries = {"users": "SELECT key, number FROM users ANTI JOIN known_users USING (key) ORDER BY number"}
    for place in ("catalog", "profiles"):
        if p.config.examples.item is not None if place == "catalog" else p.config.profiles is not None:
            columns = ", ".join([KEY, FROM, PRINT, INDEX, *map(quote, plan.carried[place])])
            queries[place] = f"SELECT {columns} FROM {place}_rows ORDER BY {INDEX}"
    for window in plan.windows:
        keys = ", ".join(window_keys(window.feature.by))
        queries[f"window{window.index}"] = f"SELECT {keys}, time, n FROM new_counts{window.index} ORDER BY {keys}, time"
    return {
        f"keys/{name}.parquet": _write_parquet(p.connection, query, folder / "keys" / f"{name}.parquet")
        for name, query in queries.items()
    }


def join_keys(connection: duckdb.DuckDBPyConnection, segments: Sequence[Path], folder: Path) -> dict[str, FileEntry]:
    """Write the keys of some segments one after the other."""
    (folder / "keys").mkdir()
    connection.execute("SET preserve_insertion_order = true")
    written: dict[str, FileEntry] = {}
    for path in sorted((segments[0] / "keys").iterdir()):
        listed = ", ".join(literal(segment / "keys" / path.name) for segment in segments)
        query = f"SELECT * FROM read_parquet([{listed}], union_by_name = true)"
        written[f"keys/{path.name}"] = _write_parquet(connection, query, folder / "keys" / path.name)
    connection.execute("SET preserve_insertion_order = false")
    return written


def _write_parquet(connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> FileEntry:
    """By pyarrow and in order: DuckDB's own writer lays rows out by thread."""
    reader = connection.sql(query).to_arrow_reader(ROWS_PER_GROUP)
    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for table in in_chunks(reader, ROWS_PER_GROUP):
            writer.write_table(table, row_group_size=ROWS_PER_GROUP)
    return file_entry(path)


def write_quarantine(folder: Path, bad_rows: Sequence[BadRow], root: Path) -> dict[str, FileEntry]:
    """`quarantine.csv`: file (seen from `root`, if it is below), row and reason of every row that was set aside."""
    if not bad_rows:
        return {}
    lines = ["table,file,row,reason"]
    for bad in bad_rows:
        file = seen_from(root, bad.file)
        lines.append(
            ",".join('"' + str(cell).replace('"', '""') + '"' for cell in (bad.table, file, bad.row, bad.reason))
        )
    return {QUARANTINE: entry(replace_file(folder / QUARANTINE, ("\n".join(lines) + "\n").encode()))}
