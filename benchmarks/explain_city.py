"""Do explanations find what the city planted? Pairs of shown candidates, explained, beside the truth of their parts.

For two candidates of one request the truth says how far each part of the utility sets them apart (`hemix world` writes
it beside every impression). The explanation says the same by field and history (integrated gradients, which add up).
Fields are grouped by the part that they carry:

    place on the page  position                     popularity  visits_last_year
    price              price                        distance    way, there
    taste              item, category, group, and both histories

The ceiling (a model that is given the true parts) shows what explanations name where a model has found the truth.

The table gives, for each cause, the correlation of explained and true differences over all pairs, and the share of the
pairs it dominates (more than half of all that differs) in which the explanation names it first, with the right sign.
The second table is of the histories alone: what the score loses without one, beside the tastes it should carry.
Usage: explain_city.py RUN [RUN ...] --city CITY [--store STORE] [--pairs 400] [--seed 0] [--split valid]
"""

import argparse
import math
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import duckdb
import numpy as np
import turns

from hemix.data.store import Store
from hemix.explain import explain_request
from hemix.explain.case import Case, RequestKey
from hemix.explain.report import Explained, RequestReport
from hemix.run import Run

Parts = dict[str, float]
CAUSES = ("position", "popularity", "price", "distance", "taste")
TASTES = ("stable", "context", "drift")
FIELDS = {
    "position": ("position",),
    "popularity": ("visits_last_year", "true_popularity"),
    "price": ("price", "true_price", "true_order_price"),
    "distance": ("way", "there", "true_distance", "true_order_distance"),
    "taste": ("poi", "category", "category_group", "true_stable", "true_context", "true_drift"),
}


def cause_of(field: str) -> str | None:
    """The cause that a candidate's field carries; geo cells are named after their feature."""
    for cause, names in FIELDS.items():
        if any(field == name or (name == "there" and field.startswith("there")) for name in names):
            return cause
    return None


def explained_parts(found: Explained) -> Parts:
    parts: Parts = dict.fromkeys(CAUSES, 0.0)
    for field in found.fields:
        if field.side == "candidate":
            cause = cause_of(field.name)
            assert cause is not None, f"no cause is known for the field {field.name!r}"
            parts[cause] += field.contribution
    parts["taste"] += sum(history.contribution for history in found.histories)
    return parts


class Truth:
    """The parts of the utility of each impression, and the strength of the position bias."""

    def __init__(self, city: Path, zone: ZoneInfo) -> None:
        self._zone = zone
        self._connection = duckdb.connect()
        self._connection.execute(
            "CREATE TABLE truth AS "
            "SELECT * FROM read_parquet(?) AS logged JOIN read_parquet(?) AS parts USING (impression)",
            [str(city / "impressions.parquet"), str(city / "truth" / "impressions.parquet")],
        )

    def parts(self, report: RequestReport, item: str, bias: float) -> Parts:
        """Of one shown candidate; a part is its share of the logit, that of the position its logarithm."""
        columns = ("position", "popularity", "price", "distance", *TASTES)
        found = self._connection.execute(
            f"SELECT {', '.join(f'truth.{name}' for name in columns)} FROM truth "
            "WHERE CAST(user AS VARCHAR) = ? AND CAST(poi AS VARCHAR) = ? AND time = ?",
            [report.user, item, datetime.fromisoformat(report.time).replace(tzinfo=self._zone)],
        ).fetchall()
        assert len(found) == 1, f"{len(found)} impressions of item {item} for user {report.user} at {report.time}"
        parts = dict(zip(columns, map(float, found[0]), strict=True))
        return {
            **parts,
            "position": -bias * math.log(parts["position"]),
            "taste": sum(parts[name] for name in TASTES),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--city", type=Path, required=True)
    parser.add_argument("--store", type=Path)
    parser.add_argument("--pairs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--split", choices=("valid", "test"), default="valid")
    parser.add_argument("--position", type=float, default=0.3, help="the city's knob of the same name")
    options = parser.parse_args()
    lines = ["# Explanations beside the truth of the city", "", (__doc__ or "").split("Usage")[0].strip(), ""]
    lines += [turns.machine()]
    for path in options.runs:
        run = Run.open(path)
        store = run.store if options.store is None else Store.open(options.store)
        planted, explained = compared(run, store, options)
        head = f"{run.experiment.name}, seed {run.experiment.train.seed}: {len(planted)} pairs of {options.split}"
        lines += ["", f"## {head}", "", *causes(planted, explained)]
        if store.inputs.histories:
            lines += ["", *histories(planted, explained)]
    turns.save("explain_city", "\n".join(lines) + "\n")


def compared(run: Run, store: Store, options: argparse.Namespace) -> tuple[list[Parts], list[Parts]]:
    """Differences between two shown candidates of random requests: what was planted, and what is explained."""
    truth = Truth(options.city, ZoneInfo(store.config.timezone or "UTC"))
    rows = store.split(options.split).num_rows
    random = np.random.default_rng(options.seed)
    planted: list[Parts] = []
    explained: list[Parts] = []
    while len(planted) < options.pairs:
        row = int(random.integers(rows))
        items = Case(store, options.split, RequestKey(row=row)).items
        if len(items) < 2:
            continue
        pair = [items[place] for place in random.choice(len(items), size=2, replace=False)]
        report = explain_request(run, f"row={row}", pair, split=options.split, store=store)
        one, two = report.explained
        true = [truth.parts(report, found.item, options.position) for found in (one, two)]
        said = [explained_parts(found) for found in (one, two)]
        without = {a.name: a.without - b.without for a, b in zip(one.histories, two.histories, strict=True)}
        planted.append({name: true[0][name] - true[1][name] for name in true[0]})
        explained.append({name: said[0][name] - said[1][name] for name in CAUSES} | without)
    return planted, explained


def causes(planted: list[Parts], explained: list[Parts]) -> list[str]:
    true = np.array([[pair[name] for name in CAUSES] for pair in planted])
    said = np.array([[pair[name] for name in CAUSES] for pair in explained])
    greatest, first = np.abs(true).argmax(axis=1), np.abs(said).argmax(axis=1)
    dominated = np.abs(true).max(axis=1) > np.abs(true).sum(axis=1) / 2
    every = np.arange(len(true))
    right = (first == greatest) & (np.sign(said[every, first]) == np.sign(true[every, greatest]))
    lines = [
        "| cause | mean size planted | explained | correlation | pairs it dominates | named first, right sign |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for place, cause in enumerate(CAUSES):
        own = dominated & (greatest == place)
        hits = f"{right[own].mean():.0%}" if own.any() else "-"
        correlation = np.corrcoef(true[:, place], said[:, place])[0, 1]
        sizes = f"{np.abs(true[:, place]).mean():.3f} | {np.abs(said[:, place]).mean():.3f}"
        lines.append(f"| {cause} | {sizes} | {correlation:+.2f} | {own.sum()} | {hits} |")
    lines.append(f"| all | | | | {dominated.sum()} of {len(true)} | {right[dominated].mean():.0%} |")
    return lines


def histories(planted: list[Parts], explained: list[Parts]) -> list[str]:
    lines = ["| without the history | stable | context | drift |", "| --- | ---: | ---: | ---: |"]
    for history in ("global", "real_time"):
        said = np.array([pair[history] for pair in explained])
        found = [np.corrcoef(said, [pair[taste] for pair in planted])[0, 1] for taste in TASTES]
        lines.append(f"| {history} | {' | '.join(f'{value:+.2f}' for value in found)} |")
    return lines


if __name__ == "__main__":
    main()
