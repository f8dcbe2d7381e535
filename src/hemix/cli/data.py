"""`hemix data`: public data sets by name."""

from pathlib import Path
from typing import Annotated

import typer

from hemix.cli.terminal import JsonFile, download_progress, grouped, say, show_rows, write_json

data = typer.Typer(help="Public data sets by name.", no_args_is_help=True)


@data.command("list")
def list_data(json: JsonFile = None) -> None:
    """List the public data sets that can be got by name."""
    from hemix.data.public import list_datasets

    found = list_datasets()
    rows = [(item.name, grouped(max(item.rows.values(), default=None)), item.title) for item in found]
    show_rows("Public data", ("name", "rows", "what"), rows)
    figures = ("name", "title", "rows", "tables", "licence", "citation", "homepage")
    write_json(json, [{key: getattr(item, key) for key in figures} for item in found])


@data.command("get")
def get_data(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name from `hemix data list`.")],
    directory: Annotated[Path | None, typer.Option("--dir", metavar="DIR", help="Default: data/NAME.")] = None,
) -> None:
    """Get a public data set as Parquet tables with its licence and experiment files. Can be resumed."""
    from hemix.data.public import get_dataset
    from hemix.recipes import RECIPES, write_experiments

    with download_progress() as progress:
        folder = get_dataset(name, directory or Path("data") / name, progress=progress)
    say((folder / "LICENCE.txt").read_text(encoding="utf-8").rstrip() + "\n")
    written = write_experiments(name, folder) if name in RECIPES else []
    for path in (*sorted(folder.glob("*.parquet")), *written):
        say(f"Wrote {path}")
