"""AmazonElectronics_x1: which product does the user review next? Reviews up to 2014, with the negatives of DIN.

Tables:
    examples   part (train or test), label (0 or 1), user_id, item_id, position: how many reviews the user had written
    reviews    user_id, position (from 0), item_id: every review, oldest first
    items      item_id, cate_id

The published rows carry histories as lists. DIN made them of one sequence per user, of which each row has the
beginning; here that sequence is a table and `position` points into it. Nothing is lost, and a row that does not fit is
an error. When a review was written is not published, only the order.

J. Zhu et al., "BARS: Towards Open Benchmarking for Recommender Systems", SIGIR 2022, after G. Zhou et al., "Deep
Interest Network for Click-Through Rate Prediction", KDD 2018.
"""

from pathlib import Path

from hemix.data.public.lists import begins, ids, is_list, length
from hemix.data.public.tables import Converter, columns_of, fail, flag, read_text, text_literal

PARTS = ("train", "test")
IDS = ("user_id", "item_id", "cate_id")
LISTS = ("item_history", "cate_history")
COLUMNS = {"label": "VARCHAR", **dict.fromkeys(IDS, "INTEGER"), **dict.fromkeys(LISTS, "VARCHAR")}


def convert_amazon(raw: Path, out: Path) -> None:
    """Tables from `train.csv` and `test.csv` (six columns, a header line). Raises InputError."""
    converter = Converter(out)
    files = {part: raw / f"{part}.csv" for part in PARTS}
    for part, path in files.items():
        _write_rows(converter, part, path)
    rows = f"read_parquet([{', '.join(text_literal(out / f'rows-{part}.parquet') for part in PARTS)}])"
    # A positive is the next review: it belongs to what it is predicted from.
    longest = ", ".join(
        f"arg_max({history} || '^' || {column}, position) AS {name}"
        for name, history, column in (("items", LISTS[0], "item_id"), ("cates", LISTS[1], "cate_id"))
    )
    sequences = text_literal(out / "sequences.parquet")
    converter.write(
        "sequences", f"SELECT user_id, {longest} FROM {rows} WHERE label = 1 GROUP BY user_id", files["train"]
    )
    for part, path in files.items():
        _write_examples(converter, part, path, sequences)
    parts = ", ".join(text_literal(out / f"examples-{part}.parquet") for part in PARTS)
    converter.write("examples", f"FROM read_parquet([{parts}])", files["train"])
    lists = f"SELECT user_id, {ids('items')} AS items, {ids('cates')} AS cates FROM {sequences}"
    steps = "SELECT user_id, unnest(range(len(items))) AS position, unnest(items) AS item_id, unnest(cates) AS cate_id"
    reviews = f"({steps} FROM ({lists}))"
    converter.write(
        "reviews", f"SELECT user_id, position, item_id FROM {reviews} ORDER BY user_id, position", files["train"]
    )
    both = "min(cate_id) || ' and ' || max(cate_id)"
    several = f"error('item ' || item_id || ' must have one category, it has ' || {both})"
    one = f"CASE WHEN min(cate_id) = max(cate_id) THEN min(cate_id) ELSE CAST({several} AS INTEGER) END"
    converter.write(
        "items",
        f"SELECT item_id, {one} AS cate_id FROM (SELECT item_id, cate_id FROM {rows} "
        f"UNION ALL SELECT item_id, cate_id FROM {reviews}) GROUP BY item_id ORDER BY item_id",
        files["train"],
    )
    converter.drop("sequences", *(f"{kind}-{part}" for part in PARTS for kind in ("rows", "examples")))


def _write_rows(converter: Converter, part: str, path: Path) -> None:
    """The rows of a file with their lines, each checked by itself."""
    reader = read_text(path, columns_of(path, COLUMNS), delimiter=",", header=True)
    numbered = f"(SELECT 1 + row_number() OVER () AS line, * FROM {reader})"
    lists = f"{is_list(LISTS[0])} AND {is_list(LISTS[1])} AND {length(LISTS[0])} = {length(LISTS[1])}"
    complete = f"coalesce({' + '.join(IDS)} IS NOT NULL AND {lists}, false)"
    refused = fail(
        "a row must have ids of user, item and category, and two lists of as many ids, cut at ^; it is",
        f"concat_ws(',', {', '.join(COLUMNS)})",
    )
    converter.write(
        f"rows-{part}",
        f"SELECT line, {flag('label')}, {', '.join((*IDS, *LISTS))}, CAST({length(LISTS[0])} AS INTEGER) AS position "
        f"FROM {numbered} WHERE CASE WHEN {complete} THEN true ELSE CAST({refused} AS BOOLEAN) END",
        path,
    )


def _write_examples(converter: Converter, part: str, path: Path, sequences: str) -> None:
    """The rows of a file without their lists, after each was found in the sequence of its user."""
    reached = [
        f"CASE label WHEN 1 THEN {history} || '^' || {column} ELSE {history} END"
        for history, column in zip(LISTS, ("item_id", "cate_id"), strict=True)
    ]
    fits = f"coalesce({begins('items', reached[0])} AND {begins('cates', reached[1])}, false)"
    refused = fail(
        "item_history and cate_history must be the beginning of the user's longest ones, followed by the item of a "
        "positive; item_history is",
        LISTS[0],
    )
    converter.write(
        f"examples-{part}",
        f"SELECT '{part}' AS part, label, user_id, item_id, position "
        f"FROM {text_literal(converter.out / f'rows-{part}.parquet')} LEFT JOIN {sequences} USING (user_id) "
        f"WHERE CASE WHEN {fits} THEN true ELSE CAST({refused} AS BOOLEAN) END ORDER BY line",
        path,
    )
