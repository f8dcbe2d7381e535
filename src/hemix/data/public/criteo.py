"""Criteo: display ads that were clicked or not, the Kaggle Display Advertising Challenge of 2014.

Table:
    examples   row (place in the file, from 0), label (0 or 1), I1-I13 (integers), C1-C26 (hexadecimal texts)

An empty cell is null. Rows stand in the order of time, over seven days, without any time; clicked and other rows were
thinned out at rates that are not published. `row` is all there is to split by the past.

Criteo Labs, "Display Advertising Challenge", Kaggle, 2014.
"""

from pathlib import Path

from hemix.data.public.tables import Converter, fail, flag, read_text

NUMBERS = tuple(f"I{index}" for index in range(1, 14))
CATEGORIES = tuple(f"C{index}" for index in range(1, 27))
COLUMNS = {"label": "VARCHAR", **dict.fromkeys(NUMBERS, "INTEGER"), **dict.fromkeys(CATEGORIES, "VARCHAR")}


def convert_criteo(raw: Path, out: Path) -> None:
    """Table from `train.txt` (40 columns cut at tabs, no header). Raises InputError."""
    path = raw / "train.txt"
    reader = read_text(path, COLUMNS, delimiter="\t")
    cells = f"concat_ws(chr(9), {', '.join(CATEGORIES)})"
    # One match for the whole row: 26 of them take longer than reading the file does.
    hexadecimal = f"regexp_full_match({cells} || chr(9), '([0-9a-f]{{0,8}}\\t)*')"
    refused = fail("C1-C26 must be up to eight digits of 0-9 and a-f, they are", cells)
    Converter(out).write(
        "examples",
        f"SELECT line - 1 AS row, {flag('label')}, {', '.join((*NUMBERS, *CATEGORIES))} "
        f"FROM (SELECT row_number() OVER () AS line, * FROM {reader}) "
        f"WHERE CASE WHEN {hexadecimal} THEN true ELSE CAST({refused} AS BOOLEAN) END",
        path,
    )
