"""An objective and its ranker in float64, whose vectors are large enough for differences to show."""

import torch

from hemix.batch import Inputs
from hemix.models import ModelConfig
from hemix.objectives import Objective, ObjectiveConfig, build_objective
from hemix.ranker import Ranker, build_ranker


def enlarged(inputs: Inputs, model: ModelConfig, config: ObjectiveConfig) -> tuple[Objective, Ranker]:
    ranker = build_ranker(inputs, model, seed=0).double()
    random = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for table in ranker.embedding.tables:
            table[1:] += 0.5 * torch.randn(table[1:].shape, generator=random, dtype=torch.float64)
    torch.manual_seed(2)
    return build_objective(config, ranker).double(), ranker
