"""What Foursquare New York holds before any model is trained, and what simple rules get on the recipe's splits.

    python benchmarks/foursquare_baselines.py FOLDER

FOLDER holds checkins.parquet and venues.parquet as `hemix data get foursquare-nyc` writes them, or checkins.csv.gz and
pois.csv (a joined copy). Prints Markdown; docs/data-foursquare.md keeps it.
"""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

from hemix.batch import UNKNOWN_ID
from hemix.data.loader import Loader
from hemix.data.prepare import prepare
from hemix.data.store import Store
from hemix.evaluate import metrics
from hemix.recipes import foursquare

SPLITS = ("train", "valid", "test")
STATISTICS = ("distance", "venue_visits", "own_visits")
TREE_ROWS = 1_000_000
SEED = 0


@dataclass(frozen=True)
class Rows:
    """The candidates of one split: who, when, which place, and the recipe's statistics."""

    labels: np.ndarray
    users: np.ndarray
    requests: np.ndarray
    items: np.ndarray
    statistics: dict[str, np.ndarray]
    same_day: np.ndarray
    """Whether the user has an earlier event of the same local day."""
    before: np.ndarray
    """Whether the user has an event of an earlier local day."""


def read(store: Store, split: str) -> Rows:
    """All rows of a split with one draw."""
    view = store.split(split)
    requests = np.arange(view.num_requests)
    batches = list(Loader(view, batch_size=65_536, seed=None))
    sizes = np.concatenate([np.diff(batch.offsets.numpy()) for batch in batches])
    of_row = np.repeat(requests, sizes)
    numbers = np.concatenate([batch.candidates.numbers.numpy() for batch in batches])
    ids = np.concatenate([batch.candidates.ids.numpy() for batch in batches])
    fields = {field.name: field.start for field in store.inputs.candidate}
    lengths = {
        name: np.concatenate([batch.requests.histories[name].lengths.numpy() for batch in batches])
        for name in ("real_time", "global")
    }
    return Rows(
        labels=np.concatenate([batch.labels.numpy()[:, 0] for batch in batches if batch.labels is not None]),
        users=np.concatenate([batch.requests.users.numpy() for batch in batches])[of_row],
        requests=of_row,
        items=ids[:, fields["venue_id"]],
        statistics={name: numbers[:, fields[name]] for name in STATISTICS},
        same_day=(lengths["real_time"] > 0)[of_row],
        before=(lengths["global"] > 0)[of_row],
    )


def say(cells: Sequence[str]) -> None:
    """One row of a Markdown table."""
    sys.stdout.write("| " + " | ".join(cells) + " |\n")


def describe_log(folder: Path) -> None:
    """Counts of the raw tables."""
    with duckdb.connect() as con:
        for name, source in foursquare(joined_copy=is_copy(folder)).data.tables.items():
            con.execute(f"CREATE VIEW {name} AS " + (source.sql or f"FROM '{folder / str(source.path)}'"))
        counts = con.execute(
            "SELECT (SELECT count(*) FROM log), count(*), count(DISTINCT user_id), count(DISTINCT venue_id), "
            "count(DISTINCT (user_id, time)), min(time)::DATE, max(time)::DATE FROM checkins"
        ).fetchall()[0]
        categories = con.execute("SELECT count(DISTINCT category) FROM venues").fetchall()[0][0]
    rows, distinct, users, places, moments, first, last = counts
    sys.stdout.write(
        f"{rows:,} check-ins ({distinct:,} without exact repeats) of {users:,} users at {places:,} places of "
        f"{categories} categories, {first} to {last}; {moments:,} pairs of user and minute.\n\n"
    )


def describe(store: Store, rows: dict[str, Rows]) -> None:
    """The table of the splits."""
    seen_users = np.unique(rows["train"].users)
    say(("split", "requests", "positives", "candidates", "users", "requests of users unseen in train"))
    say(["---"] * 6)
    for name, split in rows.items():
        users = split.users[np.flatnonzero(np.diff(split.requests, prepend=-1))]
        new = 1 - np.isin(users, seen_users).mean()
        say([name, f"{len(users):,}", f"{int(split.labels.sum()):,}", f"{len(split.labels):,}",
             f"{len(np.unique(users)):,}", f"{new:.1%}"])  # fmt: skip
    left_out = store.manifest.segments[0].rows_too_new
    left_out = store.manifest.segments[0].rows_too_new
    sys.stdout.write(f"\nLeft out because nobody had been there before, or too little was known: {left_out:,}.\n\n")
    heads = ("split", "user has same-day events", "events of earlier days", "positive: own place of the last 90 days")
    say((*heads, "positive seen at most once in train", "nearest place is the positive"))
    say(["---"] * 6)
    for name, split in rows.items():
        first, hit = np.flatnonzero(np.diff(split.requests, prepend=-1)), split.labels == 1
        own = split.statistics["own_visits"]
        distance = np.where(np.isnan(split.statistics["distance"]), np.inf, split.statistics["distance"])
        nearest = np.minimum.reduceat(distance, first)[split.requests]
        shares = (split.same_day[first].mean(), split.before[first].mean(), (own[hit] > own.min()).mean())
        say([name, *(f"{share:.1%}" for share in shares), f"{(split.items[hit] == UNKNOWN_ID).mean():.1%}",
             f"{(distance[hit] <= nearest[hit]).mean():.1%}"])  # fmt: skip
    sys.stdout.write("\n")


def inputs(rows: Rows, popularity: np.ndarray) -> np.ndarray:
    """What the trees are given."""
    return np.column_stack([*(rows.statistics[name] for name in STATISTICS), popularity[rows.items]])


def rules(train: Rows, rows: Rows) -> dict[str, np.ndarray]:
    """Scores of a split by rule; higher is better."""
    popularity = np.bincount(train.items[train.labels == 1], minlength=int(train.items.max()) + 1).astype(float)
    popularity = np.pad(popularity, (0, max(0, int(rows.items.max()) + 1 - len(popularity))))
    own, popular = rows.statistics["own_visits"].astype(float), popularity[rows.items]
    chosen = train.requests < TREE_ROWS / (len(train.labels) / (train.requests.max() + 1))
    trees = HistGradientBoostingClassifier(max_iter=200, learning_rate=0.05, random_state=SEED, early_stopping=False)
    trees.fit(inputs(train, popularity)[chosen], train.labels[chosen])
    return {
        "constant": np.zeros(len(own)),
        "distance from the user's last place": -np.nan_to_num(rows.statistics["distance"]),
        "visits in training": popular,
        "visits of anyone, last 30 days": rows.statistics["venue_visits"],
        "own visits, last 90 days": own,
        "own visits, then visits in training": own * (popularity.max() + 1) + popular,
        "boosted trees on these": trees.predict_proba(inputs(rows, popularity))[:, 1],
    }


def compare(rows: dict[str, Rows]) -> None:
    """Metrics of each rule on validation and test; NDCG also by whether the user has same-day events."""
    heads = ("AUC", "gAUC", "NDCG@10", "NDCG@10 with same-day events", "without")
    for split in ("valid", "test"):
        say([split, *heads])
        say(["---"] * 6)
        part = rows[split]
        for name, scores in rules(rows["train"], part).items():
            figures = [metrics.auc(scores, part.labels), metrics.gauc(scores, part.labels, part.users)]
            figures += [
                metrics.ndcg_at_k(scores[mask], part.labels[mask], part.requests[mask], 10)
                for mask in (np.ones(len(scores), bool), part.same_day, ~part.same_day)
            ]
            say([name, *(f"{figure:.4f}" for figure in figures)])
        sys.stdout.write("\n")


def is_copy(folder: Path) -> bool:
    return (folder / "pois.csv").exists()


def main(folder: Path) -> None:
    describe_log(folder)
    with tempfile.TemporaryDirectory() as work:
        store = prepare(foursquare(joined_copy=is_copy(folder)).data, Path(work) / "store", root=folder)
        rows = {split: read(store, split) for split in SPLITS}
        describe(store, rows)
        compare(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
