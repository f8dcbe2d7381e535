"""`hemix evaluate` and `hemix compare`: how good a run is, and which of several is better."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from hemix.cli.terminal import JsonFile, say, show, working, write_json

SplitName = Annotated[Literal["train", "valid", "test"], typer.Option("--split", help="Part of the store.")]


def evaluate(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that `hemix train` wrote.")],
    data: Annotated[
        Path | None, typer.Option("--data", metavar="STORE", help="Default: the store of the training.")
    ] = None,
    split: SplitName = "test",
    json: JsonFile = None,
) -> None:
    """Measure a run on a split; writes report.html and report.json into its folder."""
    from hemix.data.store import Store
    from hemix.evaluate.tables import metrics_table
    from hemix.run import Run
    from hemix.run.page import write_page

    opened = Run.open(run)
    with working(f"Evaluating {run} on {split}"):
        report = opened.evaluate(split, store=None if data is None else Store.open(data))
        page = write_page(opened, report)
    show(metrics_table(report))
    say(f"Intervals: {report.interval}.")
    say(f"Wrote {run / 'report.json'}")
    say(f"Wrote {page}" if page else "No report.html: it needs matplotlib; pip install 'hemix[report]'")
    write_json(json, report.model_dump(mode="json"))


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Run folders; the first is the baseline.")],
    split: SplitName = "test",
    task: Annotated[str | None, typer.Option(metavar="LABEL", help="Default: the first.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write a page with plots, .html.")] = None,
    json: JsonFile = None,
) -> None:
    """Compare runs on the same rows: paired differences with intervals. Runs not yet evaluated are evaluated first."""
    from hemix.evaluate.page import write_comparison
    from hemix.evaluate.tables import differences_table, systems_table
    from hemix.run import Run
    from hemix.run.compare import compare as compare_runs

    with working(f"Comparing {len(runs)} runs on {split}"):
        comparison = compare_runs([Run.open(run) for run in runs], split, task=task)
    show(systems_table(comparison), differences_table(comparison))
    if out is not None:
        write_comparison(out, comparison)
        say(f"Wrote {out}")
    write_json(json, comparison.model_dump(mode="json"))
