"""The SQL of preparing: users, item versions, splits, and the sorted streams of examples and events."""

from dataclasses import dataclass

import duckdb

from hemix.data.expressions import exact_text_sql, is_number, number_sql, text_sql, time_column, wrong_type
from hemix.data.fields import TIME, Part, Plan, Window
from hemix.data.sources import ROW, Sources, literal, quote
from hemix.errors import InputError
from hemix.labels import Label, masks
from hemix.schema import SPLITS, DataConfig, Entity, Events

MICROS = 1_000_000
ROUNDING = 1e-9
"""Added to a share of rows, so that 0.8 of ten is eight."""
USER, ITEM = "_hemix_user", "_hemix_item"
KEY, FROM, PRINT, INDEX = "_hemix_key", "_hemix_from", "_hemix_print", "_hemix_index"
REQUEST, GIVEN, WEIGHT, WHERE = "_hemix_request", "_hemix_given", "_hemix_weight", "_hemix_where_"


def label_column(index: int) -> str:
    """Name of a label in the view of the examples."""
    return f"_hemix_label{index}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Preparing:
    """What every query needs to know."""

    connection: duckdb.DuckDBPyConnection
    config: DataConfig
    sources: Sources
    labelled: bool = True
    """False when rows are only to be scored: no labels, no weights, no split."""


def example_tables(config: DataConfig) -> dict[str, str]:
    """The raw tables of the examples, by the split they are given for ('' if not given)."""
    table = config.examples.table
    return {"": table} if isinstance(table, str) else {split: table[split] for split in SPLITS if split in table}


def create_examples(p: Preparing) -> None:
    """View `examples`: the rows of all example tables with user, item, time, labels and weight under fixed names."""
    tables = example_tables(p.config)
    selects: list[str] = []
    for number, (split, table) in enumerate(tables.items()):
        selects.append(_example_select(p, table, number, split))
    p.connection.execute("CREATE OR REPLACE VIEW examples AS " + " UNION ALL BY NAME ".join(selects))


def _example_select(p: Preparing, table: str, number: int, split: str) -> str:
    examples, sources = p.config.examples, p.sources
    columns = [f"t.* REPLACE (t.{ROW} + {number << 52} AS {ROW})"]
    for name, column in ((USER, examples.user), (ITEM, examples.item), (REQUEST, examples.request)):
        key = "CAST(NULL AS VARCHAR)"
        if column is not None:
            key = _key(p, table, column, f"examples.{name.removeprefix('_hemix_')}")
        columns.append(f"{key} AS {name}")
    time = "CAST(NULL AS BIGINT)"
    if examples.time is not None:
        time = time_column(sources, table, examples.time, "examples.time")
    columns.append(f"{time} AS {TIME}")
    if p.labelled:
        columns += _targets(p, table, split)
    where = ""
    if examples.where:
        sources.check_sql(table, examples.where, "examples.where")
        where = f"WHERE {examples.where}"
    return f"(SELECT {', '.join(columns)} FROM _hemix_raw_{table} AS t {where})"


def _key(p: Preparing, table: str, column: str, place: str) -> str:
    """SQL of a key's text, by which the tables are joined."""
    return text_sql(f"t.{quote(column)}", p.sources.require(table, column, place))


def _targets(p: Preparing, table: str, split: str) -> list[str]:
    columns: list[str] = []
    for index, label in enumerate(p.config.labels):
        place = f"label {label.name!r}"
        if label.column is not None:
            kind = p.sources.require(table, label.column, place)
            if not is_number(kind) and kind not in ("BOOLEAN", "VARCHAR"):
                wanted = "0 or 1" if label.kind == "binary" else "a number"
                raise wrong_type(place, label.column, table, kind, wanted, "derive it by the label's 'sql'")
            value = number_sql(f"t.{quote(label.column)}", kind)
        else:
            value = f"CAST(({label.sql}) AS DOUBLE)"
            p.sources.check_sql(table, value, place)
        columns.append(f"{value} AS {label_column(index)}")
    weight = f"CAST(({p.config.weight or '1'}) AS DOUBLE)"
    p.sources.check_sql(table, weight, "weight")
    columns.append(f"{weight} AS {WEIGHT}")
    given = p.config.split.column
    if split:
        columns.append(f"{literal(split)} AS {GIVEN}")
    elif p.config.split.by == "given" and given is not None:
        p.sources.require(table, given, "split.column")
        columns.append(f"CAST(t.{quote(given)} AS VARCHAR) AS {GIVEN}")
    return columns


def create_events(p: Preparing, name: str, events: Events) -> None:
    """View `events_<name>`: rows of a log with user, item and time under fixed names."""
    place = f"events.{name}"
    user, item = (
        _key(p, events.table, events.user, f"{place}.user"),
        _key(p, events.table, events.item, f"{place}.item"),
    )
    time = time_column(p.sources, events.table, events.time, f"{place}.time")
    where, taken = "", ""
    if events.where:
        p.sources.check_sql(events.table, events.where, f"{place}.where")
        where = f"WHERE {events.where}"
    for key, history in p.config.histories.items():
        if history.events == name and history.where:
            p.sources.check_sql(events.table, history.where, f"histories.{key}.where")
            taken += f", coalesce({history.where}, false) AS {quote(WHERE + key)}"
    p.connection.execute(
        f"CREATE OR REPLACE VIEW events_{name} AS SELECT t.*{taken}, {user} AS {USER}, {item} AS {ITEM}, {time} AS "
        f"{TIME} FROM _hemix_raw_{events.table} AS t {where}"
    )


def create_entity(p: Preparing, place: str, entity: Entity) -> None:
    """View `catalog` or `profiles`: a raw entity table with key and start of validity under fixed names."""
    key, start = _key(p, entity.table, entity.key, f"{place}.key"), "CAST(0 AS BIGINT)"
    if entity.valid_from is not None:
        start = time_column(p.sources, entity.table, entity.valid_from, f"{place}.valid_from")
    p.connection.execute(
        f"CREATE OR REPLACE VIEW {place} AS SELECT t.*, {key} AS {KEY}, {start} AS {FROM} FROM "
        f"_hemix_raw_{entity.table} AS t"
    )


def create_users(p: Preparing) -> None:
    """Table `users`: every user key of examples and events with its number; known users keep theirs."""
    logs = [f"SELECT {USER} AS key FROM good_examples"] if p.config.examples.user else []
    if p.labelled:
        logs += [f"SELECT {USER} FROM good_events_{name}" for name in p.config.events]
    if not logs:
        p.connection.execute("CREATE OR REPLACE TABLE users AS SELECT key, number FROM known_users")
        return
    p.connection.execute(
        f"CREATE OR REPLACE TABLE users AS SELECT key, number FROM known_users UNION ALL "
        f"SELECT key, (SELECT count(*) FROM known_users) + row_number() OVER (ORDER BY key) - 1 "
        f"FROM (SELECT DISTINCT key FROM ({' UNION ALL '.join(logs)}) ANTI JOIN known_users USING (key))"
    )


def create_entity_rows(p: Preparing, place: str, plan: Plan) -> None:
    """Table `<place>_rows`: new versions of items or users, numbered; `<place>_index`: all versions, known ones first.

    The row of a key that is known with the same values (or, if versioned, the same start) is left out.
    """
    if not p.labelled:
        p.connection.execute(f"CREATE OR REPLACE VIEW {place}_index AS SELECT * FROM known_{place}")
        return
    parts = plan.blocks[place]
    entity = p.config.catalog if place == "catalog" else p.config.profiles
    versioned = entity is not None and entity.valid_from is not None
    # a place has one part for each resolution
    texts = list(dict.fromkeys(text for part in parts for text in _exact_texts(part)))
    texts += [exact_text_sql(f"t.{quote(column)}") for column in plan.carried[place]]
    fingerprint = f"md5_number_lower({' || '.join(texts)})" if texts else "CAST(0 AS UBIGINT)"
    match = f"k.{KEY} = t.{KEY} AND k.{FROM} = t.{FROM}" + ("" if versioned else f" AND k.{PRINT} = t.{PRINT}")
    known = f"known_{place}" if versioned else f"({_newest(f'known_{place}')})"
    p.connection.execute(
        f"CREATE OR REPLACE TABLE {place}_rows AS SELECT t.*, (SELECT coalesce(max({INDEX}), 0) FROM known_{place}) + "
        f"row_number() OVER (ORDER BY {KEY}, {FROM}, {ROW}) AS {INDEX} "
        f"FROM (SELECT t.*, {fingerprint} AS {PRINT} FROM once_{place} AS t) AS t ANTI JOIN {known} AS k ON {match}"
    )
    columns = ", ".join([KEY, FROM, PRINT, INDEX, *map(quote, plan.carried[place])])
    p.connection.execute(
        f"CREATE OR REPLACE TABLE {place}_index AS SELECT {columns} FROM known_{place} UNION ALL SELECT {columns} "
        f"FROM {place}_rows"
    )


def _exact_texts(part: Part) -> list[str]:
    if part.coding == "cell":
        return [exact_text_sql(f"({part.sql}).{axis}") for axis in ("lat", "lon")]
    return [exact_text_sql(part.sql, many=part.many or part.coding == "vector")]


def _newest(index: str) -> str:
    """SQL: of a key that was prepared again with other values, the newest row."""
    return f"SELECT * FROM {index} QUALIFY row_number() OVER (PARTITION BY {KEY} ORDER BY {INDEX} DESC) = 1"


def create_implicit_catalog(p: Preparing) -> None:
    """View `once_catalog` where no table describes the items: every item key of examples and events."""
    logs = [f"SELECT {ITEM} AS key FROM good_examples"] + [
        f"SELECT {ITEM} FROM good_events_{name}" for name in p.config.events
    ]
    p.connection.execute(
        f"CREATE OR REPLACE VIEW once_catalog AS SELECT DISTINCT key AS {KEY}, CAST(0 AS BIGINT) AS {FROM}, CAST(0 "
        f"AS BIGINT) AS {ROW} "
        f"FROM ({' UNION ALL '.join(logs)}) WHERE key IS NOT NULL"
    )


def split_sql(p: Preparing) -> str:
    """SQL: number of the split (0 train, 1 valid, 2 test) of an example `t` of user `u`."""
    split = p.config.split
    if isinstance(p.config.examples.table, dict) or split.by == "given":
        return f"CASE t.{GIVEN} WHEN 'train' THEN 0 WHEN 'valid' THEN 1 ELSE 2 END"
    train, valid, _ = split.fractions
    if split.by in ("user", "random"):
        request = f"coalesce(t.{USER} || ' ' || t.{TIME}, t.{REQUEST}, CAST(t.{ROW} AS VARCHAR))"
        key = f"t.{USER}" if split.by == "user" else request
        share = f"(md5_number_lower({key} || {literal(f'#{split.seed}')}) % 1000003) / 1000003.0"
        return f"CASE WHEN {share} < {train} THEN 0 WHEN {share} < {train + valid} THEN 1 ELSE 2 END"
    if split.by == "time":
        first, second = time_cuts(p)
        return f"CASE WHEN t.{TIME} < {first} THEN 0 WHEN t.{TIME} < {second} THEN 1 ELSE 2 END"
    return f"CASE WHEN t.{TIME} < u.cut1 THEN 0 WHEN t.{TIME} < u.cut2 THEN 1 ELSE 2 END"


def time_cuts(p: Preparing) -> tuple[int, int]:
    """Times at which validation and test begin: the rows before them are at most their share."""
    train, valid, test = p.config.split.fractions
    shares = (min(1.0, share + ROUNDING) for share in (train, train + valid))
    cuts = ", ".join(f"quantile_disc({TIME}, {share})" for share in shares)
    found = p.connection.sql(f"SELECT {cuts}, min({TIME}), max({TIME}) FROM good_examples").fetchall()
    if found[0][2] is None:
        raise InputError("The examples have no row with a time, so that they cannot be split by time.")
    first, second, earliest, latest = (int(value) for value in found[0])
    first = max(first, earliest + 1) if valid + test > 0 else latest + 1
    return first, max(first, second) if test > 0 else latest + 1


def create_user_cuts(p: Preparing) -> None:
    """Add to `users` the times at which validation and test begin for each (split `user_time`)."""
    train, valid, test = p.config.split.fractions
    first, second = (
        f"sorted[least(len(sorted), 1 + CAST(floor({share} * len(sorted) + {ROUNDING}) AS BIGINT))]"
        if rest > 0
        else "sorted[-1] + 1"
        for share, rest in ((train, valid + test), (train + valid, test))
    )
    p.connection.execute(
        f"CREATE OR REPLACE TABLE users AS SELECT u.*, greatest(c.first, c.earliest + 1) AS cut1, "
        f"greatest(c.second, c.first, c.earliest + 1) AS cut2 "
        f"FROM users AS u LEFT JOIN (SELECT key, {first} AS first, {second} AS second, sorted[1] AS earliest FROM "
        f"(SELECT {USER} AS key, list({TIME} ORDER BY {TIME}) AS sorted FROM good_examples GROUP BY 1)) AS c USING "
        f"(key)"
    )


def create_windows(p: Preparing, windows: tuple[Window, ...]) -> None:
    """Table `window<k>` per window count: running number of events by key and time."""
    for window in windows:
        feature = window.feature
        keys = window_keys(feature.by)
        logs = f"SELECT {', '.join(keys)}, {TIME} AS time, count(*) AS n FROM good_events_{feature.events}"
        where = ""
        if feature.where:
            p.sources.check_sql(p.config.events[feature.events].table, feature.where, f"feature {feature.name!r}.where")
            where = f" WHERE {feature.where}"
        p.connection.execute(
            f"CREATE OR REPLACE TABLE new_counts{window.index} AS {logs}{where} GROUP BY ALL"
            if p.labelled
            else f"CREATE OR REPLACE TABLE new_counts{window.index} AS SELECT * FROM known_window{window.index} LIMIT 0"
        )
        p.connection.execute(
            f"CREATE OR REPLACE TABLE window{window.index} AS SELECT {', '.join(keys)}, time, "
            f"sum(n) OVER (PARTITION BY {', '.join(keys)} ORDER BY time) AS n "
            f"FROM (SELECT * FROM new_counts{window.index} UNION ALL SELECT * FROM known_window{window.index})"
        )


def window_keys(by: str) -> list[str]:
    """Columns that a window count groups by."""
    return {"item": [ITEM], "user": [USER], "user_item": [USER, ITEM]}[by]


def _window_joins(p: Preparing, windows: tuple[Window, ...]) -> str:
    delay = round(p.config.history_delay * MICROS)
    joins: list[str] = []
    for window in windows:
        back = round(window.feature.days * 86400 * MICROS)
        for side, bound in (("a", f"t.{TIME} - {delay}"), ("b", f"t.{TIME} - {back}")):
            alias = f"w{window.index}{side}"
            same = " AND ".join(f"t.{key} = {alias}.{key}" for key in window_keys(window.feature.by))
            joins.append(f"ASOF LEFT JOIN window{window.index} AS {alias} ON {same} AND {bound} > {alias}.time")
    return " ".join(joins)


def _entity_join(p: Preparing, place: str, alias: str, key: str) -> str:
    """Join the version of an item or user that was valid at the time of the row `t`."""
    entity = p.config.catalog if place == "catalog" else p.config.profiles
    if entity is not None and entity.valid_from is not None:
        return f"ASOF LEFT JOIN {place}_index AS {alias} ON t.{key} = {alias}.{KEY} AND t.{TIME} >= {alias}.{FROM}"
    return f"LEFT JOIN ({_newest(f'{place}_index')}) AS {alias} ON t.{key} = {alias}.{KEY}"


def example_queries(p: Preparing, plan: Plan, split: str) -> list[str]:
    """Queries that together give the examples in store order, with all raw values of the blocks `request` and `row`.

    Rows without keys need no sort: one query per split reads them as they stand. Their order is that of the files
    only while the connection preserves insertion order.
    """
    select, keep = _example_select_all(p, plan, split), _sampled(p, split)
    examples = p.config.examples
    if (examples.user, examples.item, examples.time, examples.request) == (None, None, None, None):
        return [f"{select} WHERE {keep} AND ({split}) = {number}" for number in range(len(SPLITS))]
    return [f'{select} WHERE {keep} ORDER BY split, "user", "time", request, "row"']


def _example_select_all(p: Preparing, plan: Plan, split: str) -> str:
    config, parts = p.config, (*plan.blocks["request"], *plan.blocks["row"])
    joins: list[str] = []
    if config.examples.user:
        joins.append(f"LEFT JOIN users AS u ON t.{USER} = u.key")
    if config.examples.item:
        joins.append(_entity_join(p, "catalog", "c", ITEM))
    if config.profiles is not None:
        joins.append(_entity_join(p, "profiles", "p", USER))
    joins.append(_window_joins(p, plan.windows))
    columns = [
        f"CAST({split} AS TINYINT) AS split",
        'CAST(coalesce(u.number, -1) AS BIGINT) AS "user"' if config.examples.user else 'CAST(-1 AS BIGINT) AS "user"',
        f'coalesce(t.{TIME}, 0) AS "time"',
        f"coalesce(epoch_us(date_trunc('day', make_timestamptz(t.{TIME}))), 0) AS midnight",
        f"CAST(coalesce(c.{INDEX}, 0) AS INTEGER) AS item" if config.examples.item else "CAST(0 AS INTEGER) AS item",
        f"CAST(coalesce(p.{INDEX}, 0) AS INTEGER) AS profile" if config.profiles else "CAST(0 AS INTEGER) AS profile",
        f"hash(t.{REQUEST}) AS request" if config.examples.request else "CAST(0 AS UBIGINT) AS request",
        f't.{ROW} AS "row"',
    ]
    if p.labelled:
        columns += [f"{_masked(config, index)} AS label{index}" for index in range(len(config.labels))] + [
            f"t.{WEIGHT} AS weight"
        ]
    if config.negatives is not None:
        degrees = [f"({origin}).{axis}" for origin in plan.origins.values() for axis in ("lat", "lon")]
        columns += [f"coalesce({value}, 'nan') AS point{index}" for index, value in enumerate(degrees)]
    columns += [f"{part.sql} AS part{index}" for index, part in enumerate(parts)]
    return f"SELECT {', '.join(columns)} FROM good_examples AS t {' '.join(joins)}"


def _masked(config: DataConfig, index: int) -> str:
    value = f"CAST(t.{label_column(index)} AS FLOAT)"
    if config.labels[index].mask is None:
        return value
    return f"CASE WHEN {known_sql(config, config.labels[index])} THEN {value} ELSE CAST('nan' AS FLOAT) END"


def known_sql(config: DataConfig, label: Label) -> str:
    """SQL: no other label masks this one."""
    places = [config.labels.index(mask) for mask in masks(config.labels, label)]
    return " AND ".join(f"t.{label_column(place)} = 1" for place in places) or "true"


def _sampled(p: Preparing, split: str) -> str:
    sample = p.config.downsample
    if sample is None or not p.labelled:
        return "true"
    label = label_column([label.name for label in p.config.labels].index(sample.label))
    share = f"(md5_number_lower(t.{ROW} || {literal(f'#{sample.seed}')}) % 1000003) / 1000003.0"
    return f"NOT (({split}) = 0 AND t.{label} = 0 AND {share} >= {sample.keep})"


def create_train_end(p: Preparing, split: str) -> None:
    """Table `train_end`: each user's last training request; only earlier events may shape the vocabulary."""
    join = f"JOIN users AS u ON t.{USER} = u.key"
    p.connection.execute(
        f"CREATE OR REPLACE TABLE train_end AS SELECT u.number, max(t.{TIME}) AS time FROM good_examples AS t "
        f"{join} WHERE ({split}) = 0 GROUP BY 1"
        if p.config.examples.user and p.labelled and p.config.examples.time
        else "CREATE OR REPLACE TABLE train_end (number BIGINT, time BIGINT)"
    )


def event_query(p: Preparing, plan: Plan, name: str) -> str:
    """The events of a log in store order, with the raw values of its block and whether each history takes them."""
    parts = plan.blocks[f"events.{name}"]
    delay = round(p.config.history_delay * MICROS)
    columns = [
        'CAST(u.number AS BIGINT) AS "user"',
        f"t.{TIME} AS time",
        f"CAST(coalesce(c.{INDEX}, 0) AS INTEGER) AS item",
        f"coalesce(t.{TIME} < e.time - {delay}, false) AS visible",
    ]
    for history, spec in p.config.histories.items():
        if spec.events == name and spec.where:
            columns.append(f"t.{quote(WHERE + history)}")
    columns += [f"{part.sql} AS part{index}" for index, part in enumerate(parts)]
    return (
        f"SELECT {', '.join(columns)} FROM good_events_{name} AS t JOIN users AS u ON t.{USER} = u.key "
        f"{_entity_join(p, 'catalog', 'c', ITEM)} LEFT JOIN train_end AS e ON u.number = e.number "
        f'ORDER BY "user", "time", t.{ROW}'
    )
