"""What training minimises.

An objective is a module ``(ranker, batch) -> Loss``; its own parameters are trained with the ranker's, never exported.
"""

from typing import Annotated

from pydantic import Field

from hemix.batch import Inputs
from hemix.objectives.esmm import ESMM, ESMMConfig
from hemix.objectives.log_loss import LogLoss, LogLossConfig
from hemix.objectives.loss import Loss

ObjectiveConfig = Annotated[LogLossConfig | ESMMConfig, Field(discriminator="name")]
Objective = LogLoss | ESMM


def build_objective(config: ObjectiveConfig, inputs: Inputs) -> Objective:
    """The objective that `config` names. Raises ConfigError for a task that the data does not have."""
    return ESMM(config, inputs) if isinstance(config, ESMMConfig) else LogLoss(config, inputs)


__all__ = ["ESMM", "ESMMConfig", "LogLoss", "LogLossConfig", "Loss", "Objective", "ObjectiveConfig", "build_objective"]
