"""What MovieLens holds before any model is trained, and what simple predictors get on the splits of the recipes.

    python benchmarks/movielens_baselines.py 100k FOLDER
    python benchmarks/movielens_baselines.py 1m FOLDER

FOLDER holds ratings.parquet, users.parquet and movies.parquet as `hemix data get` writes them. Of MovieLens-1M only
users with `user_complete` are read, if the table has that column. Prints Markdown; docs/data-movielens.md keeps it.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score

SMOOTHING = 20.0
SEED = 0
STATISTICS = (
    ("user", "user_id"),
    ("item", "movie_id"),
)
"""Causal counts and means: over all ratings of the same user or movie with an earlier second."""


PAST = "ORDER BY timestamp RANGE BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
GENRES = f"""
    SELECT row, avg((likes + {SMOOTHING} * 0.55) / (n + {SMOOTHING})) AS user_genre, sum(n) AS user_genre_n FROM (
        SELECT row, count(*) OVER past AS n, coalesce(sum(label) OVER past, 0) AS likes FROM (
            SELECT r.row, r.user_id, r.timestamp, r.label, unnest(m.genres) AS genre
            FROM r JOIN movies AS m USING (movie_id))
        WINDOW past AS (PARTITION BY user_id, genre {PAST}))
    GROUP BY row"""


def read(folder: Path, size: str) -> pd.DataFrame:
    """One row per rating: label, split, causal statistics; in the order of the file."""
    con = duckdb.connect()
    for table in ("ratings", "users", "movies"):
        path = folder / f"{table}.parquet"
        con.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet('{path}', file_row_number = true)")
    columns = [name for name, *_ in con.execute("DESCRIBE ratings").fetchall()]
    where = "WHERE user_complete" if "user_complete" in columns else ""
    con.execute(
        "CREATE TABLE r AS SELECT file_row_number AS row, user_id, movie_id, timestamp, "
        f"CAST(rating >= 4 AS INTEGER) AS label FROM ratings {where}"
    )
    causal = ", ".join(
        f"count(*) OVER {name} AS {name}_n, coalesce(sum(label) OVER {name}, 0) AS {name}_sum" for name, _ in STATISTICS
    )
    windows = ", ".join(f"{name} AS (PARTITION BY {key} {PAST})" for name, key in STATISTICS)
    con.execute(
        f"CREATE TABLE statistics AS SELECT r.*, {causal}, timestamp - max(timestamp) OVER user AS since "
        f"FROM r WINDOW {windows}"
    )
    frame = con.execute(
        "SELECT s.*, g.user_genre, g.user_genre_n, u.gender = 'F' AS female, u.age, "
        "dense_rank() OVER (ORDER BY u.occupation) AS occupation, m.year "
        f"FROM statistics AS s LEFT JOIN ({GENRES}) AS g USING (row) LEFT JOIN users AS u USING (user_id) "
        "LEFT JOIN movies AS m USING (movie_id) ORDER BY row"
    ).df()
    frame["split"] = split_by_user(frame) if size == "100k" else split_by_time(frame)
    return frame


def split_by_user(frame: pd.DataFrame) -> np.ndarray:
    """80/10/10 of each user's rows by time; rows of one second stay together."""
    split = np.zeros(len(frame), dtype=int)
    for rows in frame.groupby("user_id").indices.values():
        times = np.sort(frame["timestamp"].to_numpy()[rows])
        cuts = [times[min(len(times) - 1, int(np.floor(share * len(times) + 1e-9)))] for share in (0.8, 0.9)]
        cuts[0] = max(cuts[0], times[0] + 1)
        cuts[1] = max(cuts)
        split[rows] = np.searchsorted(cuts, frame["timestamp"].to_numpy()[rows], side="right")
    return split


def split_by_time(frame: pd.DataFrame) -> np.ndarray:
    """80/10/10 of all rows by time; rows of one second stay together."""
    times = np.sort(frame["timestamp"].to_numpy())
    cuts = [times[int(np.ceil(share * len(times))) - 1] for share in (0.8, 0.9)]
    return np.searchsorted(cuts, frame["timestamp"].to_numpy(), side="right")


def logit(p: np.ndarray) -> np.ndarray:
    return np.log(p / (1 - p))


def smoothed(train: pd.DataFrame, key: str, rows: pd.DataFrame) -> np.ndarray:
    """Mean label by key in training, pulled towards the mean of all by SMOOTHING rows."""
    mean = train["label"].mean()
    groups = train.groupby(key)["label"].agg(["sum", "count"])
    values = (groups["sum"] + SMOOTHING * mean) / (groups["count"] + SMOOTHING)
    return rows[key].map(values).fillna(mean).to_numpy()


def grouped_auc(labels: np.ndarray, scores: np.ndarray, users: np.ndarray) -> float:
    """AUC of each user weighted by rows; users with one class are left out."""
    frame = pd.DataFrame({"y": labels, "s": scores, "u": users})
    total, weight = 0.0, 0
    for _, group in frame.groupby("u"):
        if group["y"].nunique() == 2:
            total += roc_auc_score(group["y"], group["s"]) * len(group)
            weight += len(group)
    return total / weight


def boosted_trees(frame: pd.DataFrame, test: pd.DataFrame) -> np.ndarray:
    """Gradient-boosted trees on causal statistics, profile and year; rounds chosen on the validation split."""
    columns = ["user_n", "item_n", "since", "user_genre", "user_genre_n", "female", "age", "occupation", "year"]

    def inputs(rows: pd.DataFrame) -> np.ndarray:
        mean = frame.loc[frame["split"] == 0, "label"].mean()
        rates = [(rows[f"{name}_sum"] + SMOOTHING * mean) / (rows[f"{name}_n"] + SMOOTHING) for name, _ in STATISTICS]
        return np.column_stack([rows[columns].astype(float), *rates])

    parts = [frame[frame["split"] == index] for index in (0, 1)]
    model = HistGradientBoostingClassifier(max_iter=400, learning_rate=0.05, random_state=SEED, early_stopping=False)
    model.fit(inputs(parts[0]), parts[0]["label"])
    losses = [log_loss(parts[1]["label"], p[:, 1]) for p in model.staged_predict_proba(inputs(parts[1]))]
    model.set_params(max_iter=int(np.argmin(losses)) + 1)
    model.fit(inputs(parts[0]), parts[0]["label"])
    return model.predict_proba(inputs(test))[:, 1]


def describe(frame: pd.DataFrame) -> None:
    """The table of the splits."""
    train = frame[frame["split"] == 0]
    users, movies = (set(train[key]) for key in ("user_id", "movie_id"))
    heads = ("split", "rows", "requests", "users", "rate of label 1", "rows of users unseen in train")
    heads += ("of movies unseen", "history p5 / p50 / p95", "rows with more than 20", "rows with none")
    say(heads)
    say(["---"] * len(heads))
    for index, name in enumerate(("train", "valid", "test")):
        rows = frame[frame["split"] == index]
        cells = [name, f"{len(rows):,}", f"{len(rows[['user_id', 'timestamp']].drop_duplicates()):,}"]
        cells += [f"{rows['user_id'].nunique():,}", f"{rows['label'].mean():.3f}"]
        cells += [f"{1 - rows['user_id'].isin(users).mean():.1%}", f"{1 - rows['movie_id'].isin(movies).mean():.2%}"]
        cells.append(" / ".join(str(int(length)) for length in np.percentile(rows["user_n"], (5, 50, 95))))
        say([*cells, f"{(rows['user_n'] > 20).mean():.1%}", f"{(rows['user_n'] == 0).mean():.1%}"])
    ties = frame.duplicated(["user_id", "timestamp"], keep=False).mean()
    days = frame.assign(day=frame["timestamp"] // 86400).groupby("user_id")["day"].nunique()
    sys.stdout.write(f"\nRows that share user and second with another: {ties:.1%}. ")
    sys.stdout.write(f"Users who rate on a single day (UTC): {(days == 1).mean():.1%}.\n\n")


def say(cells: Sequence[str]) -> None:
    """One row of a Markdown table."""
    sys.stdout.write("| " + " | ".join(cells) + " |\n")


def compare(frame: pd.DataFrame) -> None:
    train, test = (frame[frame["split"] == index] for index in (0, 2))
    mean = train["label"].mean()
    user, item = smoothed(train, "user_id", test), smoothed(train, "movie_id", test)
    both = 1 / (1 + np.exp(-(logit(user) + logit(item) - logit(np.array(mean)))))
    predictions = {
        "constant (mean of train)": np.full(len(test), mean),
        "mean of the movie": item,
        "mean of the user": user,
        "mean of user + movie (log odds added)": both,
        "gradient-boosted trees on causal statistics": boosted_trees(frame, test),
    }
    say(["predictor", "test AUC", "test gAUC", "test LogLoss"])
    say(["---"] * 4)
    labels, users = test["label"].to_numpy(), test["user_id"].to_numpy()
    for name, p in predictions.items():
        figures = (roc_auc_score(labels, p), grouped_auc(labels, p, users), log_loss(labels, p))
        say([name, *(f"{figure:.4f}" for figure in figures)])


if __name__ == "__main__":
    data = read(Path(sys.argv[2]), sys.argv[1])
    describe(data)
    compare(data)
