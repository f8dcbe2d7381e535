"""`hemix predict`: scores for the rows of a table."""

from pathlib import Path
from typing import Annotated

import typer

from hemix.cli.terminal import say, working


def predict(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that `hemix train` wrote.")],
    table: Annotated[Path, typer.Argument(metavar="INPUT", help="Rows to score: CSV, Parquet or JSON lines.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Ends in .parquet, .csv or .jsonl.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="STORE", help="Histories and items; default: the run's own store.")
    ] = None,
) -> None:
    """Write the rows of a table with a column score_LABEL: a probability, or the value of a regression."""
    from hemix.data.store import Store
    from hemix.run import Run
    from hemix.run.predict import predict as predict_table

    with working(f"Scoring {table}"):
        rows = predict_table(Run.open(run), table, out, store=None if data is None else Store.open(data))
    say(f"Wrote {out}: {rows:,} rows")
