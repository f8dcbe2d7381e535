"""Which stream gets which fields, and a module in front of a model that reads histories."""

import pytest
import torch
from torch import Tensor

from factories import make_batch, make_inputs
from hemix.errors import ConfigError
from hemix.models.deepfm import DeepFMConfig
from hemix.models.din import DINConfig
from hemix.models.dlrm import DLRMConfig
from hemix.models.flat import Flat
from hemix.models.hemix import HeMixConfig
from hemix.models.interformer import InterFormerConfig
from hemix.models.refined import Refined
from hemix.nn.fields import Fields
from hemix.ranker import Ranker, build_ranker, encode_embedded
from hemix.refine.fwn import FWNConfig
from hemix.refine.senet import SENETConfig

INPUTS = make_inputs(histories=(), num_tasks=1)
COUNTS = (1, 4, 2)


def fields_of(ranker: Ranker) -> tuple[Tensor, Fields]:
    """First order and fields of every row of a batch, put together by hand."""
    batch = make_batch(INPUTS, counts=COUNTS)
    x = ranker.embed(batch)
    each = torch.repeat_interleave(torch.tensor(COUNTS))
    widths, names = (*x.request.widths, *x.candidate.widths), (*x.request.names, *x.candidate.names)
    values = torch.cat([x.request.values[each], x.candidate.values], dim=1).split(widths, dim=1)
    first = sum(value[:, :1] for value in values)
    rest = torch.cat([value[:, 1:] for value in values], dim=1)
    return first, Fields(values=rest, widths=tuple(w - 1 for w in widths), names=names)


def test_each_stream_has_its_own_module_or_shares_one() -> None:
    for wiring, count in (("shared", 1), ("separate", 2)):
        config = DeepFMConfig(hidden=(8,), dropout=0.0, refine=FWNConfig(wiring=wiring))
        ranker = build_ranker(INPUTS, config, seed=0).eval()
        assert isinstance(ranker.backbone, Flat)
        refiners = list(ranker.backbone.refine.refiners)
        assert len(refiners) == count
        first, fields = fields_of(ranker)
        refined = [
            Fields(values=module(fields.tokens()).flatten(1), widths=fields.widths, names=fields.names)
            for module in (refiners[0], refiners[-1])
        ]
        expected = ranker.backbone.model(dict(zip(("cross", "deep"), refined, strict=True))) + first
        torch.testing.assert_close(ranker(make_batch(INPUTS, counts=COUNTS)), expected)


def test_a_refined_model_reads_all_fields_as_the_candidates() -> None:
    """What the model behind gets: the refined fields of both sides, and histories as they are."""
    inputs = make_inputs()
    ranker = build_ranker(inputs, DINConfig(embedding_dim=4, hidden=(6,), refine=SENETConfig()), seed=0).eval()
    assert isinstance(ranker.backbone, Refined)
    batch = make_batch(inputs, counts=COUNTS)
    x = ranker.embed(batch)
    each = torch.repeat_interleave(torch.tensor(COUNTS))
    values = torch.cat([x.request.values[each], x.candidate.values], dim=1)
    (module,) = ranker.backbone.refine.refiners
    refined = module(values.unflatten(1, (-1, 4))).flatten(1)
    seen: list[Fields] = []
    behind = ranker.backbone.model
    score = behind.score
    behind.score = lambda state, candidate, ragged: (seen.append(candidate), score(state, candidate, ragged))[1]
    ranker(batch)
    torch.testing.assert_close(seen[0].values, refined)
    assert seen[0].names == (*x.request.names, *x.candidate.names)
    assert "refined.request" in encode_embedded(ranker.backbone, x)


@pytest.mark.parametrize(("model", "width"), [(DLRMConfig, 4), (InterFormerConfig, 4), (DLRMConfig, 2)])
def test_raw_numbers_have_no_width_to_refine(model: type[DLRMConfig | InterFormerConfig], width: int) -> None:
    """Not even where a vector is as wide as a number and its flag."""
    config = model(embedding_dim=width, refine=SENETConfig())
    with pytest.raises(ConfigError, match=rf"'{config.name}' .*age, distance, price\. .*transform: quantile"):
        build_ranker(make_inputs(), config, seed=0)
    build_ranker(make_inputs(plain=True), config, seed=0)


def test_a_config_without_a_module_has_no_such_key() -> None:
    """So that experiments from before keep their hash."""
    assert "refine" not in HeMixConfig().model_dump()
    assert HeMixConfig(refine=SENETConfig()).model_dump()["refine"]["name"] == "senet"
