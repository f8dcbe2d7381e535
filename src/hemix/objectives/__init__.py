"""What training minimises.

An objective is a module ``(ranker, batch) -> Loss``; its own parameters are trained with the ranker's, never exported.
"""

from typing import Annotated

from pydantic import Field

from hemix.errors import ConfigError
from hemix.objectives.cl4ctr import CL4CTR, CL4CTRConfig
from hemix.objectives.esmm import ESMM, ESMMConfig
from hemix.objectives.log_loss import LogLoss, LogLossConfig
from hemix.objectives.loss import Loss, check_part_names
from hemix.objectives.next_event import NextEvent, NextEventConfig
from hemix.objectives.search import Search, SearchConfig, search_widths
from hemix.ranker import Ranker

ObjectiveConfig = Annotated[
    LogLossConfig | ESMMConfig | CL4CTRConfig | NextEventConfig | SearchConfig, Field(discriminator="name")
]
Objective = LogLoss | ESMM | CL4CTR | NextEvent | Search


def build_objective(config: ObjectiveConfig, ranker: Ranker) -> Objective:
    """The objective that `config` names. Raises ConfigError if it does not fit the ranker, or the tasks of its data."""
    if search_widths(ranker) and not isinstance(config, SearchConfig):
        raise ConfigError(
            f"What a soft search finds is learnt by the objective 'search' alone, got {config.name!r}, under which it "
            "would stay as it was drawn. Set objective: {name: search}, or model.search: hard."
        )
    match config:
        case LogLossConfig():
            objective = LogLoss(config, ranker.inputs)
        case ESMMConfig():
            objective = ESMM(config, ranker.inputs)
        case CL4CTRConfig():
            objective = CL4CTR(config, ranker)
        case NextEventConfig():
            objective = NextEvent(config, ranker)
        case SearchConfig():
            objective = Search(config, ranker)
    check_part_names(ranker.inputs, objective.added_parts)
    return objective


__all__ = [
    "CL4CTR",
    "ESMM",
    "CL4CTRConfig",
    "ESMMConfig",
    "LogLoss",
    "LogLossConfig",
    "Loss",
    "NextEvent",
    "NextEventConfig",
    "Objective",
    "ObjectiveConfig",
    "Search",
    "SearchConfig",
    "build_objective",
]
