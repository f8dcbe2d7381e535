"""The command line: parse, call, print. Nothing is computed here.

Everything heavy is imported inside the commands, so that `hemix --help` answers at once.
"""

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from hemix import __version__
from hemix.cli.condense import condense
from hemix.cli.data import data
from hemix.cli.demo import demo
from hemix.cli.evaluate import compare, evaluate
from hemix.cli.explain import explain
from hemix.cli.init import init
from hemix.cli.models import models
from hemix.cli.predict import predict
from hemix.cli.prepare import prepare
from hemix.cli.schema import schema
from hemix.cli.study import study
from hemix.cli.terminal import complain, say
from hemix.cli.train import train
from hemix.cli.world import world
from hemix.errors import HemixError

__all__ = ["app", "main"]


class Commands(TyperGroup):
    """Runs a command; a deliberate error becomes one block on standard error and its exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except (HemixError, OSError) as error:
            if ctx.params.get("debug"):
                raise
            complain(f"Error: {error}")
            raise typer.Exit(getattr(error, "exit_code", 1)) from None
        except KeyboardInterrupt as stop:
            complain(str(stop) or "Interrupted.")
            raise typer.Exit(130) from None


app = typer.Typer(
    name="hemix",
    cls=Commands,
    help="A ranking system for recommendation: from raw interaction logs to a trained, evaluated CTR model.",
    epilog="Exit status: 0 done, 1 failed, 2 wrong usage or input.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _show_version(wanted: bool) -> bool:
    if wanted:
        say(f"hemix {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def hemix(
    debug: Annotated[bool, typer.Option("--debug", envvar="HEMIX_DEBUG", help="Show tracebacks of errors.")] = False,
    version: Annotated[bool, typer.Option("--version", callback=_show_version, is_eager=True)] = False,
) -> None:
    """A ranking system for recommendation: from raw interaction logs to a trained, evaluated CTR model."""


app.command()(demo)
app.add_typer(data, name="data")
app.add_typer(study, name="study")
for command in (init, schema, models, prepare, train, evaluate, compare, explain, condense, predict, world):
    app.command()(command)


def main() -> None:
    """Entry point of the `hemix` command."""
    sys.exit(app())
