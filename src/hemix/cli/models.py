"""`hemix models`: what there is to train, and what it costs."""

from pathlib import Path
from typing import Annotated

import typer

from hemix.cli.terminal import JsonFile, grouped, say, show_rows, write_json


def models(
    data: Annotated[
        Path | None, typer.Option("--data", metavar="STORE", help="Count for this store; default: MovieLens-100K.")
    ] = None,
    json: JsonFile = None,
) -> None:
    """List the models with their papers, sizes and costs."""
    from hemix.data.store import Store
    from hemix.evaluate.cost import model_cost
    from hemix.models import MODELS
    from hemix.ranker import count_parameters
    from hemix.recipes.inputs import movielens_100k_inputs

    inputs = movielens_100k_inputs() if data is None else Store.open(data).inputs
    figures = []
    for name, kind in MODELS.items():
        config = kind.config()
        count, cost = count_parameters(inputs, config), model_cost(inputs, config)
        figures.append(
            {
                "model": name,
                "paper": kind.paper,
                "reads_histories": kind.reads_histories,
                "table_parameters": count.tables,
                "other_parameters": count.dense,
                "multiply_adds_per_request": cost.per_request,
                "multiply_adds_per_candidate": cost.per_candidate,
            }
        )
    heads = ("model", "paper", "histories", "in tables", "parameters", "per request", "per candidate")
    rows = [
        (row["model"], row["paper"], "yes" if row["reads_histories"] else "no", *map(grouped, list(row.values())[3:]))
        for row in figures
    ]
    show_rows(f"Models with default settings on {data or 'MovieLens-100K'}", heads, rows)
    say("per request, per candidate: multiply-adds of matrix products, with every history at its greatest length.")
    write_json(json, figures)
