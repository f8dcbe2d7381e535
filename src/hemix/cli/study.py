"""`hemix study`: many runs as one question, from one file."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemix.cli.terminal import JsonFile, complain, say, show_rows, working, write_json

if TYPE_CHECKING:
    from hemix.ledger import Entry
    from hemix.study.conduct import Prepared
    from hemix.study.costs import Price

study = typer.Typer(help="Grids, random search, scaling and leaderboards from one study file.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="Study file, .yaml.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of stores, runs, logs and the report.")]
LedgerFile = Annotated[
    Path | None, typer.Option("--ledger", metavar="FILE", help="Where finished runs are listed; default: in DIR.")
]


@study.command("run")
def run_study(
    file: File,
    out: Out,
    data: Annotated[
        list[str] | None,
        typer.Option("--data", metavar="[NAME=]PATH", help="A prepared store, or the folder of its raw tables."),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Runs side by side, a thread each; default: cores.")] = None,
    ledger: LedgerFile = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what is left and its cost, then stop.")] = False,
    budget_hours: Annotated[float | None, typer.Option(min=0, help="Refuse to start if it would take longer.")] = None,
    json: JsonFile = None,
) -> None:
    """Run what the ledger lacks: cells x seeds, side by side. The cost comes first. Ctrl-C saves; run it again."""
    import os

    from hemix.study.conduct import conduct, open_study
    from hemix.study.costs import check_budget
    from hemix.study.progress import StudyProgress

    slots = jobs or os.cpu_count() or 1
    prepared = open_study(file, out, ledger=ledger, data=data or [], slots=slots, say=say)
    plans = prepared.plans()
    with working("Measuring what is left"):
        prices = prepared.prices(plans)
    show_prices(prepared, prices, slots)
    write_json(json, [price.to_json() for price in prices])
    check_budget(prices, slots, budget_hours)
    if dry_run or not prices:
        return
    total = sum(price.left for price in prices)
    with StudyProgress(total, say=say) as progress:
        failures = conduct(prepared, slots=slots, watcher=progress, recorded=lambda entry: say(show_entry(entry)))
    for failure in failures:
        complain(f"Failed: {failure.job.title} ({failure.how}); the end of {failure.log}:\n{failure.why}\n")
    if failures:
        complain(f"{len(failures)} of {total} runs failed; the same command does what is missing.")
        raise typer.Exit(1)
    say(f"Done. Next: hemix study report {file} --out {out}")


@study.command("report")
def report_study(
    file: File,
    out: Out,
    ledger: LedgerFile = None,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="PAGE.md", help="Also fill the marks of the study in this page.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Tables, paired differences and pictures of what is done so far; nothing is trained."""
    from hemix.study.cells import read_study
    from hemix.study.conduct import Places
    from hemix.study.report import fill_page, find, markdown, write_report

    asked = read_study(file)
    with working(f"Comparing the runs of {asked.name}"):
        found = find(asked, Places.of(asked, out, ledger))
        written = write_report(found)
    say(markdown(found))
    for path in written:
        say(f"Wrote {path}")
    if page is not None:
        say(f"{'Filled' if fill_page(found, page) else 'Unchanged:'} {page}")
    write_json(json, found.to_json())


def show_prices(prepared: "Prepared", prices: "list[Price]", slots: int) -> None:
    """What is left, and how long it will take."""
    from hemix.study.costs import clock, wall_seconds

    name, done = prepared.study.name, sum(plan.done for plan in prepared.plans())
    if not prices:
        say(f"{name}: nothing is left to do; {done} runs are in {prepared.places.ledger}.")
        return
    rows = [
        (price.cell, price.what, str(price.left), clock(price.seconds), clock(price.total), price.measured)
        for price in prices
    ]
    show_rows(f"{name}: what is left", ("cell", "what", "left", "each", "total", "measured on"), rows)
    total, wall = sum(price.total for price in prices), clock(wall_seconds(prices, slots))
    say(f"{done} runs are done. Left: {clock(total)} of work, about {wall} with {slots} jobs.")


def show_entry(entry: "Entry") -> str:
    """A finished run in a line."""
    figures = ", ".join(f"{name} {entry.figures[name]:.4f}" for name in ("auc", "log_loss") if name in entry.figures)
    what = f"seed {entry.seed}" if entry.trial is None else f"trial {entry.trial}"
    return f"{entry.cell}, {what}: {entry.split} {figures or 'without a figure'} ({entry.seconds:,.0f} s)"
