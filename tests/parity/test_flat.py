"""The flat models against their equations."""

from typing import Any

import pytest

from factories import make_inputs
from hemix.models import ModelConfig
from hemix.models.dcn import DCNConfig
from hemix.models.dcnv2 import DCNv2Config
from hemix.models.deepfm import DeepFMConfig
from hemix.models.fm import FMConfig
from hemix.models.gdcn import GDCNConfig
from hemix.models.lr import LRConfig
from parity import naive_flat
from parity.check import BATCHES, assert_parity, batch_of, perturbed

SMALL: dict[str, Any] = {"embedding_dim": 4}
DEEP: dict[str, Any] = {**SMALL, "hidden": (7, 5), "dropout": 0.0}
CONFIGS: dict[str, ModelConfig] = {
    "lr": LRConfig(),
    "fm": FMConfig(**SMALL),
    "deepfm": DeepFMConfig(**DEEP),
    "dcn": DCNConfig(**DEEP, num_layers=2),
    "dcnv2": DCNv2Config(**DEEP, num_layers=2),
    "gdcn": GDCNConfig(**DEEP, num_layers=2),
}
VARIANTS: dict[str, ModelConfig] = {
    "fm, one history": FMConfig(**SMALL, histories=("real_time",)),
    "deepfm, no batch norm": DeepFMConfig(**DEEP, batch_norm=False),
    "dcn, cross": DCNConfig(**SMALL, structure="cross"),
    "dcn, stacked": DCNConfig(**DEEP, structure="stacked"),
    "dcnv2, low rank": DCNv2Config(**DEEP, rank=3),
    "dcnv2, experts": DCNv2Config(**DEEP, rank=3, num_experts=2, structure="stacked"),
    "gcn": GDCNConfig(**SMALL, structure="cross"),
    "gdcn, stacked": GDCNConfig(**DEEP, structure="stacked", cross_bias="zeros"),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("batch", BATCHES)
def test_batches(batch: str, name: str) -> None:
    inputs, config = make_inputs(), CONFIGS[name]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, batch)
    assert_parity(ranker, rows, lambda parameters: naive_flat.score(parameters, config, inputs, rows))


@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize("name", [*CONFIGS, *VARIANTS])
def test_one_task(name: str, plain: bool) -> None:
    inputs, config = make_inputs(plain=plain, num_tasks=1), {**CONFIGS, **VARIANTS}[name]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_flat.score(parameters, config, inputs, rows))


@pytest.mark.parametrize("name", CONFIGS)
def test_flat_table(name: str) -> None:
    """No history at all, one candidate per request: the setting of the papers."""
    inputs, config = make_inputs(histories=()), CONFIGS[name]
    ranker, rows = perturbed(inputs, config), batch_of(inputs, "ragged")
    assert_parity(ranker, rows, lambda parameters: naive_flat.score(parameters, config, inputs, rows))
