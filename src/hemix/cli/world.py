"""`hemix world`: a simulated city."""

from pathlib import Path
from typing import Annotated, Any

import typer

from hemix.cli.terminal import JsonFile, grouped, row_progress, say, show_rows, write_json


def world(
    impressions: Annotated[
        int, typer.Option(min=1, help="Rows of the log; it ends with the request that reaches them.")
    ],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write; new or empty.")],
    seed: Annotated[int, typer.Option(min=0)] = 0,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KNOB=VALUE", help="Override a knob; can be given several times."),
    ] = None,
    json: JsonFile = None,
) -> None:
    """Simulate a city of POIs and users: the log of a location-based service, and the truth behind it."""
    from hemix.world import World, knobs_from, write_world

    made = World(knobs=knobs_from(overrides or []), seed=seed, impressions=impressions)
    with row_progress("Simulating", impressions) as progress:
        description = write_world(made, out, progress=progress)
    show_world(description)
    say(f"Wrote {out}; next: hemix prepare {out / 'experiment.yaml'} --out STORE")
    write_json(json, description)


def show_world(description: dict[str, Any]) -> None:
    """Counts, base rates, and what each source of signal is worth by the truth."""
    counts, truth = description["counts"], description["truth"]
    say(
        f"{grouped(counts['impressions'])} impressions in {grouped(counts['requests'])} requests, "
        f"{grouped(counts['events'])} events, {grouped(counts['users'])} users, {grouped(counts['pois'])} POIs."
    )
    say(
        f"CTR {truth['ctr']:.3f}, CVR {truth['cvr']:.3f} of clicks ({truth['cvr_of_all']:.3f} if all were clicked). "
        f"Before a request a user has {truth['events_before_request']:.0f} events, "
        f"{truth['same_day_events_before_request']:.1f} of them on the same day."
    )
    rows = [
        (
            name,
            f"{description['knobs'][name]:g}",
            f"{part['deviation']:.2f}",
            f"{part['share_of_variance']:.1%}",
            f"{truth['auc_of_p_click'] - part['auc_without']:.4f}",
        )
        for name, part in truth["parts"].items()
    ]
    title = f"Truth: AUC {truth['auc_of_p_click']:.4f} of p_click, first {grouped(truth['rows'])} impressions"
    show_rows(title, ("part", "knob", "deviation", "share of variance", "AUC lost without"), rows)
