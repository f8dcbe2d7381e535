"""What a model costs to run: multiply-adds per request and per candidate, by the formulas beside its layers."""

from dataclasses import replace

import torch

from hemix.batch import FIRST_ID, Inputs
from hemix.models import ModelConfig
from hemix.nn.cost import Cost
from hemix.ranker import Ranker


def model_cost(inputs: Inputs, config: ModelConfig) -> Cost:
    """Multiply-adds of matrix products, with every history at its greatest length; nothing is allocated or run."""
    tables = tuple(replace(table, num_ids=FIRST_ID) for table in inputs.tables)
    with torch.device("meta"):
        ranker = Ranker(replace(inputs, tables=tables), config)
    return ranker.cost()
