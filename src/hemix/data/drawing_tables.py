"""What items are drawn from, made while preparing: which requests can be served, and the sorted lists of a store."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from hemix.data.arrays import one_array, open_array
from hemix.data.drawing import NOTHING, Drawer, Read, popular_share
from hemix.data.encode import Encoder, fit_scaler, h3_cells
from hemix.data.expressions import point_sql
from hemix.data.fields import TIME, Plan
from hemix.data.pairs import PairReader, Pairs, targets
from hemix.data.queries import INDEX, ITEM, KEY, MICROS, REQUEST, USER, Preparing, label_column
from hemix.data.segment import ExampleRows, Files
from hemix.data.sources import ROW, quote
from hemix.errors import ConfigError, InputError
from hemix.features import Distance, GeoPoint, Timestamp, WindowCount
from hemix.negatives import NearbyNegatives
from hemix.schema import DataConfig

FOLDER = "drawing"
CHUNK = 262_144
FITTED_ROWS = 1_000_000
"""Drawn rows that scalers are fitted on."""
EVERYWHERE = np.int64(0)


def check_drawn(config: DataConfig, plan: Plan) -> None:
    """Raises ConfigError for a candidate feature that an item drawn at random does not have."""
    pairs = [f for f in (*config.features.candidate, *config.features.pair) if isinstance(f, WindowCount | Distance)]
    known = {feature.name for feature in pairs}
    for feature in (*config.features.candidate, *config.features.pair):
        if isinstance(feature, Timestamp) and feature.column is None:
            known |= {f"{feature.name or 'time'}_{part}" for part in feature.parts}
    for part in plan.blocks["row"]:
        if part.name not in known:
            raise ConfigError(
                f"feature {part.name!r} has no value for items that data.negatives draws: it is read from the row of "
                f"the examples (or depends on a time of the catalog); move its column to the catalog, or remove it."
            )


def keep_served(p: Preparing, num: int) -> int:
    """Replace the view `good_examples` by those rows whose item and at least `num` others were known before.

    An item that is new at its request could only be a positive, which a model would learn at once. Returns the number
    of rows left out; makes the tables `met` and `known`. Raises InputError for labels other than 1, or too few items.
    """
    connection, delay = p.connection, round(p.config.history_delay * MICROS)
    label = label_column(0)
    total, others = connection.sql(
        f"SELECT count(*), count(*) FILTER (t.{label} <> 1) FROM good_examples AS t"
    ).fetchall()[0]
    if others:
        raise InputError(
            f"data.negatives is for data that holds positives only, but {others} of {total} rows have "
            f"{p.config.labels[0].name} = 0; remove data.negatives, or leave such rows out by examples.where."
        )
    user = f"coalesce(t.{USER}, CAST(t.{ROW} AS VARCHAR))"
    logs = [f"SELECT {user} AS who, {ITEM} AS key, {TIME} AS time FROM good_examples AS t"]
    logs += [f"SELECT {USER}, {ITEM}, {TIME} FROM good_events_{name}" for name in p.config.events]
    connection.execute(
        f"CREATE OR REPLACE TABLE met AS SELECT row_number() OVER (ORDER BY time, item, who) - 1 AS place, time, item "
        f"FROM (SELECT DISTINCT m.who, m.time, CAST(c.{INDEX} AS INTEGER) AS item "
        f"FROM ({' UNION ALL '.join(logs)}) AS m JOIN catalog_index AS c ON m.key = c.{KEY})"
    )
    connection.execute(
        "CREATE OR REPLACE TABLE known AS SELECT row_number() OVER (ORDER BY time, item) - 1 AS place, time, item "
        "FROM (SELECT item, min(time) AS time FROM met GROUP BY item)"
    )
    examples = p.config.examples
    size = 1
    if examples.user is not None or examples.request is not None:
        grouped = f"SELECT count(*) AS n FROM good_examples GROUP BY {USER}, {TIME}, {REQUEST}"
        size = int(connection.sql(f"SELECT coalesce(max(n), 1) FROM ({grouped})").fetchall()[0][0])
    first = connection.sql(f"SELECT time FROM known WHERE place = {num + size - 1}").fetchall()
    if not first:
        found = connection.sql("SELECT count(*) FROM known").fetchall()[0][0]
        raise InputError(
            f"data.negatives draws {num} other items for each request, which may have {size} of its own, but the "
            f"examples and logs hold {found} items of the catalog; lower data.negatives.num."
        )
    connection.execute("ALTER VIEW good_examples RENAME TO all_examples")
    connection.execute(
        f"CREATE OR REPLACE VIEW good_examples AS SELECT t.* FROM all_examples AS t JOIN (SELECT {KEY}, k.time FROM "
        f"known AS k JOIN catalog_index AS c ON k.item = c.{INDEX}) AS k ON t.{ITEM} = k.{KEY} "
        f"WHERE t.{TIME} - {delay} > greatest(k.time, {int(first[0][0])})"
    )
    return int(total) - int(connection.sql("SELECT count(*) FROM good_examples").fetchall()[0][0])


def write_drawing(p: Preparing, files: Files) -> None:
    """Write `drawing/`: the lists of `Drawer` and `PairReader`, streamed in their order from DuckDB."""
    assert p.config.negatives is not None
    num_rows = 1 + int(p.connection.sql("SELECT count(*) FROM catalog_rows").fetchall()[0][0])
    cells = _cells(p, num_rows)
    files.add(f"{FOLDER}/cells", cells)
    items, levels = np.divmod(np.flatnonzero(cells.reshape(-1) >= 0), cells.shape[1])
    p.connection.register("item_cells", pa.table({"item": items, "cell": cells[items, levels].astype(np.int64)}))
    for name in ("known", "met") if popular_share(p.config.negatives) else ("known",):
        size = int(p.connection.sql(f"SELECT count(*) FROM {name}").fetchall()[0][0])
        _stream(p, files, f"SELECT time FROM {name} ORDER BY place", {f"{name}_time": "<i8"})
        _stream(
            p, files,
            f"SELECT cell * {size + 1} + place AS key, t.item FROM {name} AS t JOIN item_cells USING (item) "
            f"ORDER BY key",
            {f"{name}_keys": "<i8", f"{name}_items": "<i4"},
        )  # fmt: skip
    p.connection.unregister("item_cells")
    files.add(f"{FOLDER}/points", _points(p, num_rows))
    _write_counts(p, files, num_rows)


def _stream(p: Preparing, files: Files, query: str, columns: dict[str, str]) -> None:
    """Write the columns of a sorted query, each to an array of its own."""
    writers = [files.writer(f"{FOLDER}/{name}", dtype) for name, dtype in columns.items()]
    p.connection.execute("SET preserve_insertion_order = true")
    for batch in p.connection.sql(query).to_arrow_reader(CHUNK):
        for writer, column in zip(writers, batch.columns, strict=True):
            writer.append(np.asarray(column))
    p.connection.execute("SET preserve_insertion_order = false")
    for writer in writers:
        files.close(writer)


def _cells(p: Preparing, num_rows: int) -> np.ndarray:
    """Cells (items, levels) of every item, smallest first; numbered over all levels, -1 where it has no place."""
    negatives = p.config.negatives
    everywhere = np.full((num_rows, 1), EVERYWHERE, np.int32)
    if not isinstance(negatives, NearbyNegatives):
        return everywhere
    points = [f for f in p.config.features.candidate if isinstance(f, GeoPoint)]
    place = next(f for f in points if negatives.place in (None, f.name))
    point = point_sql(f"t.{quote(place.latitude)}", f"t.{quote(place.longitude)}")
    found = p.connection.sql(f"SELECT {point} AS point FROM catalog_rows AS t ORDER BY {INDEX}").to_arrow_table()
    smallest = h3_cells(one_array(found["point"]), negatives.resolution)
    valid = np.flatnonzero(np.asarray(smallest.is_valid())) + 1
    cells = np.asarray(smallest.drop_null())
    levels: list[np.ndarray] = []
    number = int(EVERYWHERE) + 1
    for resolution in range(negatives.resolution, -1, -1):
        unique, inverse = np.unique(parent_cells(cells, resolution), return_inverse=True)
        level = np.full((num_rows, 1), NOTHING, np.int32)
        level[valid, 0] = inverse.reshape(-1) + number
        number += len(unique)
        levels.append(level)
    return np.concatenate([*levels, everywhere], axis=1)


def parent_cells(cells: np.ndarray, resolution: int) -> np.ndarray:
    """The H3 cells (int64) of a lower resolution that cells belong to: unused digits are 7, bits 52 to 55 say which."""
    unused = np.int64((1 << 3 * (15 - resolution)) - 1)
    return (cells & ~np.int64(15 << 52)) | np.int64(resolution << 52) | unused


def _points(p: Preparing, num_rows: int) -> np.ndarray:
    """Degrees (items, 2 per target of a distance); NaN where an item has none."""
    places = {f.name: f for f in p.config.features.candidate if isinstance(f, GeoPoint)}
    points = np.full((num_rows, 2 * len(targets(p.config))), np.nan)
    for number, name in enumerate(targets(p.config)):
        point = point_sql(f"t.{quote(places[name].latitude)}", f"t.{quote(places[name].longitude)}")
        found = p.connection.sql(
            f"SELECT ({point}).lat AS lat, ({point}).lon AS lon FROM catalog_rows AS t ORDER BY {INDEX}"
        ).fetchnumpy()
        for axis, column in enumerate(("lat", "lon")):
            points[1:, 2 * number + axis] = np.ma.filled(found[column].astype(np.float64), np.nan)
    return points


def _write_counts(p: Preparing, files: Files, num_items: int) -> None:
    """For each window count by item: its keys, the moments of its log, and both in one sorted order."""
    features = (*p.config.features.request, *p.config.features.candidate, *p.config.features.pair)
    windows = [feature for feature in features if isinstance(feature, WindowCount)]
    for index, feature in enumerate(windows):
        if feature.by == "user":
            continue
        key = f"CAST(c.{INDEX} AS BIGINT)" + (f" + u.number * {num_items}" if feature.by == "user_item" else "")
        where = f"WHERE {feature.where}" if feature.where else ""
        p.connection.execute(
            f"CREATE OR REPLACE TABLE counted AS SELECT key, time, dense_rank() OVER (ORDER BY key) - 1 AS k, "
            f"dense_rank() OVER (ORDER BY time) - 1 AS m FROM (SELECT {key} AS key, t.{TIME} AS time "
            f"FROM (SELECT * FROM good_events_{feature.events} {where}) AS t JOIN users AS u ON t.{USER} = u.key "
            f"JOIN catalog_index AS c ON t.{ITEM} = c.{KEY})"
        )
        _stream(p, files, "SELECT DISTINCT time FROM counted ORDER BY time", {f"window{index}_clock": "<i8"})
        _stream(p, files, "SELECT DISTINCT key FROM counted ORDER BY key", {f"window{index}_keys": "<i8"})
        size = "(SELECT count(DISTINCT time) FROM counted)"
        _stream(
            p, files, f"SELECT k * ({size} + 1) + m AS place FROM counted ORDER BY place",
            {f"window{index}_order": "<i8"},
        )  # fmt: skip


def fit_drawn(p: Preparing, plan: Plan, files: Files, rows: ExampleRows, encoder: Encoder) -> Encoder:
    """Scalers of distances and counts, fitted on training requests with one draw, as a model sees them."""

    def read(name: str) -> np.ndarray:
        return open_array(files.folder / FOLDER / f"{name}.npy")

    reader = PairReader(p.config, read)
    scalers = dict(encoder.scalers)
    parts = {part.name: part for part in plan.blocks["row"] if part.standard and part.name in reader.names}
    pairs = list(_sample(p, read, rows)) if parts else []
    for name, part in parts.items():
        chunks = (reader.column(name, chunk) for chunk in pairs)
        scalers[f"row.{name}"] = fit_scaler((values[~np.isnan(values)] for values in chunks), log=part.log)
    return dataclasses.replace(encoder, scalers=scalers)


def _sample(p: Preparing, read: Read, rows: ExampleRows) -> Iterator[Pairs]:
    """Training rows, evenly spaced, each with the items drawn for it."""
    assert p.config.negatives is not None
    drawer = Drawer(p.config.negatives, round(p.config.history_delay * MICROS), read)
    num_train = int(rows.train_items.sum())
    step = -(-num_train * (drawer.num + 1) // FITTED_ROWS)
    seen = 0
    for index in range(rows.chunks):
        chunk = rows.chunk(index)
        train = np.flatnonzero(chunk["split"] == 0)
        chosen = train[(seen + np.arange(len(train))) % step == 0]
        numbers = seen + chosen
        seen += len(train)
        taken = chunk["item"][chosen].astype(np.int64)[:, None]
        drawn = drawer.draw(taken, chunk["time"][chosen], numbers, 0)
        items = np.concatenate([taken, drawn], axis=1)
        yield Pairs(
            users=chunk["user"][chosen],
            times=chunk["time"][chosen],
            points=chunk["points"][chosen],
            request_of_row=np.repeat(np.arange(len(chosen)), items.shape[1]),
            items=items.reshape(-1),
        )
