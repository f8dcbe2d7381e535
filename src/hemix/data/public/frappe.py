"""Frappe: which app is used in which context. The split that papers use, and the original log.

Tables of the split, one each for train, valid and test:
    label (0 or 1), user, item, daytime, weekday, isweekend, homework, cost, weather, country, city
Values are the published numbers, counted through all ten fields (user 0-956, item 957-5038, and so on). Two rows
with label 0 belong to each row with label 1: same user and context, an app that the user never used.

Tables of the log (positives only):
    log    user, item, cnt (times used), and the eight context columns as text
    apps   item, package, category, downloads, developer, language, name, price, rating (null where not known)

L. Baltrunas et al., "Frappe: Understanding the Usage and Perception of Mobile App Recommendations In-The-Wild",
arXiv:1505.03014. The split is that of X. He and T.-S. Chua, "Neural Factorization Machines", SIGIR 2017.
"""

from pathlib import Path

from hemix.data.public.tables import Converter, fail, read_text

FIELDS = ("user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country", "city")
CONTEXT = FIELDS[2:]
SPLIT_FILES = {"train": "train", "valid": "validation", "test": "test"}


def convert_split(raw: Path, out: Path) -> None:
    """Tables from the three libfm files: lines `label f:1 ...`, the label 1 or -1. Raises InputError."""
    converter = Converter(out)
    for table, part in SPLIT_FILES.items():
        path = raw / f"frappe.{part}.libfm"
        reader = read_text(path, {"label": "VARCHAR", **dict.fromkeys(FIELDS, "VARCHAR")}, delimiter=" ")
        refused = fail("the label must be 1 or -1, it is", "label")
        label = f"CASE label WHEN '1' THEN 1 WHEN '-1' THEN 0 ELSE {refused} END"
        values = ", ".join(f"CAST({_id_of(name)} AS INTEGER) AS {name}" for name in FIELDS)
        numbered = f"(SELECT row_number() OVER () AS line, * FROM {reader})"
        converter.write(table, f"SELECT CAST({label} AS TINYINT) AS label, {values} FROM {numbered}", path)


def _id_of(field: str) -> str:
    """`123:1` to 123; the weight must be 1."""
    return (
        f"CASE WHEN regexp_full_match({field}, '[0-9]+:1') THEN split_part({field}, ':', 1) "
        f"ELSE {fail(f'{field} must be written <id>:1, it is', field)} END"
    )


def convert_log(raw: Path, out: Path) -> None:
    """Tables from `frappe.csv` and `meta.csv` (UTF-8, cut at tabs, a header line). Raises InputError."""
    converter = Converter(out)
    log, meta = raw / "frappe.csv", raw / "meta.csv"
    columns = {"user": "INTEGER", "item": "INTEGER", "cnt": "INTEGER"} | dict.fromkeys(CONTEXT, "VARCHAR")
    converter.write("log", f"SELECT * FROM {read_text(log, columns, delimiter=chr(9), header=True)}", log)
    texts = ("package", "category", "downloads", "developer", "icon", "language", "description", "name", "price")
    columns = {"item": "INTEGER"} | dict.fromkeys((*texts, "rating", "summary"), "VARCHAR")
    reader = read_text(meta, columns, delimiter="\t", header=True, quote='"')
    # "unknown" stands in every column of an app whose page was gone.
    kept = ("package", "category", "downloads", "developer", "language", "name", "price")
    cleaned = ", ".join(f"nullif(nullif({name}, 'unknown'), '') AS {name}" for name in kept)
    converter.write("apps", f"SELECT item, {cleaned}, try_cast(rating AS FLOAT) AS rating FROM {reader}", meta)
