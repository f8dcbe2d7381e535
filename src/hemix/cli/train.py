"""`hemix train`: an experiment and a store become a run."""

from pathlib import Path
from typing import Annotated

import typer

from hemix.cli.terminal import Overrides, say

PROFILED_STEPS = 50


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="Experiment file.")],
    data: Annotated[Path, typer.Option("--data", metavar="STORE", help="Store that `hemix prepare` wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="RUN", help="Folder of the run.")],
    seed: Annotated[int | None, typer.Option(min=0, help="Default: train.seed of the experiment.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    initial: Annotated[
        Path | None, typer.Option("--from", metavar="RUN", help="Start with the weights of another run.")
    ] = None,
    profile: Annotated[
        bool, typer.Option("--profile", help=f"Measure {PROFILED_STEPS} steps and write profile.txt.")
    ] = False,
    overrides: Overrides = None,
) -> None:
    """Train the experiment's model on a store. Ctrl-C saves; --resume goes on to the same bits."""
    from hemix.experiment import load_experiment
    from hemix.run import train as train_run

    asked = [*(overrides or []), *([f"train.profile_steps={PROFILED_STEPS}"] if profile else [])]
    run = train_run(load_experiment(config, asked), data, out, seed=seed, resume=resume, initial=initial)
    result = run.result
    done = f"{result['steps']:,} steps, {result['rows']:,} rows in {result['seconds']:.0f} s"
    say(f"{run.path}: {done} ({result['reason']})")
    if result["best"] is not None:
        say(f"best {run.experiment.train.monitor} on valid {result['best']:.4f}, after step {result['best_step']:,}")
