"""`hemix models`: what there is to train, and what it costs."""

from pathlib import Path
from typing import Annotated

import typer

from hemix.cli.terminal import JsonFile, Overrides, grouped, say, show_rows, write_json
from hemix.errors import ConfigError


def models(
    config: Annotated[
        Path | None, typer.Option("--config", metavar="CONFIG", help="The model of this experiment, part by part.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="STORE", help="Count for this store; default: MovieLens-100K.")
    ] = None,
    spaces: Annotated[
        bool, typer.Option("--spaces", help="What a search tries of each model, and of training.")
    ] = False,
    json: JsonFile = None,
    overrides: Overrides = None,
) -> None:
    """List the models with their papers, sizes and costs, or count the model of one experiment."""
    if spaces:
        _spaces(json)
        return
    if config is not None:
        _model_of(config, data, overrides or [], json)
        return
    if overrides:
        raise ConfigError("--set changes an experiment file, and none is given. Add --config CONFIG, or leave it out.")
    from hemix.data.store import Store
    from hemix.evaluate.cost import model_cost
    from hemix.models import MODELS
    from hemix.ranker import count_parameters
    from hemix.recipes.inputs import movielens_100k_inputs

    inputs = movielens_100k_inputs() if data is None else Store.open(data).inputs
    figures = []
    for name, kind in MODELS.items():
        defaults = kind.config()
        count, cost = count_parameters(inputs, defaults), model_cost(inputs, defaults)
        figures.append(
            {
                "model": name,
                "paper": kind.paper,
                "histories": kind.histories,
                "table_parameters": count.tables,
                "other_parameters": count.dense,
                "multiply_adds_per_request": cost.per_request,
                "multiply_adds_per_candidate": cost.per_candidate,
            }
        )
    heads = ("model", "paper", "histories", "in tables", "parameters", "per request", "per candidate")
    rows = [(row["model"], row["paper"], row["histories"], *map(grouped, list(row.values())[3:])) for row in figures]
    show_rows(f"Models with default settings on {data or 'MovieLens-100K'}", heads, rows)
    say("per request, per candidate: multiply-adds of matrix products, with every history at its greatest length.")
    show_rows("Refinement modules, in front of any of them (model.refine)", ("module", "paper"), _modules())
    write_json(json, figures)


def _spaces(json: Path | None) -> None:
    """What `search.declared` of a study takes."""
    from hemix.models import MODELS
    from hemix.training.config import TrainConfig

    trainings = {f"train ({name})": TrainConfig(table_optimizer=name) for name in ("rowwise_adagrad", "adam")}
    spaces = {name: kind.space for name, kind in MODELS.items() if kind.space}
    spaces |= {name: config.search_space for name, config in trainings.items()}
    rows = [(name, key, str(how)) for name, space in spaces.items() for key, how in space.items()]
    show_rows("What a search tries (search.declared)", ("section", "key", "values"), rows)
    drawn = {
        name: {key: how.model_dump(exclude_none=True) for key, how in space.items()} for name, space in spaces.items()
    }
    write_json(json, drawn)


def _modules() -> list[tuple[str, str]]:
    from hemix.refine import REFINERS

    return [(name, kind.paper) for name, kind in REFINERS.items()]


def _model_of(path: Path, data: Path | None, overrides: list[str], json: Path | None) -> None:
    """Parameters by part, multiply-adds and training memory of an experiment's model; nothing is allocated."""
    from hemix.data.store import Store
    from hemix.evaluate.cost import model_cost
    from hemix.experiment import load_experiment
    from hemix.ranker import count_parameters, training_bytes

    if data is None:
        raise ConfigError(f"The size of a model depends on its data: give the store of {path} with --data STORE.")
    experiment, inputs = load_experiment(path, overrides), Store.open(data).inputs
    count, cost = count_parameters(inputs, experiment.model), model_cost(inputs, experiment.model)
    needed = training_bytes(count, experiment.train.table_optimizer)
    parts = {"tables": count.tables, **count.by_part, "all": count.tables + count.dense}
    parts["embedding"] -= count.tables
    rows = [(part, grouped(number)) for part, number in parts.items() if number]
    show_rows(f"{experiment.model.name} of {path} on {data}", ("part", "parameters"), rows)
    say(f"Multiply-adds of matrix products: {cost.per_request:,} per request, {cost.per_candidate:,} per candidate.")
    say(f"Training takes about {needed / 1e9:.2f} GB for parameters, gradients and optimizer.")
    figures = {
        "model": experiment.model.name,
        "table_parameters": count.tables,
        "other_parameters": count.dense,
        "parameters_by_part": parts,
        "multiply_adds_per_request": cost.per_request,
        "multiply_adds_per_candidate": cost.per_candidate,
        "training_bytes": needed,
    }
    write_json(json, figures)
