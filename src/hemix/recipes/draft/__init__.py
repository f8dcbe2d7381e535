"""A first experiment file, drafted from raw tables: what `hemix init` writes."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from hemix.config import parse_config
from hemix.config_file import parse_yaml
from hemix.data.sources import disconnect
from hemix.errors import InputError
from hemix.experiment import Experiment
from hemix.recipes.draft.facts import look_at
from hemix.recipes.draft.roles import find_roles
from hemix.recipes.draft.text import draft_text

__all__ = ["draft_experiment"]


def draft_experiment(files: Sequence[Path], out: Path) -> Experiment:
    """Write a commented experiment file for these tables to `out`, and return the experiment.

    Raises InputError if a file is not a table, nothing can be a label, or `out` is already there.
    """
