"""Feature refinement: rewrite the vector of every field by what the row as a whole says, before fields interact.

The modules of the survey https://arxiv.org/abs/2311.04625, one file per paper, in front of any model: `model.refine`.
"""

from hemix.refine.refiner import Refiner, RefinerConfig
from hemix.refine.registry import REFINERS, RefineConfig, RefinerKind, build_refiner
from hemix.refine.wiring import Wiring

__all__ = ["REFINERS", "RefineConfig", "Refiner", "RefinerConfig", "RefinerKind", "Wiring", "build_refiner"]
