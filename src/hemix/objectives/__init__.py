"""What training minimises.

An objective is a module ``(ranker, batch) -> Loss``; its own parameters are trained with the ranker's, never exported.
"""

from hemix.batch import Inputs
from hemix.objectives.log_loss import LogLoss, LogLossConfig
from hemix.objectives.loss import Loss

ObjectiveConfig = LogLossConfig
Objective = LogLoss


def build_objective(config: ObjectiveConfig, inputs: Inputs) -> Objective:
    """The objective that `config` names. Raises ConfigError for a task that the data does not have."""
    return LogLoss(config, inputs)


__all__ = ["LogLoss", "LogLossConfig", "Loss", "Objective", "ObjectiveConfig", "build_objective"]
