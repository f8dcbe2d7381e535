"""`hemix demo`: the whole path on real data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemix.cli.terminal import JsonFile, download_progress, grouped, say, show, show_rows, write_json

if TYPE_CHECKING:
    from hemix.recipes.demo import Demo


def demo(
    directory: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Where everything is written.")] = Path(
        "demo"
    ),
    json: JsonFile = None,
) -> None:
    """Get MovieLens-100K, train DLRM, DIN and HeMix, and compare them on its test split. Can be resumed."""
    from hemix.evaluate.tables import differences_table
    from hemix.recipes.demo import SPLIT_NOTE, run_demo

    with download_progress() as download:
        found = run_demo(directory, say=say, download=download)
    say()
    show_models(found)
    show(differences_table(found.comparison))
    say(SPLIT_NOTE)
    for page in found.pages:
        say(f"Wrote {page}")
    write_json(json, found.comparison.model_dump(mode="json"))


def show_models(found: "Demo") -> None:
    """One row per model: quality with its interval, size, speed."""
    rows = []
    for run, report in zip(found.runs, found.reports, strict=True):
        auc, trained = report.first.metrics["auc"], run.result
        rows.append(
            (
                run.experiment.model.name,
                f"{auc.value:.4f}",
                f"{auc.low:.4f} .. {auc.high:.4f}",
                f"{report.gauc:.4f}",
                f"{report.log_loss:.4f}",
                grouped(report.origin.parameters),
                grouped(trained["rows"] / trained["seconds"]),
                grouped(report.rows_per_second),
            )
        )
    counts = found.reports[0].first.counts
    title = f"MovieLens-100K, test split: {counts.rows:,} rows, {counts.users:,} users"
    heads = ("model", "AUC", "95 % interval", "gAUC", "LogLoss", "parameters", "rows/s trained", "rows/s scored")
    show_rows(title, heads, rows)
