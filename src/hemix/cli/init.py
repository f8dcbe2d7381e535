"""`hemix init`: a first experiment file from raw tables."""

from pathlib import Path
from typing import Annotated

import typer

from hemix.cli.terminal import say


def init(
    files: Annotated[list[Path], typer.Argument(metavar="FILES...", help="Tables: CSV, Parquet or JSON lines.")],
    out: Annotated[Path, typer.Option("--out", metavar="CONFIG", help="Experiment file to write, .yaml.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite a file that is there.")] = False,
) -> None:
    """Draft a commented experiment file from your tables. Read it before you prepare: it is a guess."""
    from hemix.data.draft import write_draft

    write_draft(files, out, force=force)
    say(f"Wrote {out}. Read it, then: hemix prepare {out} --out store")
