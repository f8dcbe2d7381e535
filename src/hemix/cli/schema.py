"""`hemix schema`: what may stand in an experiment file."""

import json

from hemix.cli.terminal import say


def schema() -> None:
    """Print the JSON Schema of the experiment file, for editors to complete and check it."""
    from hemix.experiment import experiment_json_schema

    say(json.dumps(experiment_json_schema(), indent=2))
