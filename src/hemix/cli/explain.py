"""`hemix explain`: why a score is what it is, and what a model uses."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hemix.cli.evaluate import SplitName
from hemix.cli.terminal import JsonFile, say, show, working, write_json
from hemix.errors import ConfigError

if TYPE_CHECKING:
    from hemix.explain.report import ModelReport, RequestReport


def explain(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that `hemix train` wrote.")],
    request: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="user=KEY, user=KEY,time=TIME or row=NUMBER; default: the model as a whole."),
    ] = None,
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            "--candidate",
            metavar="ITEM",
            help="Of the catalog; give two to compare them. Default: that of the row, else the one scored highest.",
        ),
    ] = None,
    task: Annotated[str | None, typer.Option(metavar="LABEL", help="Default: the first.")] = None,
    split: SplitName = "valid",
    data: Annotated[
        Path | None, typer.Option("--data", metavar="STORE", help="Default: the store of the training.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Page to write; default: RUN/explain.html.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Explain one score, the difference of two, or a model: attention, contributions, importance."""
    from hemix.data.store import Store
    from hemix.explain import explain_model, explain_request
    from hemix.explain.tables import model_tables, request_tables
    from hemix.run import Run

    if request is None and candidates:
        raise ConfigError("A candidate belongs to a request; name it with --request, or leave out --candidate.")
    opened, store = Run.open(run), None if data is None else Store.open(data)
    report: RequestReport | ModelReport
    if request is None:
        with working(f"Explaining {run} on {split}"):
            report = explain_model(opened, split=split, task=task, store=store)
        show(*model_tables(report))
        say(f"Intervals: {report.interval}.")
    else:
        with working(f"Explaining {request}"):
            report = explain_request(opened, request, candidates or (), split=split, task=task, store=store)
        show(*request_tables(report))
    for note in report.notes:
        say(note)
    _write(report, out or opened.path / "explain.html")
    write_json(json, report.model_dump(mode="json"))


def _write(report: "RequestReport | ModelReport", page: Path) -> None:
    from importlib.util import find_spec

    from hemix.explain.page import write_page

    if find_spec("matplotlib") is None:
        say(f"No {page.name}: it needs matplotlib; pip install 'hemix[report]'")
    else:
        write_page(page, report)
        say(f"Wrote {page}")
