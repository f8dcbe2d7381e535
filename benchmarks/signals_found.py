"""Which model finds which planted signal? From the predictions of a study and the truth of its city.

The studies are `studies/city-histories.yaml`, and `studies/city-histories-million.yaml` of the whole city alone.

`found` is measured in the whole city: the logit of a model is a sum of the true parts of the utility, to which each
model gives its own weights,

    logit = a + w_stable stable + w_context context + w_drift drift + w_popularity popularity + ... + rest

by least squares over all test rows; the logarithm of the position is one of the parts. A weight of 1 is the whole
signal, of 0 nothing; that of the best guess which is possible is the share of the part's variance that can be known.

`lead` is measured by switching off, if the study has cities without a signal: the AUC of a model less that of the model
without histories in the same city, and how much of it goes with each signal.

Means over seeds, intervals of a bootstrap over users and seeds. The tables go between the marks
`<!-- table: STUDY-found -->`, `<!-- table: STUDY-leads -->` and `<!-- end -->` of a page.
Usage: signals_found.py DIR STUDY --city CITY [--ledger FILE] [--page PAGE] [--picture FILE]
DIR is the folder of the study, STUDY its name, CITY the folder of the whole city, which cells call `all`, or nothing.
"""

import argparse
from collections import defaultdict
from pathlib import Path

import duckdb
import numpy as np
from recovered_share import DRAWS, auc_of, drawn_auc, over_seeds

from hemix.data.lookup import Keys
from hemix.data.store import Store
from hemix.evaluate.predictions import Predictions
from hemix.ledger import read
from hemix.study.tables import fill

WHOLE = "all"
OFF = {"stable": "no-stable", "context": "no-context", "drift": "no-drift"}
"""Of each signal, the city without it."""
REFERENCE = "no histories"
PARTS = ("stable", "context", "drift", "popularity", "price", "distance")
Runs = dict[str, dict[str, list[Predictions]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("study")
    parser.add_argument("--city", type=Path, required=True)
    parser.add_argument("--ledger", type=Path)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    runs = predictions(options.out, options.ledger or options.out / f"{options.study}.jsonl")
    parts = true_parts(options.out, options.city, next(iter(runs[WHOLE].values()))[0])
    weights = {system: drawn_weights(found, parts, place) for place, (system, found) in enumerate(runs[WHOLE].items())}
    tables = {f"{options.study}-found": found_table(weights)}
    if runs.keys() >= set(OFF.values()):
        tables[f"{options.study}-leads"] = leads_table(runs)
    print(*tables.values(), sep="\n")
    if options.page is not None:
        options.page.write_text(fill(options.page.read_text(), tables))
    if options.picture is not None:
        draw(weights, options.picture)


def predictions(out: Path, ledger: Path) -> Runs:
    """By city and system; a later line of the same cell and seed is of a later configuration."""
    latest = {(entry.cell, entry.seed): entry for entry in read(ledger).entries if entry.split == "test"}
    runs: Runs = defaultdict(lambda: defaultdict(list))
    for entry in latest.values():
        system, _, city = entry.cell.partition("/")
        runs[city or WHOLE][system].append(Predictions.load(out / "runs" / entry.run / "predictions-test.npz"))
    return runs


def true_parts(out: Path, city: Path, rows: Predictions) -> np.ndarray:
    """(N, 1 + parts + 1): ones, the parts of each test row and the logarithm of its position."""
    (store,) = [
        store for store in map(Store.open, (out / "stores").iterdir()) if store.hash.startswith(rows.origin.store)
    ]
    view, keys = store.split("test"), Keys(store)
    connection = duckdb.connect()
    logged = {
        "row": np.arange(rows.num_rows),
        "poi": np.array(keys.items(view.items(np.arange(rows.num_rows)))),
        "user": np.array([keys.user_key(user) for user in rows.users]),
        "micros": rows.times,
    }
    connection.register("logged", logged)
    columns = ", ".join(f"truth.{name}" for name in PARTS)
    found = connection.execute(
        f"SELECT logged.row, {columns}, ln(shown.position) AS position FROM logged "
        "JOIN read_parquet(?) AS shown ON CAST(shown.poi AS VARCHAR) = logged.poi "
        "AND CAST(shown.user AS VARCHAR) = logged.user AND epoch_us(shown.time) = logged.micros "
        "JOIN read_parquet(?) AS truth USING (impression) ORDER BY logged.row",
        [str(city / "impressions.parquet"), str(city / "truth" / "impressions.parquet")],
    )
    table = found.fetchnumpy()
    assert np.array_equal(table["row"], np.arange(rows.num_rows)), "rows of the study are not those of the city"
    return np.stack([np.ones(rows.num_rows), *(table[name] for name in (*PARTS, "position"))], axis=1)


def drawn_weights(runs: list[Predictions], parts: np.ndarray, place: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the parts (P), mean over seeds; and (draws, P) over users, the same for all systems."""
    _, user = np.unique(runs[0].users, return_inverse=True)
    num, width = user.max() + 1, parts.shape[1]
    squares = np.zeros((num, width, width))
    np.add.at(squares, user, parts[:, :, None] * parts[:, None])
    sums = np.zeros((len(runs), num, width))
    for own, run in zip(sums, runs, strict=True):
        np.add.at(own, user, parts * run.logits[:, :1])
    random = np.random.default_rng(0)
    point = np.linalg.solve(squares.sum(axis=0), sums.sum(axis=1).mean(axis=0)[:, None])[:, 0]
    drawn = np.empty((len(runs), DRAWS, width))
    for draw in range(DRAWS):
        times = np.bincount(random.integers(0, num, num), minlength=num)
        drawn[:, draw] = np.linalg.solve(np.tensordot(times, squares, 1), np.tensordot(times, sums, (0, 1)).T).T
    return point, np.stack([over_seeds(drawn[..., part], place) for part in range(width)], axis=1)


def found_table(weights: dict[str, tuple[np.ndarray, np.ndarray]]) -> str:
    lines = [f"| system | {' | '.join(PARTS)} |", "| --- |" + " ---: |" * len(PARTS)]
    for system, (point, drawn) in sorted(weights.items(), key=lambda each: -each[1][0][1:4].sum()):
        shown = [interval(point[1 + part], drawn[:, 1 + part]) for part in range(len(PARTS))]
        lines.append(f"| {system} | {' | '.join(shown)} |")
    return "\n".join(lines) + (
        "\n\nWeight of each true part in the logit, by least squares over the test rows of the whole city; 1: all. "
        "Best sum of the three tastes first. Mean over seeds; 95 % interval of a bootstrap over users and seeds, "
        f"{DRAWS:,} draws.\n"
    )


def leads_table(runs: Runs) -> str:
    head = ["system", "lead", *(f"without {signal}" for signal in OFF), *(f"{signal} is worth" for signal in OFF)]
    lines = [f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1)]
    base = {city: (mean_auc(found[REFERENCE]), drawn_auc(found[REFERENCE], 0)) for city, found in runs.items()}
    for place, system in enumerate(name for name in runs[WHOLE] if name != REFERENCE):
        lead, drawn = {}, {}
        for city in (WHOLE, *OFF.values()):
            lead[city] = mean_auc(runs[city][system]) - base[city][0]
            drawn[city] = drawn_auc(runs[city][system], place + 1) - base[city][1]
        shown = [interval(lead[city], drawn[city]) for city in (WHOLE, *OFF.values())]
        shown += [interval(lead[WHOLE] - lead[city], drawn[WHOLE] - drawn[city]) for city in OFF.values()]
        lines.append(f"| {system} | {' | '.join(shown)} |")
    return "\n".join(lines) + (
        "\n\nLead: AUC less that of the pooled model without histories, on the test rows of the same city. What a "
        "signal is worth: the lead less the lead in the city without it. Mean over seeds; 95 % interval over users and "
        f"seeds, {DRAWS:,} draws.\n"
    )


def mean_auc(runs: list[Predictions]) -> float:
    return float(np.mean([auc_of(run) for run in runs]))


def interval(value: float, drawn: np.ndarray) -> str:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"


def draw(weights: dict[str, tuple[np.ndarray, np.ndarray]], path: Path) -> None:
    """A panel for each taste, the system that finds most of all three on top."""
    import matplotlib
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    from hemix.study.pictures import COLOURS, DPI, STYLE

    order = sorted(weights, key=lambda system: weights[system][0][1:4].sum())
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11.0, 1.0 + 0.3 * len(order)))
        panels = figure.subplots(1, len(OFF), squeeze=False)[0]
        for number, (panel, signal) in enumerate(zip(panels, OFF, strict=True)):
            for height, system in enumerate(order):
                point, drawn = weights[system]
                low, high = np.percentile(drawn[:, 1 + number], (2.5, 97.5))
                panel.plot([low, high], [height, height], color=COLOURS[0], alpha=0.35, linewidth=4)
                panel.plot(point[1 + number], height, "|", color=COLOURS[0], markersize=12, markeredgewidth=2)
            panel.set_title(f"{signal}: share found")
            panel.axvline(0, color="#9aa3af", linewidth=1)
            panel.xaxis.set_major_locator(MaxNLocator(5))
            panel.set_yticks(range(len(order)), order if panel is panels[0] else [""] * len(order))
        figure.savefig(path, format="png", dpi=DPI, metadata={"Software": None})


if __name__ == "__main__":
    main()
