"""What commands print with: tables, progress and errors for people, JSON files for programs."""

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

MIN_WIDTH = 118
"""Characters of a line where nothing says how wide the output is, as in a file or a pipe."""

JsonFile = Annotated[Path | None, typer.Option("--json", metavar="FILE", help="Write the same figures to this file.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="A.B=C", help="Override a key of the experiment file; can be given several times."),
]


def say(text: str = "") -> None:
    """One line for people, on standard output."""
    typer.echo(text)


def complain(text: str) -> None:
    """One block for people, on standard error."""
    typer.echo(text, err=True)


def grouped(value: int | float | None) -> str:
    """A count with its thousands apart.

    >>> grouped(1234567)
    '1,234,567'
    """
    return "-" if value is None else f"{value:,.0f}"


def show(*tables: "Table") -> None:
    """Print tables made by rich."""
    from rich.console import Console

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=max(console.width, MIN_WIDTH))
    for table in tables:
        console.print(table)


def show_rows(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table of texts; columns of numbers stand to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    say(title)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for place, head in enumerate(heads):
        numeric = bool(rows) and all(row[place][:1].isdigit() or row[place] == "-" for row in rows)
        table.add_column(head, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    show(table)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Say what is being done, and for how long, on a terminal's standard error."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        progress.add_task(what, total=None)
        yield


@contextmanager
def row_progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar with speed and time left on a terminal's standard error, fed with the rows done so far."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class RowsPerSecond(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text("" if task.speed is None else f"{task.speed:,.0f} rows/s", style="cyan")

    rows = TextColumn("{task.completed:,.0f} of {task.total:,.0f} rows")
    columns = (TextColumn("{task.description}"), BarColumn(), rows, RowsPerSecond(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(what, total=total)
        yield lambda done: progress.update(bar, completed=min(done, total))


@contextmanager
def download_progress() -> Iterator[Callable[[str, int, int | None], None]]:
    """A bar per file on a terminal's standard error, fed with `(file, done, total)`."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:

        def report(file: str, done: int, total: int | None) -> None:
            if file not in bars:
                bars[file] = progress.add_task(file, total=total)
            progress.update(bars[file], completed=done, total=total)

        yield report


def write_json(path: Path | None, figures: Any) -> None:
    """Write figures as JSON in one step; NaN becomes null. Does nothing without a path."""
    if path is None:
        return
    text = json.dumps(_without_nan(figures), indent=2, default=str) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    say(f"Wrote {path}")


def _without_nan(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    return value
