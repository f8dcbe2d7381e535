"""`hemix condense`: the width that each table of a trained model needs."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from hemix.cli.terminal import JsonFile, grouped, say, show_rows, write_json
from hemix.errors import ConfigError


def condense(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder that `hemix train` wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="CONFIG", help="Experiment file to write.")],
    ratio: Annotated[
        float, typer.Option("--ratio", metavar="SHARE", help="What the tables keep of themselves.")
    ] = 0.95,
    rule: Annotated[
        Literal["variance", "magnitude"],
        typer.Option("--rule", help="Share of the squared singular values, or of the singular values."),
    ] = "variance",
    force: Annotated[bool, typer.Option("--force", help="Replace CONFIG if it is there.")] = False,
    picture: Annotated[
        Path | None, typer.Option("--picture", metavar="FILE.png", help="Also draw the widths by table.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """Learn a width for each table from a trained flat model, and write the experiment that has them."""
    from hemix.data.arrays import replace_file
    from hemix.ranker import count_parameters
    from hemix.run import Run
    from hemix.study.dimensions import condense as find_widths
    from hemix.study.dimensions import condensed_experiment

    if out.exists() and not force:
        raise ConfigError(f"{out} is there already. Name another file, or add --force to replace it.")
    opened = Run.open(run)
    tables = find_widths(opened.ranker, ratio, rule)
    inputs, before = opened.ranker.inputs, opened.experiment
    after = condensed_experiment(before, inputs, tables)
    full, narrow = (count_parameters(inputs, each.model) for each in (before, after))
    rows = [(t.table, grouped(t.values), str(t.width), str(t.kept)) for t in tables]
    show_rows(
        f"Widths that keep {ratio:.0%} ({rule}) of the tables of {run}", ("table", "values", "width", "kept"), rows
    )
    sizes = [count.tables + count.dense for count in (full, narrow)]
    say(f"Parameters: {sizes[0]:,} before, {sizes[1]:,} after, {sizes[1] / sizes[0]:.1%}.")
    if getattr(after.model, "align_dim", None) is not None:
        say(f"{before.model.name} needs fields of one width: each is mapped to it (model.align_dim).")
    if picture is not None:
        from hemix.study.pictures import widths

        replace_file(picture, widths(tables, ratio))
        say(f"Wrote {picture}")
    replace_file(out, after.to_yaml().encode())
    say(f"Wrote {out}. Train it on the same store: hemix train {out} --data STORE --out RUN")
    counts = {"before": sizes[0], "after": sizes[1]}
    write_json(json, {"ratio": ratio, "rule": rule, "tables": [asdict(t) for t in tables], "parameters": counts})
