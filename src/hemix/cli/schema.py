"""`hemix schema`: what may stand in an experiment file or a study file."""

import json
from typing import Annotated

import typer

from hemix.cli.terminal import say


def schema(study: Annotated[bool, typer.Option("--study", help="Of the study file instead.")] = False) -> None:
    """Print the JSON Schema of the experiment file, for editors to complete and check it."""
    if study:
        from hemix.study.config import study_json_schema as found
    else:
        from hemix.experiment import experiment_json_schema as found
    say(json.dumps(found(), indent=2))
